"""The intake when something is wrong on our side, or there is very much of it."""

import asyncio
import json
import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import SECRET, Serving, command, config, serving
from tests.sinks import sink
from tests.web.wire import PATH, Wire, connected, event, post, request, signed

pytestmark = pytest.mark.e2e

TOKEN = "a token in the URL"


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Nobody else can write while this lasts."""
    connection = sqlite3.connect(store, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def output(server: Serving, *arguments: str) -> Any:
    code, out, err = await command(server.folder, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


# -- the token in the URL


async def test_the_token_guards_the_address_and_is_not_kept(tmp_path):
    toml = config(source=f'token = "{TOKEN}"')
    body = event("bat_1")
    right = PATH + "?batch=1&token=" + TOKEN.replace(" ", "%20")

    async with serving(tmp_path, toml) as server:
        missing = await post(server.url, body)
        wrong = await post(server.url, body, path=PATH + "?token=wr%FFng")
        unsigned = await post(server.url, body, {}, path=right)
        accepted = await post(server.url, body, path=right)
        ping = await post(server.url, b'{"event":"test"}', {})
        async with asyncio.timeout(60):
            while len(await output(server, "rejections", "list")) < 4:
                pass
        rejections = await output(server, "rejections", "list")
        [kept] = await output(server, "events", "list")
        _, address, _ = await command(tmp_path, "url", "sora2")
        said = [*server.raw, json.dumps([rejections, kept]), address]

    assert (missing.status, missing.code) == (401, "token_missing")
    assert (wrong.status, wrong.code) == (401, "token_mismatch")
    assert (unsigned.status, unsigned.code) == (401, "signature_missing")
    assert (ping.status, ping.code) == (401, "token_missing")
    assert accepted.json["status"] == "accepted"
    assert kept["query"] == {"batch": "1", "token": "***"}
    assert {r["query"].get("token") for r in rejections} == {None, "***"}
    assert TOKEN not in "\n".join(said)
    assert TOKEN.replace(" ", "%20") not in "\n".join(said)


# -- no room


async def test_too_much_at_once_is_told_to_come_back(tmp_path):
    toml = config(server="max_waiting_bytes = 200000")
    large = event("bat_1", padding="x" * 150_000)
    second = event("bat_2", padding="x" * 80_000)

    async with serving(tmp_path, toml) as server, connected(server.url) as holding:
        await holding.send(request(large)[:-10])
        refused = await first_refusal(server, second)
        await holding.send(request(large)[-10:])
        held = await holding.answer()
        accepted = await post(server.url, second)

    assert (refused.status, refused.code) == (503, "busy")
    assert int(refused.headers["retry-after"]) > 0
    assert held.json["status"] == "accepted"
    assert accepted.status == 200


async def first_refusal(server: Serving, body: bytes) -> Any:
    """Once the server has read what the other connection sent."""
    async with asyncio.timeout(60):
        while True:
            answer = await post(server.url, body, {"x-sora2-signature": "forged"})
            if answer.status != 401:
                return answer


async def test_room_is_given_back_after_every_request(tmp_path):
    toml = config(server="max_waiting_bytes = 200000\nmax_body_bytes = 150000")

    async with serving(tmp_path, toml) as server:
        for number in range(10):
            for body, headers in (
                (event(f"bat_{number}", padding="x" * 90_000), None),
                (b"y" * 90_000, {"x-sora2-signature": "forged"}),
                (b"[" * 90_000, None),
                (b"z" * 160_000, None),
            ):
                answer = await post(server.url, body, headers)
                assert answer.status in (200, 400, 401, 413)


async def test_while_the_store_cannot_commit_nothing_is_accepted(tmp_path):
    body = event("bat_1")

    async with serving(tmp_path, config()) as server:
        await post(server.url, event("bat_0"))
        with locked(tmp_path / "receiver.db"):
            refused, malformed = await asyncio.gather(
                post(server.url, body), post(server.url, b"{")
            )
            unready = await get(server, "/readyz")
            alive = await get(server, "/healthz")
        accepted = await post(server.url, body)
        async with asyncio.timeout(60):
            while (await get(server, "/readyz")).status != 200:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.1)
        stored = await output(server, "events", "list")

    assert (refused.status, refused.code) == (503, "not_stored")
    assert int(refused.headers["retry-after"]) > 0
    assert malformed.status == 503
    assert (unready.status, alive.status) == (503, 200)
    assert accepted.json["status"] == "accepted"
    assert [e["subject"] for e in stored] == ["bat_1", "bat_0"]


async def get(server: Serving, path: str) -> Any:
    async with connected(server.url) as wire:
        await wire.send(request(method="GET", headers={}, path=path))
        return await wire.answer()


# -- routes


@pytest.mark.parametrize(
    "more",
    [
        {"x": 10**30},
        {"x": -(2**63) - 1},
        {"x": 2**63},
        {"x": "half \ud800 a pair"},
        {"half \ud800": 1},
        {"x": [[[[[[[[[[[]]]]]]]]]]]},
        {"": {"": ""}},
    ],
    ids=lambda more: repr(more)[:40],
)
async def test_values_that_a_condition_cannot_hold_do_not_stop_the_event(
    conditional, more
):
    batch = f"bat_{abs(hash(repr(more)))}"

    answer = await post(conditional.url, event(batch, **more))

    assert answer.status == 200, answer.body


@pytest.fixture
async def conditional(tmp_path):
    route = (
        '[[routes]]\nname = "some"\nsource = "sora2"\nto = ["nowhere"]\n'
        "when = 'data.summary.total > 5000'"
    )
    nowhere = {"nowhere": 'type = "http"\nurl = "http://127.0.0.1:9/"'}
    toml = config(destinations=nowhere, routes=route)
    async with serving(tmp_path, toml) as running:
        yield running


def large_batch(batch: str) -> bytes:
    """A batch of 10,000 items: 2.5 MB."""
    items = [
        {
            "item_id": f"item_{n:06}",
            "index": n,
            "status": "succeeded",
            "video_url": f"https://cdn.example.com/v/{batch}-{n:06}.mp4",
            "thumbnail_url": f"https://cdn.example.com/t/{batch}-{n:06}.jpg",
            "metadata": {"sku": f"PROD-{n}"},
        }
        for n in range(10_000)
    ]
    return event(batch, items=items)


async def measure(wire: Wire, name: str, until: asyncio.Event) -> list[float]:
    """Milliseconds of one small request after the other."""
    found: list[float] = []
    while not until.is_set():
        sent = request(event(f"{name}_{len(found)}"))
        started = time.perf_counter()
        await wire.send(sent)
        answer = await wire.answer()
        found.append((time.perf_counter() - started) * 1000)
        assert answer.status == 200
        await asyncio.sleep(0.002)
    return found


async def test_a_batch_of_ten_thousand_does_not_hold_up_others(
    conditional, record_property
):
    large = [request(large_batch(f"large_{n}")) for n in range(7)]
    over, done = asyncio.Event(), asyncio.Event()
    async with connected(conditional.url) as wire, connected(conditional.url) as big:
        await big.send(large.pop())
        assert (await big.answer(60)).status == 200  # its helper runs now
        asyncio.get_running_loop().call_later(2, over.set)
        before = await measure(wire, "before", over)
        measuring = asyncio.create_task(measure(wire, "while", done))
        for sent in large:
            await big.send(sent)
            assert (await big.answer(60)).status == 200
        done.set()
        during = await measuring

    numbers = {
        f"{name} {what}": round(value, 1)
        for name, times in (("before", before), ("during", during))
        for what, value in (
            ("n", len(times)),
            ("median", statistics.median(times)),
            ("p90", sorted(times)[int(len(times) * 0.9)]),
            ("p99", sorted(times)[int(len(times) * 0.99)]),
            ("max", max(times)),
        )
    }
    record_property("milliseconds", numbers)
    print(numbers)  # noqa: T201 (for whoever wants to know)
    assert len(during) >= 20
    assert statistics.median(during) < statistics.median(before) + 20
    assert sorted(during)[int(len(during) * 0.9)] < 250


# -- ends


async def test_a_server_that_is_killed_leaves_no_helper_behind(tmp_path):
    async with serving(tmp_path, config()) as server:
        answer = await post(server.url, event("bat_1", padding="x" * 100_000))
        os.kill(server.process.pid, signal.SIGKILL)
        await server.ended()  # which waits until nobody holds its standard error

    assert answer.status == 200


async def test_what_was_answered_is_there_after_a_kill(tmp_path):
    async with serving(tmp_path, config()) as server:
        posted = await asyncio.gather(
            *(post(server.url, event(f"bat_{n}")) for n in range(50))
        )
        await server.kill()
    async with serving(tmp_path, None) as server:
        again = await asyncio.gather(
            *(post(server.url, event(f"bat_{n}")) for n in range(50))
        )

    assert [a.json["status"] for a in posted] == ["accepted"] * 50
    assert [a.json["status"] for a in again] == ["duplicate"] * 50
    assert [a.json["id"] for a in again] == [a.json["id"] for a in posted]


async def test_a_stop_ends_what_was_begun_and_refuses_what_comes(tmp_path):
    body = event("bat_1")

    async with serving(tmp_path, config()) as server, connected(server.url) as wire:
        await wire.send(request(body)[:-5])
        await get(server, "/healthz")
        server.process.send_signal(signal.SIGTERM)
        await server.line("receiver.stopping")
        await wire.send(request(body)[-5:])
        answer = await wire.answer()
        code = await server.ended()

    assert answer.json["status"] == "accepted"
    assert code == 0


async def test_new_routes_are_used_after_a_reload_also_for_large_bodies(tmp_path):
    def toml(threshold: int) -> str:
        route = (
            '[[routes]]\nname = "some"\nsource = "sora2"\nto = ["app"]\n'
            f"when = 'data.summary.total > {threshold}'"
        )
        return config(
            destinations={"app": f'type = "http"\nurl = "{found.url}"'}, routes=route
        )

    async with sink() as found, serving(tmp_path, toml(1_000)) as server:
        first = await post(server.url, event("bat_1", padding="x" * 100_000))
        (tmp_path / "receiver.toml").write_text(toml(1))
        server.process.send_signal(signal.SIGHUP)
        await server.line("reload.done")
        second = await post(server.url, event("bat_2", padding="x" * 100_000))
        await found.wait_for(1)

    assert (first.status, second.status) == (200, 200)
    assert [seen.headers["webhook-id"] for seen in found.seen] == [second.json["id"]]


async def test_a_bad_new_file_changes_nothing_and_says_why(tmp_path):
    async with serving(tmp_path, config()) as server:
        (tmp_path / "receiver.toml").write_text("[sources.x]\nprovder = 1\n")
        server.process.send_signal(signal.SIGHUP)
        line = await server.line("reload.refused")
        answer = await post(server.url, event("bat_1"))

    assert "sources.x.prov" in line["problem"]
    assert answer.status == 200
    assert SECRET not in "\n".join(server.raw)
    assert signed(event("bat_1"))["x-sora2-signature"] not in "\n".join(server.raw)
