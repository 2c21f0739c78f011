"""fal's webhooks over a real socket, with a key server that has good and bad days."""

import asyncio
import json
import signal
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from receiver import clock
from receiver.providers.samples import samples
from receiver.providers.sending import Outgoing, outgoing
from tests import making
from tests.providers.key_server import KeyServer, key_server
from tests.serving import Serving, command, config, serving
from tests.web.wire import Answer, connected, event, post, request

PATH = "/webhooks/fal"
OLD, NEW, STRANGER = (making.key_pair(words) for words in ("old", "new", "no one"))

_numbers = count()


def toml(keys_url: str, more: str = "") -> str:
    source = f'[sources.fal]\nprovider = "fal"\nkeys_url = "{keys_url}"\n{more}\n'
    return f"{config()}\n{source}"


def webhook(
    private: str, kind: str = "request.completed", subject: str = ""
) -> Outgoing:
    subject = subject or f"req_{next(_numbers)}"
    body = samples("fal", subject, clock.now())[kind].body
    return outgoing(making.provider("fal"), body, clock.now(), secret=private)


async def told(server: Serving, private: str, **more: str) -> Answer:
    made = webhook(private, **more)
    return await post(server.url, made.body, made.headers, path=PATH)


async def listed(folder: Path, *what: str) -> list[Mapping[str, object]]:
    _, out, _ = await command(folder, *what, "list", "--json")
    found: list[Mapping[str, object]] = json.loads(out)
    return found


async def test_what_fal_signs_is_kept_once_and_forgeries_are_not(tmp_path):
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url)) as server,
    ):
        await server.line("keys.fetched", known=1)
        first = await told(server, OLD[0], subject="req_x")
        again = await told(server, OLD[0], subject="req_x")
        failed = await told(server, OLD[0], kind="request.failed")
        forged = await told(server, STRANGER[0])
        events = await listed(tmp_path, "events")

    assert [first.json["status"], again.json["status"]] == ["accepted", "duplicate"]
    assert failed.status == 200
    assert (forged.status, forged.code) == (401, "signature_mismatch")
    assert {(e["type"], e["state"]) for e in events} == {
        ("request.completed", "succeeded"),
        ("request.failed", "failed"),
    }


async def test_a_large_result_is_verified_too(tmp_path):
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url)) as server,
    ):
        body = json.dumps(
            {"request_id": "r", "status": "OK", "payload": {"text": "x" * 300_000}}
        ).encode()
        provider, now = making.provider("fal"), clock.now()
        made = outgoing(provider, body, now, secret=OLD[0])
        forged = outgoing(provider, body, now, secret=STRANGER[0])

        taken = await post(server.url, made.body, made.headers, path=PATH)
        refused = await post(server.url, forged.body, forged.headers, path=PATH)

    assert (taken.status, refused.status) == (200, 401)


async def test_the_first_webhook_signed_with_a_new_key_is_taken(tmp_path):
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url)) as server,
    ):
        await server.line("keys.fetched", known=1)
        before = await told(server, OLD[0])

        keys.private = (NEW[0],)
        rotated = await asyncio.gather(*(told(server, NEW[0]) for _ in range(20)))
        withdrawn = await told(server, OLD[0])

    assert before.status == 200
    assert {answer.status for answer in rotated} == {200}
    assert withdrawn.status == 401
    assert len(keys.asked) == 2


async def test_forgeries_make_us_ask_once_and_delay_nobody_who_is_known(tmp_path):
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url)) as server,
    ):
        await server.line("keys.fetched", known=1)
        keys.may_answer.clear()
        forging = [asyncio.create_task(told(server, STRANGER[0])) for _ in range(20)]
        await keys.asked_times(2)

        genuine = await told(server, OLD[0])
        other = await post(server.url, event("bat_1"))
        still_waiting = not any(task.done() for task in forging)
        keys.may_answer.set()
        forged = await asyncio.gather(*forging)

    assert (genuine.status, other.status) == (200, 200)
    assert still_waiting
    assert {answer.status for answer in forged} == {401}
    assert len(keys.asked) == 2


