"""Help, init, check, url, serve: before the first event."""

import asyncio
import json
import os
import signal
import stat
import sys
import tomllib

import click
import pytest
from aiohttp import web
from click.testing import CliRunner

from receiver.cli import root
from tests.serving import SECRET, command, config, serving

HANDLERS = {"app": 'type = "http"\nurl = "http://127.0.0.1:9/app"'}


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """Every command, by its words."""
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        if isinstance(inner, click.Group):
            found += commands(inner, *path, name)
        else:
            found.append((*path, name))
    return found


@pytest.mark.parametrize("words", commands(root), ids=" ".join)
def test_the_help_of_every_command_has_examples(words):
    found: click.Command = root
    for word in words:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    context = click.Context(found, info_name="receiver " + " ".join(words))

    text = found.get_help(context)

    examples = text.partition("Examples:\n")[2]
    assert f"receiver {' '.join(words)}" in examples or "receiver -c" in examples
    for parameter in found.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, f"{parameter.name} is not explained"


async def test_the_help_is_printed_without_a_configuration(tmp_path):
    for arguments in (["--help"], ["deliveries", "-h"], ["replay", "--help"], []):
        code, out, err = await command(tmp_path, *arguments)

        assert code == (0 if arguments else 2)
        assert "Usage: receiver" in out + err


