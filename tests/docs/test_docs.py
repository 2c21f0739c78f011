"""The documentation says what the code does, as far as a machine can tell."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

import receiver
from receiver import clock
from receiver.destinations import TYPES, LazyTypes, Previews, make
from receiver.destinations.command import CommandSettings, prepare
from receiver.expressions import compile_condition
from receiver.internal import INTERNAL_TYPES
from receiver.metrics import Metrics
from receiver.models import Request
from receiver.providers import LazySources, judge, names, provider_of
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from receiver.providers.verification import verify
from receiver.settings import Argv, Known, load
from receiver.settings.environment import references
from receiver.signatures import standard_key, standard_signature
from tests import making
from tests.docs.regenerate import (
    ALERTS,
    CLI,
    COMMAND,
    DOCS,
    options,
    settings_classes,
    with_alerts,
    with_tables,
)

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("docs/**/*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "deploy/README.md",
]
SIGNING_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

SORA2 = '[sources.sora2]\nprovider = "sora2"\nsecrets = ["x"]\n'

_FLAGS = re.DOTALL | re.MULTILINE
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", _FLAGS)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_COMMAND = re.compile(
    r"(?:^|[`;&] ?)receiver (?:-c \S+ )?([a-z]+)(?: ([a-z]+))?", re.MULTILINE
)


def blocks(language: str, of: str = "") -> list[Any]:
    """Every code block of a language, with the page and line it is on as its id."""
    return [
        pytest.param(
            found[2],
            id=f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for page in PAGES
        if str(page).endswith(of)
        for text in [page.read_text()]
        for found in _BLOCK.finditer(text)
        if found[1] == language
    ]


def block(page: str, language: str, containing: str) -> str:
    """The one code block of a page that contains this."""
    found = [
        match[2]
        for match in _BLOCK.finditer((ROOT / page).read_text())
        if match[1] == language and containing in match[2]
    ]
    assert len(found) == 1
    return found[0]


def anchors(page: Path) -> set[str]:
    """The fragments a page's headings can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_page_of_commands_is_what_help_says():
    # In a process of its own: a command keeps what its help was first asked under.
    program = "from tests.docs.regenerate import cli_page; print(cli_page(), end='')"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert CLI.read_text() == said.stdout, f"run: {COMMAND}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_tables_of_options_are_what_the_code_declares(page: Path):
    text = page.read_text()

    assert text == with_tables(text), f"run: {COMMAND}"


def test_the_table_of_alerts_is_what_the_code_declares():
    text = ALERTS.read_text()

    assert text == with_alerts(text), f"run: {COMMAND}"
    assert all(f"| `{kind}` |" in text for kind in INTERNAL_TYPES)


@pytest.mark.parametrize("name", settings_classes())
def test_every_settings_class_has_its_table(name: str):
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))

    table = text.partition(f"<!-- options: {name} -->")[2].partition("<!-- end -->")[0]

    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    assert rows == {option: default for option, default, _ in options_of(name)}
    assert rows


def options_of(name: str) -> list[tuple[str, str, str]]:
    return list(options(settings_classes()[name]))


@pytest.mark.parametrize("name", names())
def test_every_provider_has_a_page_and_a_place_to_paste(name: str):
    text = (ROOT / "docs/providers.md").read_text()

    rows = re.findall(rf"^\| \[`{name}`\]\(([\w.#-]+)\) \|", text, re.MULTILINE)

    assert len(rows) == 2
    assert rows[0] == rows[1]
    page, _, heading = rows[0].partition("#")
    assert f'provider = "{name}"' in (ROOT / "docs" / page).read_text()
    assert not heading or heading == name


def test_the_example_environment_has_every_variable_with_its_default():
    default = resources.files("receiver").joinpath("default.toml").read_text()
    example = (ROOT / ".env.example").read_text()

    offered = dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))

    used = {m[1]: m[2] for m in _VARIABLE.finditer(default) if m[1] != "NAME"}
    assert offered.keys() == used.keys()
    for name, value in used.items():
        if value:
            assert offered[name] == value


def test_the_example_environment_asks_only_for_what_is_required():
    values = dotenv_values(ROOT / ".env.example", interpolate=False)

    default = resources.files("receiver").joinpath("default.toml").read_text()
    assert values.keys() == references(tomllib.loads(default)["sources"])