@pytest.mark.parametrize("trouble", ["down", "slow", "garbage"])
async def test_while_no_key_could_be_had_yet_senders_are_told_to_try_again(
    tmp_path, trouble
):
    async with key_server(OLD[0]) as keys:
        make(keys, trouble)
        async with serving(tmp_path, toml(keys.url)) as server:
            signed = await told(server, OLD[0])
            unsigned = await post(server.url, b"{}", {}, path=PATH)
            other = await post(server.url, event("bat_1"))
            await server.line("keys.not_fetched", known=0)
            await server.stop()
        rejections = await listed(tmp_path, "rejections")

    assert (signed.status, signed.code) == (503, "keys_unavailable")
    assert int(signed.headers["retry-after"]) > 0
    assert (unsigned.status, unsigned.code) == (401, "signature_missing")
    assert other.status == 200
    assert {rejection["code"] for rejection in rejections} == {
        "keys_unavailable",
        "signature_missing",
    }


def make(keys: KeyServer, trouble: str) -> None:
    if trouble == "down":
        keys.status = 503
    elif trouble == "slow":
        keys.may_answer.clear()
    else:
        keys.answer = b"<html>"


async def test_keys_that_come_while_a_webhook_waits_are_used_for_it(tmp_path):
    async with key_server(OLD[0]) as keys:
        keys.may_answer.clear()
        async with serving(tmp_path, toml(keys.url)) as server:
            waiting = asyncio.create_task(told(server, OLD[0]))
            await keys.asked_times(1)
            keys.may_answer.set()

            answer = await waiting

    assert answer.status == 200


async def test_after_a_restart_with_the_key_server_gone_known_signatures_are_taken(
    tmp_path,
):
    async with key_server(OLD[0]) as keys:
        gone = toml(keys.url)
        async with serving(tmp_path, gone) as server:
            assert (await told(server, OLD[0])).status == 200
            assert await server.stop() == 0

    async with serving(tmp_path, gone) as server:
        known = await told(server, OLD[0])
        forged = await told(server, STRANGER[0])
        code = await server.stop()

    assert (known.status, forged.status, code) == (200, 401, 0)


async def test_pinned_keys_need_nobody_and_are_taken_beside_the_fetched(tmp_path):
    pinned = f'keys = ["{NEW[1]}"]'
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url, pinned)) as server,
    ):
        await server.line("keys.fetched", known=1)
        both = [(await told(server, private)).status for private, _ in (OLD, NEW)]
        await server.stop()
        asked = len(keys.asked)
        alone = toml(keys.url, f"{pinned}\nfetch_keys = false")
        async with serving(tmp_path, alone) as lone:
            fixed = [(await told(lone, private)).status for private, _ in (OLD, NEW)]

        assert (both, fixed) == ([200, 200], [401, 200])
        assert len(keys.asked) == asked


async def test_a_reload_may_bring_fal_and_another_key_server(tmp_path):
    async with (
        key_server(OLD[0]) as first,
        key_server(NEW[0]) as second,
        serving(tmp_path, config()) as server,
    ):
        statuses = []
        for keys, private in ((first, OLD[0]), (second, NEW[0])):
            (tmp_path / "receiver.toml").write_text(toml(keys.url))
            server.log.clear()
            server.process.send_signal(signal.SIGHUP)
            await server.line("reload.done")
            statuses.append((await told(server, private)).status)
        statuses.append((await told(server, OLD[0])).status)

    assert statuses == [200, 200, 401]


async def test_a_stop_does_not_wait_for_a_key_server(tmp_path):
    async with key_server(OLD[0]) as keys:
        keys.may_answer.clear()
        async with serving(tmp_path, toml(keys.url)) as server:
            await keys.asked_times(1)

            code = await server.stop()

    assert code == 0
    assert not [line for line in server.raw if "Traceback" in line]


async def test_a_signed_webhook_that_is_late_is_refused(tmp_path):
    async with (
        key_server(OLD[0]) as keys,
        serving(tmp_path, toml(keys.url)) as server,
    ):
        made = webhook(OLD[0])
        late = {**made.headers, "x-fal-webhook-timestamp": "1767225600"}
        old = outgoing(
            making.provider("fal"), made.body, making.NOW, secret=OLD[0]
        ).headers
        async with connected(server.url) as wire:
            answers = []
            for headers in (late, old):
                await wire.send(request(made.body, headers, path=PATH))
                answers.append((await wire.answer()).code)

    assert answers == ["signature_mismatch", "timestamp_out_of_range"]
