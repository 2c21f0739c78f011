"""Refused requests that are verified again, after the secret was mended."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx

from receiver import clock
from tests.making import signed
from tests.serving import SECRET, Serving, command, config, serving
from tests.sinks import sink

OURS = "the secret the provider really has"


def body(batch: str, **more: object) -> bytes:
    return json.dumps({"event": "batch.running", "batch_id": batch, **more}).encode()


async def refused(running: Serving, sent: bytes, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{running.url}/webhook/sora2", content=sent, headers=headers
        )
    assert answer.status_code == 401


async def rejections(folder: Path, count: int) -> list[dict[str, Any]]:
    """The rejections, once there are so many, the oldest first."""
    async with asyncio.timeout(60):
        while True:
            _, out, _ = await command(folder, "rejections", "list", "--json")
            found: list[dict[str, Any]] = json.loads(out)
            if len(found) >= count:
                return found[::-1]


async def reload(running: Serving) -> None:
    toml = running.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace(SECRET, OURS))
    running.process.send_signal(signal.SIGHUP)
    await running.line("reload.done")


async def test_after_the_secret_was_mended_what_is_right_is_accepted_and_delivered(
    tmp_path: Path,
):
    async with sink() as there:
        toml = config(destinations={"app": f'type = "http"\nurl = "{there.url}"'})
        async with serving(tmp_path, toml) as running:
            for batch in ("one", "two"):
                await refused(running, body(batch), dict(signed(body(batch), OURS)))
            forged = dict(signed(body("three"), "a stranger's"))
            await refused(running, body("three"), forged)
            kept = await rejections(tmp_path, 3)
            await reload(running)

            _, would, _ = await command(
                tmp_path, "rejections", "reverify", "--source", "sora2", "--dry-run"
            )
            before = list(there.seen)
            code, out, err = await command(
                tmp_path,
                *("rejections", "reverify", "--source", "sora2", "--yes", "--json"),
            )
            seen = list(await there.wait_for(2))
            again, said, _ = await command(
                tmp_path, "rejections", "reverify", kept[0]["id"]
            )
            _, events, _ = await command(tmp_path, "events", "list", "--json")
            _, shown, _ = await command(
                tmp_path, "rejections", "show", kept[0]["id"], "--json"
            )

    assert "2 would be accepted, 1 would be signature_mismatch" in would
    assert before == []
    assert code == 0, err
    assert json.loads(out)["counts"] == {"accepted": 2, "signature_mismatch": 1}
    assert sorted(json.loads(one.body)["batch_id"] for one in seen) == ["one", "two"]
    assert again == 0
    assert "duplicate" in said
    found = {event["subject"]: event for event in json.loads(events)}
    assert found.keys() == {"one", "two"}
    assert {event["origin"] for event in found.values()} == {"reverified"}
    assert found["one"]["received_at"] == kept[0]["received_at"]
    assert json.loads(shown)["event_id"] == found["one"]["id"]


async def test_it_is_judged_as_of_its_arrival_and_its_token_by_its_digest(
    tmp_path: Path,
):
    source = 'token = "wrong"\nbearer = "the bearer"\ntolerance = "1s"'
    async with serving(tmp_path, config(source=source)) as running:
        sent = body("one", timestamp=clock.iso(clock.now()))
        headers = {**signed(sent, SECRET), "authorization": "Bearer the bearer"}
        async with httpx.AsyncClient(base_url=running.url) as client:
            answer = await client.post(
                "/webhook/sora2?token=right", content=sent, headers=headers
            )
        assert answer.json()["error"]["code"] == "token_mismatch"
        [kept] = await rejections(tmp_path, 1)
        toml = tmp_path / "receiver.toml"
        toml.write_text(toml.read_text().replace('"wrong"', '"right"'))
        running.process.send_signal(signal.SIGHUP)
        await running.line("reload.done")
        received = kept["received_at"]
        await asyncio.sleep(1.1)  # the tolerance has passed

        code, out, err = await command(
            tmp_path, "rejections", "reverify", kept["id"], "--json"
        )
        store = (tmp_path / "receiver.db").read_bytes()

    assert kept["query"] == {"token": "***"}
    assert kept["headers"]["authorization"] == "***"
    assert (code, json.loads(out)["counts"]) == (0, {"accepted": 1}), err
    assert received
    assert b"Bearer the bearer" not in store


async def test_without_a_server_it_is_done_all_the_same(tmp_path: Path):
    async with serving(tmp_path, config()) as running:
        await refused(running, body("one"), dict(signed(body("one"), OURS)))
        [kept] = await rejections(tmp_path, 1)
        await running.stop()
    toml = tmp_path / "receiver.toml"
    toml.write_text(toml.read_text().replace(SECRET, OURS))

    code, out, err = await command(tmp_path, "rejections", "reverify", kept["id"])

    assert (code, "1 accepted" in out) == (0, True), err


async def test_what_cannot_be_verified_again_says_why(tmp_path: Path):
    large = b'{"event":"batch.running","batch_id":"one"}' + b" " * 1_500_000
    async with serving(tmp_path, config()) as running:
        await refused(running, large, dict(signed(large, OURS)))
        [kept] = await rejections(tmp_path, 1)
        await reload(running)

        code, out, _ = await command(tmp_path, "rejections", "reverify", kept["id"])

    assert code == 1
    assert "only the beginning of its body was kept" in out