def test_every_metric_is_in_the_operating_guide():
    guide = (ROOT / "docs/operating.md").read_text()

    listed = set(re.findall(r"^\| `(receiver_\w+)` \|", guide, re.MULTILINE))

    families = list(Metrics().registry.collect())
    names = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert listed == names


def test_every_logged_event_of_ours_is_in_the_operating_guide():
    guide = (ROOT / "docs/operating.md").read_text()
    logged = re.compile(
        r"\b(?:log|logs\.get\(\)|self\._log)\.(?:info|warning|error)\(\s*\"([a-z_]+\.[a-z_]+)\""
    )

    names = {
        name
        for file in (ROOT / "receiver").rglob("*.py")
        for name in logged.findall(file.read_text())
    }

    assert len(names) > 10
    assert [name for name in sorted(names) if f"`{name}`" not in guide] == []


@pytest.mark.parametrize("toml", blocks("toml"))
def test_every_configuration_shown_can_be_used(toml: str, tmp_path: Path):
    if "[sources." not in toml:  # a part of one: complete it
        toml = f"{SORA2}{toml}"
    write_templates(tmp_path)
    file = tmp_path / "receiver.toml"
    file.write_text(toml)
    known = Known(LazySources(), judge, LazyTypes())
    names = {found[1] for found in _VARIABLE.finditer(toml)}
    values = dict.fromkeys(names, SIGNING_SECRET)
    addresses = {n: "https://example.com/x" for n in names if n.endswith("URL")}
    bare = SIGNING_SECRET.removeprefix("whsec_")
    in_base64 = {n: bare for n in names if "BASE64" in n}
    smtp = {n: "smtp://u:p@example.com" for n in names if "SMTP" in n}

    settings = load(file, {**values, **addresses, **smtp, **in_base64}, known)

    assert settings.sources


def write_templates(folder: Path) -> None:
    """The template files that the page of messages shows, under their names."""
    page = (ROOT / "docs/messages.md").read_text()
    for name, source in re.findall(r"^```jinja\n{# (\S+) #}\n(.*?)^```", page, _FLAGS):
        (folder / name).write_text(source)


@pytest.mark.parametrize("toml", blocks("toml", of="docs/messages.md"))
async def test_every_template_shown_tells_of_a_batch(toml: str, tmp_path: Path):
    write_templates(tmp_path)
    (tmp_path / "receiver.toml").write_text(f"{SORA2}{toml}")
    values = {"SLACK_WEBHOOK_URL": "https://example.com/x", "SMTP_URL": "smtp://h"}
    known = Known(LazySources(), judge, LazyTypes())
    settings = load(tmp_path / "receiver.toml", values, known)
    body = samples("sora2", "bat_1", clock.now())["batch.completed"].body
    urls = ("https://x.example/1?a=1&b=2",)

    for declared in settings.destinations.values():
        destination = TYPES[declared.type].make(declared)
        assert isinstance(destination, Previews)
        preview = await destination.preview(
            making.parcel(making.event(body, result_urls=urls))
        )
        await destination.close()

        assert preview.note == ""
        assert "is missing" not in preview.text + preview.html
        assert "bat_1" in preview.text


def test_the_worked_example_reads_the_body_it_is_for(tmp_path: Path):
    body = json.dumps(json.loads(block("docs/hmac.md", "json", "render.finished")))
    file = tmp_path / "receiver.toml"
    file.write_text(block("docs/hmac.md", "toml", "[sources.renders]"))
    known = Known(LazySources(), judge, LazyTypes())
    settings = load(file, {"RENDER_SECRET": "x"}, known)
    sender, now = provider_of(settings.sources["renders"]), clock.now()

    sent = outgoing(sender, body.encode(), now)
    asked = Request(sent.headers, {}, sent.body, now)
    verify(sender, asked)
    reading = sender.read(asked, parse(sent.body))

    assert sent.headers["x-render-signature"].startswith("v1=")
    assert (reading.key, reading.type) == ("r_1:render.finished", "render.finished")
    assert (reading.subject, reading.state) == ("r_1", "succeeded")
    assert reading.result_urls == ("https://cdn.example.com/r_1.mp4",)
    assert reading.occurred_at is not None
    assert reading.expires_at == reading.occurred_at + timedelta(hours=24)


