"""The configuration: what is written, and what the environment and files say."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.destinations.command import CommandSettings
from receiver.destinations.slack import SlackSettings
from receiver.errors import SettingsError
from receiver.models import Rate, Secret
from receiver.settings import RetryPolicy, load
from receiver.settings.fields import rate
from tests.settings.loading import KNOWN, SOURCE, WHOLE, loaded, problems

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