async def test_the_version_is_told(tmp_path):
    code, out, _ = await command(tmp_path, "--version")

    assert (code, out) == (0, "receiver 0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evnets", "list"), 'did you mean "events"?'),
        (("events", "lst"), "No such command 'lst'"),
        (("events", "list", "--limit", "0"), "0 is not in the range"),
        (("events", "list", "--since", "yesterday"), "'yesterday' is no time"),
        (("events", "list", "--since", "9" * 30 + "d"), "is no time"),
        (("events", "list", "--since", "0001-01-01T00:00:00+23:00"), "is no time"),
        (("replay",), "replay what?"),
        (("replay", "--type", "a", "--rate", "fast"), "'fast' is no rate"),
        (("replay", "--type", "a", "--rate", "0/s"), "'0/s' is no rate"),
        (("deliveries", "retry"), "retry what?"),
        (("deliveries", "cancel"), "cancel what?"),
        (("deliveries", "move", "--to", "app"), "move what?"),
        (("deliveries", "list", "--status", "lost"), "'lost' is not one of"),
        (("url", "sora"), 'did you mean "sora2"?'),
        (("send", "sora"), 'did you mean "sora2"?'),
        (("send", "sora2", "--file", "/"), "is a directory"),
        (("send", "sora2", "--url", "http://[::1"), "cannot be"),
        (("destinations", "test", "apps"), 'did you mean "app"?'),
        (("replay", "evt_1", "--type", "a"), "not both"),
        (("deliveries", "retry", "dlv_1", "--event", "e"), "not both"),
        (("deliveries", "retry", "--status", "delivered"), "is not one of"),
        (("url", "sora2", "--base", "hooks.example.com"), "write scheme and host"),
        (("url", "sora2", "--base", "https://a.example/?b=c"), "write scheme and host"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(
    tmp_path, monkeypatch, arguments, words
):
    (tmp_path / "receiver.toml").write_text(config(destinations=HANDLERS))
    monkeypatch.chdir(tmp_path)

    found = CliRunner().invoke(root, arguments)

    assert found.exit_code == 2
    assert words in found.stderr
    assert found.stdout == ""


async def test_many_problems_are_reported_at_once(tmp_path):
    (tmp_path / "receiver.toml").write_text(
        """
[server]
prt = 1
[sources.sora2]
provider = "sora3"
path = "/healthz"
[sources.open]
provider = "sora2"
secrets = ["${NOT_SET_ANYWHERE}"]
[destinations.app]
type = "htp"
[destinations.crm]
type = "http"
url = "crm.internal"
[[routes]]
source = "sora"
to = ["ap"]
when = "event.stat == 1"
[[routes]]
source = "*"
to = ["crm"]
when = "event.type = 'a'"
"""
    )

    for arguments in (("check",), ("serve",), ("events", "list"), ("check", "--json")):
        code, out, err = await command(tmp_path, *arguments)

        if arguments[-1] == "--json":
            problems = json.loads(out)["problems"]
            out, err = "", "".join(f"{p['message']} ({p['hint']})" for p in problems)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        for words in (
            'unknown key (did you mean "port"?)',
            'unknown provider "sora3" (did you mean "sora2"?)',
            "/healthz is used by receiver itself",
            "NOT_SET_ANYWHERE is not set",
            'unknown type "htp" (did you mean "http"?)',
            "is not an http:// or https:// address",
            'no source "sora" (did you mean "sora2"?)',
            'no destination "ap" (did you mean "app"?)',
            "undeclared reference to 'event.stat'",
            "write == to compare",
        ):
            assert words in err


@pytest.mark.parametrize("text", ["[", "\x00", "a = 1\na = 2"])
async def test_a_file_that_is_not_toml_is_named(tmp_path, text):
    (tmp_path / "other.toml").write_text(text)

    code, _, err = await command(tmp_path, "-c", "other.toml", "check")

    assert code == 2
    assert "other.toml: not TOML" in err


async def test_a_file_that_is_missing_is_named(tmp_path):
    code, _, err = await command(tmp_path, "-c", "no.toml", "check")

    assert code == 2
    assert "no.toml: cannot be read: No such file" in err
    assert "receiver init" in err


async def test_check_shows_what_would_run_and_no_secret(alone):
    out, _ = await alone.run("check")
    found = await alone.json("check")

    assert "receiver.toml: no problems" in out
    assert "1 secret\n" in out
    assert "data.summary.total > 5000" in out
    assert found["sources"]["sora2"]["path"] == "/webhook/sora2"
    assert found["destinations"].keys() == {"app", "spare"}
    assert SECRET not in out + json.dumps(found)


async def test_init_writes_files_that_work_and_only_their_owner_can_read(tmp_path):
    code, out, _ = await command(tmp_path, "init")
    checked, _, err = await command(tmp_path, "check")
    again, _, words = await command(tmp_path, "init")
    secret = (tmp_path / ".env").read_text()
    forced, _, _ = await command(tmp_path, "init", "--force")

    assert (code, checked, again, forced) == (0, 0, 1, 0), err
    assert "exist already" in words
    assert (tmp_path / ".env.bak").read_text() == secret
    assert secret != (tmp_path / ".env").read_text()
    for name in ("receiver.toml", ".env", ".env.bak"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    tomllib.loads((tmp_path / "receiver.toml").read_text())
    assert "receiver check" in out


async def test_init_adds_to_an_env_file_only_what_is_missing(tmp_path):
    mine = "MINE=1\nexport SORA2_WEBHOOK_SECRET=known"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".env").write_text(mine)

    code, out, _ = await command(tmp_path, "init", "--dir", "other")
    checked, _, err = await command(tmp_path, "-c", "other/receiver.toml", "check")

    lines = (tmp_path / "other" / ".env").read_text().splitlines()
    assert (code, checked) == (0, 0), err
    assert lines[:2] == mine.splitlines()
    assert [line.partition("=")[0] for line in lines[2:]] == [
        "HTTP_URL",
        "HTTP_SIGNING_SECRET",
    ]
    assert "-c other/receiver.toml serve" in out


async def test_a_store_url_is_judged_by_check_and_its_password_not_shown(tmp_path):
    url = "postgres://user:pa55word@db.example.com/receiver"
    toml = config().replace("sqlite:///receiver.db", url)
    (tmp_path / "receiver.toml").write_text(toml)

    for arguments in (("check",), ("check", "--json"), ("serve",), ("status",)):
        code, out, err = await command(tmp_path, *arguments)

        assert code == 2
        assert "pa55word" not in out + err
        assert "sqlite:///receiver.db" in out + err


async def test_no_proxy_of_the_environment_is_used_on_this_machine(place):
    proxies = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    url = f"{place.server.url}/webhook/sora2"

    sent, _, err = await command(
        place.folder, "send", "sora2", "--url", url, environment=proxies
    )
    paused, _, _ = await command(
        place.folder, "destinations", "pause", "app", environment=proxies
    )

    assert (sent, paused) == (0, 0), err


async def test_what_is_not_ours_may_answer_anything(alone):
    answers = iter(['{"error":"text"}', "[1]", "null", ""])

    async def respond(_):
        return web.Response(text=next(answers), content_type="application/json")

    alone.target.respond = respond
    for words in ('{"error":"text"}', "[1]", "null", ""):
        out, _ = await alone.run("send", "sora2", "--url", alone.target.url)

        assert out == f"200 {words}".rstrip() + "\n"


async def test_init_where_nothing_can_be_written_says_so(tmp_path):
    code, _, err = await command(tmp_path, "init", "--dir", "not/there")

    assert code == 2
    assert "not/there" in err
    assert "Traceback" not in err


async def test_the_url_is_printed_without_its_token_unless_asked(tmp_path):
    (tmp_path / "receiver.toml").write_text(config(source='token = "t0ken"'))
    base = ("--base", "https://hooks.example.com/")

    _, local, note = await command(tmp_path, "url", "sora2")
    _, masked, stars = await command(tmp_path, "url", "sora2", *base)
    _, shown, nothing = await command(tmp_path, "url", "sora2", *base, "--show-token")

    assert local == "http://127.0.0.1:0/webhook/sora2?token=***\n"
    assert "only this machine" in note
    assert masked == "https://hooks.example.com/webhook/sora2?token=***\n"
    assert "--show-token shows it" in stars
    assert "--show-token" not in nothing
    assert shown == "https://hooks.example.com/webhook/sora2?token=t0ken\n"


async def test_a_second_server_ends_with_2_and_names_the_first(place):
    _, err = await place.run("serve", code=2)

    assert f"(process {place.server.process.pid})" in err
    assert "receiver.db is owned by another receiver" in err


async def test_a_second_server_on_the_same_port_ends_with_2(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second")
    port = place.server.url.rpartition(":")[2]
    (folder / "receiver.toml").write_text(
        config().replace("port = 0", f"port = {port}")
    )

    code, _, err = await command(folder, "serve")

    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert "is another program using it?" in err


async def test_a_server_started_from_a_terminals_job_ends_on_ctrl_c(tmp_path):
    async with serving(tmp_path, config()) as server:
        server.process.send_signal(signal.SIGINT)
        code = await server.ended()

    assert code == 0
    assert not (tmp_path / "receiver.db.sock").exists()


async def test_the_console_log_is_not_driven_by_what_providers_send(tmp_path):
    toml = config(server='log_format = "console"')
    (tmp_path / "receiver.toml").write_text(toml)
    hostile = {"event": "a\x1b[2J\x07", "batch_id": "b\x9b31m\u202e"}
    (tmp_path / "body.json").write_text(json.dumps(hostile))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "serve",
        cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "FORCE_COLOR": ""},
    )  # fmt: skip
    assert process.stderr is not None
    ready = b""
    while b"receiver.ready" not in ready:
        ready = await process.stderr.readline()
        assert ready, "it ended"
    url = ready.decode().partition("url=")[2].split()[0]

    code, _, err = await command(
        tmp_path, "send", "sora2", "--file", "body.json",
        "--url", f"{url}/webhook/sora2",
    )  # fmt: skip
    process.terminate()
    said = (await process.stderr.read()).decode()
    await process.wait()

    assert code == 0, err
    assert "event.received" in said
    assert not any(c in said for c in "\x1b\x07\x9b\u202e")


async def test_a_program_that_is_gone_keeps_nobody_from_looking(tmp_path):
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    (tmp_path / "hook").chmod(0o755)
    toml = config(destinations={"hook": 'type = "command"\ncommand = ["./hook"]'})
    async with serving(tmp_path, toml) as running:
        await running.stop()
    (tmp_path / "hook").unlink()

    looked = await command(tmp_path, "events", "list")
    checked = await command(tmp_path, "check")
    served = await command(tmp_path, "serve")

    assert looked[0] == 0
    assert (checked[0], served[0]) == (2, 2)
    assert "destinations.hook.command" in checked[2]
    assert "destinations.hook.command" in served[2]
