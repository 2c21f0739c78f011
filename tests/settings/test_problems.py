"""The configuration: every problem named, all at once, and nothing but SettingsError."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import SettingsError
from receiver.settings import Settings, load
from tests.settings.loading import KNOWN, ROUTE, SOURCE, WHOLE, loaded, problems

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
        '[server]\nadmin_token = " a space before a token"',
        "server.admin_token", "is not printable ASCII", "openssl rand",
    ),
    (
        '[server]\nread_tokens = ["one that nobody guesses", "sésame"]',
        "server.read_tokens[1]", "is not printable ASCII", "openssl rand",
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
