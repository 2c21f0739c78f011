"""kie.ai's callbacks, over a real socket."""

import json
import signal
from pathlib import Path

import httpx

from receiver.models import Headers
from tests.making import sample, signed
from tests.serving import command, config, serving

KEY = "a key of kie.ai"
SOURCE = f'[sources.kie]\nprovider = "kie"\nsecrets = ["{KEY}"]\n'


def callback(name: str, host: str = "example.com") -> bytes:
    return sample(name, "t", "kie").replace(b"example.com", host.encode())


def headers(body: bytes) -> Headers:
    return signed(body, KEY, "kie")


async def test_a_task_is_answered_as_kie_expects_and_ends_once(tmp_path: Path):
    async with (
        serving(tmp_path, config() + SOURCE) as running,
        httpx.AsyncClient(base_url=f"{running.url}/webhooks/") as client,
    ):
        answers = []
        for name in ("task.progress", "task.succeeded", "task.succeeded"):
            body = callback(name)
            answers.append(
                await client.post("kie", content=body, headers=headers(body))
            )
        # Somebody uses a signature that was seen for a body of their own.
        captured = answers[-1].request.headers
        forged = await client.post("kie", content=callback("task.failed"), headers={
            name: captured[name]
            for name in ("x-webhook-signature", "x-webhook-timestamp")
        })  # fmt: skip
        ended = answers[1].json()["id"]
        _, shown, _ = await command(tmp_path, "events", "show", ended, "--json")

    expected = {"code": 200, "msg": "success", "status": "received"}
    for answer in answers:
        assert answer.status_code == 200
        assert expected.items() <= answer.json().items()
    words = [answer.json()["outcome"] for answer in (*answers, forged)]
    assert words == ["accepted", "accepted", "duplicate", "duplicate"]
    found = json.loads(shown)
    assert '"conflict"' in shown
    assert (found["type"], found["state"]) == ("task.succeeded", "succeeded")


async def test_a_host_that_is_not_known_is_refused_until_it_is_added(tmp_path: Path):
    body = callback("task.succeeded", "results.test")
    async with (
        serving(tmp_path, config() + SOURCE) as running,
        httpx.AsyncClient(base_url=f"{running.url}/webhooks/") as client,
    ):
        refused = await client.post("kie", content=body, headers=headers(body))
        toml = tmp_path / "receiver.toml"
        toml.write_text(toml.read_text() + 'hosts = ["*.test"]\n')
        running.process.send_signal(signal.SIGHUP)
        await running.line("reload.done")
        code, out, err = await command(
            tmp_path,
            *("rejections", "reverify", "--code", "result_host_unknown"),
            *("--yes", "--json"),
        )

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "result_host_unknown"
    assert "results.test" in refused.json()["error"]["message"]
    assert (code, json.loads(out)["counts"]) == (0, {"accepted": 1}), err


async def test_what_is_allowed_but_risky_is_said_by_check_and_at_the_start(
    tmp_path: Path,
):
    async with serving(tmp_path, config() + SOURCE + 'hosts = ["*"]\n') as running:
        line = await running.line("config.warning")
        (tmp_path / "receiver.toml").write_text(config() + SOURCE)
        running.process.send_signal(signal.SIGHUP)
        await running.line("reload.done")
        _, quiet, _ = await command(tmp_path, "check", "--json")
        (tmp_path / "receiver.toml").write_text(config() + SOURCE + 'hosts = ["*"]\n')
        code, out, _ = await command(tmp_path, "check")
        _, as_json, _ = await command(tmp_path, "check", "--json")

    assert line["key"] == "sources.kie.hosts"
    assert "kie.ai does not sign them" in line["message"]
    assert (json.loads(quiet)["notes"], code) == ([], 0)
    assert "note: sources.kie.hosts: allows links to any host" in out
    [note] = json.loads(as_json)["notes"]
    assert note == {"key": line["key"], "message": line["message"]}


async def test_a_token_alone_lets_unsigned_callbacks_in(tmp_path: Path):
    source = '[sources.kie]\nprovider = "kie"\ntoken = "a token"\n'
    async with (
        serving(tmp_path, config() + source) as running,
        httpx.AsyncClient(base_url=f"{running.url}/webhooks/") as client,
    ):
        body = callback("veo.succeeded")
        with_it = await client.post("kie?token=a%20token&scene=7", content=body)
        without = await client.post("kie", content=body)

    assert with_it.json()["outcome"] == "accepted"
    assert (without.status_code, without.json()["error"]["code"]) == (
        401,
        "token_missing",
    )
