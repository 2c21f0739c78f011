"""The configuration: every problem named, all at once, and nothing but SettingsError."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.destinations import LazyTypes
from receiver.destinations.command import CommandSettings
from receiver.destinations.slack import SlackSettings
from receiver.errors import Problem, SettingsError
from receiver.models import Rate, Secret
from receiver.providers import LazySources, judge
from receiver.settings import Known, RetryPolicy, Settings, load
from receiver.settings.fields import rate

KNOWN = Known(LazySources(), judge, LazyTypes())
SOURCE = '[sources.s]\nprovider = "sora2"\nsecrets = ["secret"]\n'
SINK = '[destinations.d]\ntype = "http"\nurl = "https://example.com/x"\n'
ROUTE = '[[routes]]\nsource = "s"\nto = ["d"]\n'
WHOLE = SOURCE + SINK + ROUTE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(
    folder: Path, toml: str, environ: Mapping[str, str] | None = None
) -> Settings:
    file = folder / "receiver.toml"
    file.write_text(toml)
    return load(file, environ or {}, KNOWN)


def problems(
    folder: Path, toml: str, environ: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as refused:
        loaded(folder, toml, environ)
    found = refused.value.problems
    assert found
    for problem in found:
        assert str(problem) in str(refused.value)
    return found


# -- what is wrong

UNSENDABLE = "is not printable ASCII, or begins or ends with a space"
UNMEETABLE = [
    ('token = " "', "token", "is nothing but white space", "anybody could"),
    ('basic = "${NOT_SET:-}:${NOT_SET:-}"', "basic", "has no password", "anybody"),
    ('basic = "user: "', "basic", "has no password", "anybody could"),
    ('secrets = ["x", " "]', "secrets[1]", "empty", ""),
    ('basic = "pass"', "basic", "is not user:password", "no sender could"),
    ('bearer = "tökn"', "bearer", UNSENDABLE, "no sender could"),
    ('bearer = "t "', "bearer", UNSENDABLE, ""),
    ('require_headers = { "A B" = "x" }', "require_headers", '"A B" is no name', ""),
    ('require_headers = { A = "é" }', "require_headers.A", UNSENDABLE, ""),
    ('require_headers = { A = "a\\nb" }', "require_headers.A", UNSENDABLE, ""),
    ('require_headers = { A = "" }', "require_headers.A", UNSENDABLE, ""),
    ('require_headers = { A = "x", a = "y" }', "require_headers", "one header twice", ""),
    ('basic = "u:p"\nbearer = "x"', "require_headers", "one header twice", ""),
    (
        'bearer = "x"\nrequire_headers = { Authorization = "y" }',
        "require_headers", "one header twice", "",
    ),
    (
        'token = "x"\nallow_ips = ["10.0.0.1/8"]',
        "allow_ips[0]", "is no address or network", "203.0.113.0/24",
    ),
    (
        'token = "x"\nallow_ips = ["10.0.0.1", "::ffff:10.0.0.1"]',
        "allow_ips[1]", "is an IPv4 address written as IPv6", "203.0.113.7",
    ),
]  # fmt: skip

WRONG = [
    ("[serve]", "serve", "unknown table", 'did you mean "server"?'),
    ("[server]\nprot = 1", "server.prot", "unknown key", 'did you mean "port"?'),
    ("[server]\nxyz = 1", "server.xyz", "unknown key", "known: admin_host"),
    ("server = 1", "server", "expected a table, found a number", ""),
    ("[server]\nport = []", "server.port", "expected a whole number", ""),
    ('[server]\nport = "80a"', "server.port", "expected a whole number", ""),
    ("[server]\nport = true", "server.port", "expected a whole number", ""),
    ("[server]\nport = 65536", "server.port", "must be at most 65535", ""),
    ("[server]\nport = -1", "server.port", "must be at least 0", ""),
    ("[server]\nhost = 1", "server.host", "expected text in quotes", ""),
    ('[server]\ngrace = "soon"', "server.grace", "not a duration", '"10s"'),
    *(
        (
            f'[destinations.e]\ntype = "http"\nurl = "http://h/"\nmax_rate = {written}',
            "destinations.e.max_rate", "not a rate", '"20/s"',
        )
        for written in ("20", '"20"', '"0/s"', '"-1/s"', '"1/d"', '"1 /s"', '"x/s"', "{}")
    ),
    ("[server]\ngrace = 10", "server.grace", "not a duration", '"10s"'),
    (f'[server]\ngrace = "{"9" * 30}d"', "server.grace", "not a duration", ""),
    ('[server]\nbody_timeout = "0s"', "server.body_timeout", "at least 1ms", ""),
    ('[server]\nlog_level = "inof"', "server.log_level", "'inof'", '"info"'),
    ("[server]\nmax_body_bytes = 0", "server.max_body_bytes", "at least 1", ""),
    (f"[server]\nport = 0x{'f' * 6000}", "server.port", "too large", ""),
    ("[store]\nmin_free_bytes = -1", "store.min_free_bytes", "at least 0", ""),
    ('[store]\nkeep_bodies_for = "5m"', "store.keep_bodies_for", "at least 1h", ""),
    (
        '[store]\nkeep_bodies_for = "36501d"',
        "store.keep_bodies_for", "at most 36500d", "",
    ),
    (
        '[store]\nkeep_events_for = "29d"',
        "store.keep_events_for", "shorter than keep_bodies_for", "goes with its event",
    ),
    *(
        (f"[store]\nmax_bytes = {written}", "store.max_bytes", "not a size", '"10GB"')
        for written in ('"10"', '"10 gb"', '"-1GB"', '"iB"', "true", "1.5", '"1GBB"')
    ),
    ('[store]\nmax_bytes = "1kB"', "store.max_bytes", "at least 1000000", ""),
    ("[sources.t]", "sources.t.provider", "is required", ""),
    (
        '[sources.t]\nprovider = "sora"\nsecrets = ["x"]',
        "sources.t.provider", 'unknown provider "sora"', '"sora2"',
    ),
    (
        '[sources.t]\nprovider = "sora2"',
        "sources.t.secrets", "no secret", "allow_unsigned",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["", "${NOT_SET:-}"]',
        "sources.t.secrets", "no secret", "allow_unsigned",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = "x"',
        "sources.t.secrets", "expected a list, found text", "write it in [ ]",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["x"]\npath = "/webhooks/s"',
        "sources.t.path", "/webhooks/s is taken by sources.s", "of its own",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["x"]\npath = "/healthz"',
        "sources.t.path", "used by receiver itself", "",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["x"]\npath = "/api/v1/x"',
        "sources.t.path", "used by receiver itself", "",
    ),
    *(
        (
            f'[sources.t]\nprovider = "sora2"\nsecrets = ["x"]\npath = "{path}"',
            "sources.t.path", "used by receiver itself", "",
        )
        for path in ("/", "/api", "/api/v1", "/api/v12/x", "/api/openapi.json")
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["x"]\npath = "hook"',
        "sources.t.path", "must begin with /", "",
    ),
    (
        '[sources.t]\nprovider = "sora2"\nsecrets = ["${NOT_SET}"]',
        "sources.t.secrets[0]", "variable NOT_SET is not set", "${NOT_SET:-}",
    ),
    ("[destinations.e]", "destinations.e.type", "is required", "known: command, email"),
    (
        '[destinations.e]\ntype = "slak"',
        "destinations.e.type", 'unknown type "slak"', '"slack"',
    ),
    ('[destinations.e]\ntype = "http"', "destinations.e.url", "is required", ""),
    ("[destinations]\ne = 5", "destinations.e.type", "is required", ""),
    (
        '[destinations.e]\ntype = "http"\nurl = "http://a/"\nconcurrency = 0',
        "destinations.e.concurrency", "must be at least 1", "",
    ),
    (
        '[destinations.e]\ntype = "http"\nurl = "http://a/"\nretry.waits = []',
        "destinations.e.retry.waits", "is empty", "",
    ),
    (
        '[destinations.e]\ntype = "http"\nurl = "http://a/"\nretry.waits = ["x"]',
        "destinations.e.retry.waits[0]", "not a duration", "",
    ),
    (
        '[destinations.e]\ntype = "http"\nurl = "http://a/"\nretry.max_attempts = 0',
        "destinations.e.retry.max_attempts", "must be at least 1", "",
    ),
    (
        '[destinations.e]\ntype = "command"\ncommand = "sh -c x"',
        "destinations.e.command", "expected a list, found text", "on-batch",
    ),
    (
        '[destinations.e]\ntype = "command"\ncommand = []',
        "destinations.e.command", "names no program", "on-batch",
    ),
    (
        '[destinations.e]\ntype = "command"\ncommand = ["sh", 5]',
        "destinations.e.command[1]", "expected text in quotes", "",
    ),
    (
        '[destinations.e]\ntype = "command"\ncommand = ["sh"]\nvariables.A = 5',
        "destinations.e.variables.A", "expected text in quotes", "",
    ),
    (
        '[destinations.e]\ntype = "command"\ncommand = ["sh"]\nenvironment.A = "event.tpye"',
        "destinations.e.environment.A", 'no field "event.tpye"', '"event.type"',
    ),
    *(
        (f'[sources.t]\nprovider = "sora2"\n{line}', f"sources.t.{key}", wrong, hint)
        for line, key, wrong, hint in UNMEETABLE
    ),
    (
        '[[routes]]\nsource = "z"\nto = ["d"]',
        "routes[1].source", 'no source "z"', "known: s",
    ),
    (
        '[[routes]]\nsource = "s"\nto = ["d", "dd"]',
        "routes[1].to[1]", 'no destination "dd"', '"d"',
    ),
    ('[[routes]]\nsource = "s"\nto = []', "routes[1].to", "is empty", "at least one"),
    ('[[routes]]\nsource = "s"', "routes[1].to", "is required", ""),
    (
        '[[routes]]\nsource = "s"\nto = ["d"]\nname = "route-1"',
        "routes[1].name", 'another route "route-1"', "",
    ),
    (
        '[[routes]]\nsource = "s"\nto = ["d"]\nwhen = "event.tpye == 1"',
        "routes[1].when", "line 1, column ", "event.type",
    ),
    (
        '[[routes]]\nsource = "s"\nto = ["d"]\nwhen = "1 + 1"',
        "routes[1].when", "gives int, not true or false", "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "key", "message", "hint"), WRONG)
def test_what_is_wrong_is_named_with_its_place(
    folder: Path, toml: str, key: str, message: str, hint: str
):
    top, table = ("", toml) if toml.startswith("[") else (toml, "")

    [problem] = problems(folder, f"{top}\n{WHOLE}{table}")

    assert problem.file == str(folder / "receiver.toml")
    assert problem.key == key
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("setting", ["token", "basic"])
def test_a_condition_out_of_an_environment_that_is_not_utf_8_is_a_problem(
    folder: Path, setting: str
):
    toml = f'{WHOLE}[sources.t]\nprovider = "sora2"\n{setting} = "u:${{BYTES}}"'

    [problem] = problems(folder, toml, {"BYTES": "\udcff"})

    assert (problem.key, problem.message) == (f"sources.t.{setting}", "is not UTF-8")
    assert "udcff" not in str(problem)


def test_everything_wrong_is_said_at_once(folder: Path):
    tables = [
        (toml, key)
        for toml, key, *_ in WRONG
        if re.match(r"\[(serve|server|store|destinations\.e)\]", toml) is None
        and not toml.startswith("[[")
        and toml.startswith("[sources")
    ]
    renamed = [
        (toml.replace("sources.t", f"sources.t{i}"), key.replace(".t.", f".t{i}."))
        for i, (toml, key) in enumerate(tables)
    ]
    wrong_route = '[[routes]]\nsource = "z"\nto = ["y"]\nwhen = "("\n'
    toml = "[server]\nprot = 1\ngrace = 1\n[store]\nurll = 1\n" + WHOLE
    toml += "\n".join(text for text, _ in renamed) + "\n" + wrong_route

    found = [problem.key for problem in problems(folder, toml)]

    expected = ["server.prot", "server.grace", "store.urll"]
    expected += [key for _, key in renamed]
    expected += ["routes[1].source", "routes[1].to[0]", "routes[1].when"]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("", "there is no source"),
        ("a = ", "not TOML"),
        ("a = 1\na = 2", "not TOML"),
        ("a = " + "9" * 5_000, "not TOML"),
        ("a = " + "[" * 5_000, "nested too deeply"),
        (".".join("a" * 5_000) + " = 1", "nested too deeply"),
        ("sources = 5", "expected tables"),
        ("sources = [{}]\n[[routes]]\nsource = 's'\nto = ['d']", "expected tables"),
        ("destinations = 'x'\n" + SOURCE + ROUTE, "expected tables"),
        ("routes = 1\n" + SOURCE, "expected a list of tables"),
        ("routes = [1]\n" + SOURCE, "expected a table, found a number"),
    ],
)
def test_a_document_of_another_shape_is_refused(folder: Path, toml: str, message: str):
    assert any(message in problem.message for problem in problems(folder, toml))


def test_a_file_that_cannot_be_read_is_refused_with_advice(folder: Path):
    for file, advice in ((folder / "nowhere.toml", "receiver init"), (folder, "")):
        with pytest.raises(SettingsError, match="cannot be read") as refused:
            load(file, {}, KNOWN)
        assert advice in refused.value.problems[0].hint


def test_a_file_that_is_not_text_is_refused(folder: Path):
    (folder / "receiver.toml").write_bytes(b"a = '\xff'")

    with pytest.raises(SettingsError, match="not TOML"):
        load(folder / "receiver.toml", {}, KNOWN)


def test_secrets_are_not_shown_in_what_is_wrong(folder: Path):
    toml = (
        '[sources.s]\nprovider = "nope"\nsecrets = ["hush-hush"]\ntoken = "hush-hush"\n'
        '[destinations.d]\ntype = "slack"\nurl = "http://hush-hush/"\n'
    )

    found = problems(folder, toml)

    assert not any("hush-hush" in str(problem) for problem in found)


# -- what is right


def test_what_is_not_written_has_its_default(folder: Path):
    found = loaded(folder, WHOLE)

    assert found.sources["s"].path == "/webhooks/s"
    assert found.routes[0].name == "route-1"
    assert found.routes[0].types == ("*",)
    assert found.destinations["d"].retry == RetryPolicy()
    assert found.store.url == f"sqlite:///{folder}/receiver.db"
    assert (found.server.host, found.server.port) == ("127.0.0.1", 8080)


def test_what_is_written_is_used(folder: Path):
    server = '[server]\nport = "9000"\ngrace = "1m30s"\nlog_format = "json"\n'
    retry = '[destinations.d.retry]\nwaits = ["1s", "500ms", "2h", "1.5d"]\n'

    found = loaded(folder, server + WHOLE + retry)

    assert found.server.port == 9_000
    assert found.server.grace == timedelta(seconds=90)
    assert found.destinations["d"].retry.waits == (
        timedelta(seconds=1),
        timedelta(milliseconds=500),
        timedelta(hours=2),
        timedelta(days=1.5),
    )


def test_a_secret_is_itself_and_is_not_shown(folder: Path):
    found = loaded(folder, WHOLE)

    [secret] = found.sources["s"].secrets
    assert isinstance(secret, Secret)
    assert secret == "secret"
    assert "secret'" not in repr(found.sources["s"])
    assert "'***'" in repr(found.sources["s"])


def declared(folder: Path, command: str) -> CommandSettings:
    toml = f'{SOURCE}[destinations.c]\ntype = "command"\ncommand = {command}\n'
    found = loaded(folder, f'{toml}variables = {{ A = "hush hush" }}\n')
    settings = found.destinations["c"]
    assert isinstance(settings, CommandSettings)
    return settings


@pytest.mark.parametrize("name", ["bin/run", "./bin/run", "bin/../bin/run"])
def test_a_programs_path_starts_at_the_configurations_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    (folder / "bin").mkdir()
    program = folder / "bin" / "run"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)

    settings = declared(folder, f'["{name}"]')
    monkeypatch.chdir("/")

    assert Path(settings.find()[0]).samefile(program)
    assert settings.folder == folder


def test_a_bare_name_of_a_program_stays_one_and_empty_arguments_are_kept(folder: Path):
    assert declared(folder, '["sh", "", "a/b"]').command == ("sh", "", "a/b")


def test_a_programs_arguments_and_variables_are_not_shown(folder: Path):
    shown = repr(declared(folder, '["sh", "hush hush"]'))

    assert "<'sh' and 1 arguments>" in shown
    assert "hush" not in shown


# -- the environment


def host(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    return loaded(folder, f"[server]\nhost = '{text}'\n" + WHOLE, environ).server.host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("${A}-${B}", "one-two"),
        ("x${A}y", "xoney"),
        ("${C:-three}", "three"),
        ("${A:-three}", "one"),
        ("${EMPTY:-three}", "three"),
        ("${C:-a:-b}", "a:-b"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A", "$A"),
        ("${a b}", "${a b}"),
        ("${C:-}x", "x"),
        ("${D}", "${A}"),
    ],
)
def test_references_are_replaced(folder: Path, text: str, expected: str):
    environ = {"A": "one", "B": "two", "EMPTY": "", "D": "${A}"}

    assert host(folder, text, environ) == expected


def test_the_real_environment_wins_over_the_file(folder: Path):
    (folder / ".env").write_text('A=file\nB="from file"\nC=file\nQ=$A\n')

    found = host(folder, "${A} ${B} ${C} ${Q}", {"A": "real", "C": ""})

    assert found == "real from file file $A"


def test_the_env_file_is_read_beside_the_configuration(folder: Path):
    (folder / "elsewhere").mkdir()
    (folder / ".env").write_text("A=here\n")
    (folder / "elsewhere" / ".env").write_text("A=there\n")

    assert host(folder / "elsewhere", "${A}") == "there"


def test_a_value_may_be_in_a_file_that_is_named(folder: Path):
    (folder / "value").write_text("from the file\n")
    environ = {"A_FILE": str(folder / "value"), "B_FILE": "nowhere", "B": "direct"}

    assert host(folder, "${A} ${B}", environ) == "from the file direct"


def test_an_empty_file_is_a_value_that_is_not_set(folder: Path):
    (folder / "value").write_text("\n")
    toml = "[server]\nhost = '${A}'\n" + WHOLE

    [problem] = problems(folder, toml, {"A_FILE": str(folder / "value")})

    assert "A is not set" in problem.message


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_named_file_that_cannot_be_read_is_a_problem(
    folder: Path, content: bytes | None
):
    if content is not None:
        (folder / "value").write_bytes(content)
    toml = "[server]\nhost = '${A}'\n" + WHOLE

    [problem] = problems(folder, toml, {"A_FILE": str(folder / "value")})

    assert problem.key == "server.host"
    assert "cannot read the file in A_FILE" in problem.message


def test_an_env_file_that_is_not_text_is_a_problem(folder: Path):
    (folder / ".env").write_bytes(b"A=\xff\n")

    [problem] = problems(folder, WHOLE)

    assert problem.file == str(folder / ".env")


# -- without a file

SECRET = {"SORA2_WEBHOOK_SECRET": "s"}
SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x"}
EMAIL = {"SMTP_URL": "smtp://localhost:25", "EMAIL_TO": "a@example.com"}
HTTP = {"HTTP_URL": "https://example.com/hook"}


@pytest.mark.parametrize("slack", [{}, SLACK], ids=["", "slack"])
@pytest.mark.parametrize("email", [{}, EMAIL], ids=["", "email"])
@pytest.mark.parametrize("http", [{}, HTTP], ids=["", "http"])
def test_the_built_in_default_has_the_destinations_whose_variables_are_set(
    folder: Path, slack: dict[str, str], email: dict[str, str], http: dict[str, str]
):
    found = load(None, SECRET | slack | email | http, KNOWN)

    given_names = {"slack": slack, "email": email, "http": http}
    expected = {name for name, variables in given_names.items() if variables}
    assert set(found.destinations) == expected
    assert {name for route in found.routes for name in route.to} == expected
    assert found.sources["sora2"].path == "/webhook/sora2"
    assert found.sources["sora2"].secrets == ("s",)


def test_the_built_in_default_needs_a_secret_and_says_which(folder: Path):
    with pytest.raises(SettingsError) as refused:
        load(None, {}, KNOWN)

    [problem] = refused.value.problems
    assert problem.file == "the built-in configuration"
    assert "SORA2_WEBHOOK_SECRET is not set" in problem.message


def test_half_of_the_email_variables_are_a_problem_and_not_silence(folder: Path):
    with pytest.raises(SettingsError, match="EMAIL_TO is not set"):
        load(None, SECRET | {"SMTP_URL": "smtp://localhost"}, KNOWN)


def test_the_built_in_default_takes_all_its_variables_from_files_too(folder: Path):
    (folder / "secret").write_text("whsec\n")
    (folder / "url").write_text(HTTP["HTTP_URL"])
    environ = {
        "SORA2_WEBHOOK_SECRET_FILE": str(folder / "secret"),
        "HTTP_URL_FILE": str(folder / "url"),
        "RECEIVER_PORT": "9999",
        "RECEIVER_HOST": "::1",
    }

    found = load(None, environ, KNOWN)

    assert found.sources["sora2"].secrets == ("whsec",)
    assert list(found.destinations) == ["http"]
    assert (found.server.port, found.server.host) == (9_999, "::1")


def test_a_variable_whose_file_cannot_be_read_is_reported_not_left_out(folder: Path):
    with pytest.raises(SettingsError, match="cannot read the file in HTTP_URL_FILE"):
        load(None, SECRET | {"HTTP_URL_FILE": str(folder / "no")}, KNOWN)


def test_a_receiver_toml_here_is_used_without_being_named(folder: Path):
    (folder / "receiver.toml").write_text(WHOLE)

    assert list(load(None, {}, KNOWN).sources) == ["s"]


# -- anything

names = st.sampled_from(
    ["server", "store", "sources", "destinations", "routes", "s", "d", "type", "url",
     "provider", "secrets", "path", "to", "source", "when", "types", "port", "retry",
     "waits", "timeout", "smtp", "from", "handler", "token", "tolerance", "name"]
)  # fmt: skip
texts = st.sampled_from(
    ["http", "slack", "email", "python", "command", "sora2", "s", "d", "*", "10s", "/x", "${A}",
     "${A:-b}", "$${", "smtp://[", "http://[::1", "https://a:b@c:99999/", "a:b", "a@b",
     "true", "9" * 25, "event.type", "smtp://h:x", "\x7f", "http://", "é"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # fmt: skip
leaves = (
    texts
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.times()
)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5)
    ),
    max_leaves=25,
)


def to_toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_quoted(k)} = {to_toml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


kinds = st.fixed_dictionaries(
    {},
    optional={
        "server": documents,
        "store": documents,
        "sources": st.dictionaries(names, documents, max_size=2) | documents,
        "destinations": st.dictionaries(
            names,
            st.fixed_dictionaries(
                {"type": st.sampled_from(["http", "slack", "email", "python", "command"])},
                optional=dict.fromkeys(("url", "smtp", "to", "from", "handler", "secrets", "retry", "timeout", "concurrency", "ordering", "on_dead", "max_rate", "breaker", "command", "environment", "variables", "folder"), documents),
            ),
            max_size=3,
        )
        | documents,
        "routes": st.lists(st.dictionaries(names, documents), max_size=2) | documents,
    },
)  # fmt: skip


@given(kinds | st.dictionaries(names, documents))
@example({"server": {"log_level": 2**63 - 1}})
@example({"destinations": {"d": {"type": "email", "smtp": "smtp://["}}})
@example({"destinations": {"d": {"type": "http", "url": "http://[::1"}}})
def test_any_document_is_settings_or_a_settings_error(
    folder: Path, document: dict[str, Any]
):
    toml = "\n".join(f"{_quoted(k)} = {to_toml(v)}" for k, v in document.items())
    found: Settings | SettingsError
    try:
        found = loaded(folder, toml, {"A": "a"})
    except SettingsError as error:
        found = error

    if isinstance(found, SettingsError):
        assert found.problems
        assert "not TOML" not in str(found)
    else:
        assert found.sources


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
def test_any_bytes_are_settings_or_a_settings_error(folder: Path, content: bytes):
    file = folder / "receiver.toml"
    file.write_bytes(content)

    with pytest.raises(SettingsError):
        load(file, {}, KNOWN)


# -- files that settings name

OPS = '[destinations.d]\ntype = "slack"\nurl = "https://hooks.slack.com/x"\n'


def test_a_template_file_is_read_from_the_configurations_folder(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "ops.txt").write_text("\ufeffcafé {{ event.id }}")
    toml = SOURCE + OPS + 'template_file = "texts/ops.txt"\n'

    first = loaded(folder, toml).destinations["d"]
    (folder / "texts" / "ops.txt").write_text("other")
    second = loaded(folder, toml).destinations["d"]

    assert isinstance(first, SlackSettings)
    assert first.template_file is not None
    assert first.template_file.text == "café {{ event.id }}"
    assert first != second
    assert "café" not in repr(first)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "ops.txt cannot be read: No such file or directory"),
        (b"\xff\xfe", "ops.txt is not a text in UTF-8"),
        (b"x" * 300_000, "ops.txt is larger than 256 KiB"),
        (b"a\n{{ x }", "ops.txt, line 2: unexpected '}'"),
        (b"\n\n{{ evnt.id }}", 'ops.txt, line 3: there is no "evnt"'),
    ],
)
def test_a_template_file_that_cannot_be_used_is_a_problem(folder, content, wrong):
    if content is not None:
        (folder / "ops.txt").write_bytes(content)

    [problem] = problems(folder, SOURCE + OPS + 'template_file = "ops.txt"\n')

    assert problem.key == "destinations.d.template_file"
    assert wrong in problem.message


@pytest.mark.parametrize("name", ["7", '"\\u0000"', '"."'])
def test_a_name_that_names_no_file_is_a_problem(folder, name):
    [problem] = problems(folder, SOURCE + OPS + f"template_file = {name}\n")

    assert problem.key == "destinations.d.template_file"


@pytest.mark.parametrize("digest", ['"0s"', '"500ms"', "60"])
def test_a_digest_of_less_than_a_second_is_a_problem(folder, digest):
    [problem] = problems(folder, SOURCE + OPS + f"digest = {digest}\n")

    assert problem.key == "destinations.d.digest"


@pytest.mark.parametrize(
    ("written", "per_second", "shown"),
    [
        ("20/s", 20, "20/s"),
        ("90/m", 1.5, "90/m"),
        ("1000/h", 1000 / 3600, "1000/h"),
        ("0.5/s", 0.5, "0.5/s"),
    ],
)
def test_a_rate_is_so_many_in_a_second_a_minute_or_an_hour(
    written: str, per_second: float, shown: str
):
    found = rate(written)

    assert found is not None
    assert found.per_second == pytest.approx(per_second)
    assert str(found) == shown


def test_slack_has_a_rate_of_its_own_and_a_breaker_like_all(folder: Path):
    toml = """
[destinations.d]
type = "slack"
url = "https://hooks.slack.com/services/x"
breaker = { failures = 0 }
[destinations.e]
type = "slack"
url = "https://hooks.slack.com/services/x"
max_rate = "90/m"
"""
    found = loaded(folder, SOURCE + toml).destinations

    assert (found["d"].max_rate, found["e"].max_rate) == (Rate(1, 1), Rate(90, 60))
    assert (found["d"].breaker.failures, found["e"].breaker.failures) == (0, 5)


@pytest.mark.parametrize("text", ["${A", "x${A:-b", "${A}${B"])
def test_a_reference_without_its_end_is_no_text(folder: Path, text: str):
    found = problems(folder, SOURCE.replace('secret"]', f'{text}"]'), {"A": "one"})

    assert found[0].key == "sources.s.secrets[0]"
    assert found[0].message == "has a ${ without its }"
    assert "$${" in found[0].hint


@pytest.mark.parametrize("path", ["/api/callback/sora", "/api/video", "/api/v1x"])
def test_a_source_may_have_a_path_that_programs_are_known_by(folder: Path, path: str):
    source = SOURCE + f'path = "{path}"\n'

    assert loaded(folder, source).sources["s"].path == path