@pytest.mark.parametrize("expressions", blocks("cel"))
def test_every_condition_shown_compiles(expressions: str):
    for line in expressions.splitlines():
        assert compile_condition(line).text == line


@pytest.mark.parametrize("code", blocks("python"))
def test_every_piece_of_python_shown_is_python(code: str):
    compile(code, "docs", "exec")


def test_the_way_to_verify_in_python_accepts_what_we_sign_and_nothing_else():
    namespace: dict[str, Any] = {}
    exec(block("docs/delivery.md", "python", "def verify"), namespace)
    headers, body = signed()

    verify = namespace["verify"]

    assert verify(SIGNING_SECRET, headers, body)
    assert not verify(SIGNING_SECRET, headers, body + b" ")
    assert not verify(SIGNING_SECRET, {**headers, "webhook-id": "evt_2"}, body)
    assert not verify(SIGNING_SECRET, *signed(int(clock.now().timestamp()) - 3600))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_way_to_verify_in_node_accepts_what_we_sign_and_nothing_else():
    headers, body = signed()
    begin = f"verify({SIGNING_SECRET!r}, {headers!r}, Buffer.from("
    program = block("docs/delivery.md", "javascript", "function verify") + (
        f"console.log({begin}{body.decode()!r})), {begin}'other')))"
    )

    said = subprocess.run(
        ["node", "-e", program], capture_output=True, text=True, check=True
    )

    assert said.stdout == "true false\n"


@pytest.mark.parametrize(
    ("data", "code", "kept"),
    [({"request_id": "order-7"}, 0, True), ({"request_id": None}, 65, False)],
)
async def test_the_program_shown_keeps_what_was_sent(
    tmp_path: Path, data: dict[str, Any], code: int, kept: bool
):
    toml = block("docs/delivery.md", "toml", 'type = "command"')
    (tmp_path / "receiver.toml").write_text(f"{SORA2}{toml}")
    script = block("docs/delivery.md", "sh", "#!/bin/sh")
    (tmp_path / "archive.sh").write_text(script)
    known = Known(LazySources(), judge, LazyTypes())
    settings = load(tmp_path / "receiver.toml", {"BUCKET_KEY": "x"}, known)
    declared = settings.destinations["archive"]

    sent = making.parcel(making.event(data))
    outcome = await make(declared).send(sent)

    assert (outcome.status_code, outcome.permanent) == (code, not kept)
    files = list((tmp_path / "videos").glob("*")) if kept else []
    assert [json.loads(file.read_text())["data"] for file in files] == [data] * kept


def test_the_input_of_a_program_is_shown_as_it_is():
    shown = json.loads(block("docs/delivery.md", "json", '"delivery":'))

    settings = CommandSettings("archive", type="command", command=Argv(("sh",)))
    given, _ = prepare(settings, making.parcel(), {})

    document = json.loads(given)
    assert document.keys() == shown.keys()
    assert document["event"].keys() == shown["event"].keys()
    assert document["delivery"].keys() == shown["delivery"].keys()


def signed(timestamp: int | None = None) -> tuple[dict[str, str], bytes]:
    body, sent_at = b'{"a": 1}', timestamp or int(clock.now().timestamp())
    keys = [standard_key(SIGNING_SECRET[:-4] + "AAA="), standard_key(SIGNING_SECRET)]
    signature = standard_signature(keys, "evt_1", sent_at, body)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature,
    }, body


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_or_heading_of_ours_leads_somewhere(page: Path):
    for link in _LINK.findall(page.read_text()):
        if re.match(r"https?:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_exists(page: Path):
    known = set(re.findall(r"^## receiver (.+)$", CLI.read_text(), re.MULTILINE))
    groups = {name.split()[0] for name in known if " " in name}

    for first, second in _COMMAND.findall(page.read_text()):
        assert first in known, f"receiver {first}"
        if first in groups and second:
            assert f"{first} {second}" in known, f"receiver {first} {second}"


def test_the_newest_entry_of_the_changelog_is_this_version():
    versions = re.findall(
        r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )

    assert versions[0] == receiver.__version__


def test_everything_the_image_copies_is_there_and_not_ignored():
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for name in line.split()[:-1]
    ]

    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)
