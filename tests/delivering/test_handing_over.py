"""Lanes that are handed over what is accepted: quicker, and otherwise as ever."""

import asyncio
from datetime import timedelta

from aiohttp import web

from receiver import clock
from receiver.models import Rate, Status
from receiver.pace import SLACK_S
from receiver.settings import RetryPolicy
from tests.dispatching import Bench, answer, gate, to
from tests.sinks import Seen

AN_HOUR = timedelta(hours=1)


class Claims:
    """Counts how often a store is asked what is due."""

    def __init__(self, bench: Bench, monkeypatch) -> None:
        self.count = 0
        claim = bench.store.claim

        async def counted(*args, **kwargs):
            self.count += 1
            return await claim(*args, **kwargs)

        monkeypatch.setattr(bench.store, "claim", counted)


async def test_what_is_accepted_is_delivered_without_looking_for_it(
    bench, target, monkeypatch
):
    monkeypatch.setattr("receiver.lane.LONGEST_SLEEP_S", 3600.0)  # else it looks then
    await bench.start(to(target))
    await bench.accept("app")
    await bench.settled("app", Status.DELIVERED)
    claims = Claims(bench, monkeypatch)

    for _ in range(50):
        await bench.accept("app")
    await target.wait_for(51)
    await bench.settled("app", Status.DELIVERED)

    assert claims.count == 0


async def test_what_is_accepted_never_overtakes_what_waits(bench, target):
    before = [await bench.accept("app") for _ in range(200)]
    await bench.start(to(target, concurrency=1))
    after = [await bench.accept("app") for _ in range(200)]

    seen = await target.wait_for(400)

    assert [one.headers["webhook-id"] for one in seen] == before + after


async def test_it_does_not_overtake_under_any_load(bench, target):
    await bench.start(to(target, concurrency=1))

    ids = [
        one
        for _ in range(20)
        for one in await asyncio.gather(*(bench.accept("app") for _ in range(40)))
    ]
    seen = await target.wait_for(800)

    assert [one.headers["webhook-id"] for one in seen] == sorted(ids)


async def test_a_paused_destination_is_handed_nothing(bench, target):
    await bench.start(to(target))
    await bench.accept("app")
    await bench.settled("app", Status.DELIVERED)
    await bench.store.pause("app", "a test", clock.now())
    await bench.dispatcher.pauses_changed()

    for _ in range(20):
        await bench.accept("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong
    while_paused = len(target.seen)
    held = bench.dispatcher._lanes["app"].claimed
    await bench.store.resume("app", clock.now())
    await bench.dispatcher.pauses_changed()

    assert (while_paused, held) == (1, 0)
    await target.wait_for(21)


async def test_an_open_breaker_is_handed_nothing(bench, target):
    target.respond = answer(500)
    await bench.start(to(target, retry=RetryPolicy(waits=(timedelta(hours=1),))))
    for _ in range(30):
        await bench.accept("app")
    async with asyncio.timeout(60):
        while not bench.dispatcher.held_back():  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await bench.at_rest("app")
    before = len(target.seen)

    for _ in range(30):
        await bench.accept("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert len(target.seen) == before
    assert bench.dispatcher._lanes["app"].claimed == 0


async def test_a_rate_holds_for_what_is_handed_over(bench, target):
    began = clock.monotonic()
    await bench.start(to(target, max_rate=Rate(20, 1)))
    await bench.accept("app")
    await target.wait_for(1)

    for _ in range(60):
        await bench.accept("app")
    await asyncio.sleep(1)
    seen, took = len(target.seen), clock.monotonic() - began

    assert seen <= 2 + 20 * (took + SLACK_S)
    assert bench.dispatcher._lanes["app"].claimed <= 20 * 2 + 2


async def test_a_rate_goes_on_although_nothing_is_answered(bench, target, monkeypatch):
    monkeypatch.setattr("receiver.lane.LONGEST_SLEEP_S", 3600.0)
    opened, target.respond = gate()
    await bench.start(to(target, max_rate=Rate(5, 1), timeout=AN_HOUR))
    await bench.accept("app")
    await target.wait_for(1)

    for _ in range(5):
        await bench.accept("app")
    await target.wait_for(6)

    opened.set()


async def test_a_rate_goes_on_when_one_of_several_is_answered(
    bench, target, monkeypatch
):
    monkeypatch.setattr("receiver.lane.LONGEST_SLEEP_S", 3600.0)
    opened, hang = gate()

    async def respond(seen: Seen) -> web.StreamResponse:
        return await hang(seen) if seen.body == b"slow" else web.Response(text="ok")

    target.respond = respond
    await bench.start(to(target, max_rate=Rate(5, 1), timeout=AN_HOUR))
    await bench.accept("app", body=b"slow")
    await target.wait_for(1)

    for _ in range(5):
        await bench.accept("app")
    await target.wait_for(6)

    opened.set()


async def test_large_bodies_are_handed_over_only_as_far_as_they_fit(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target, timeout=timedelta(seconds=60)))
    await bench.accept("app", body=b"x" * 3_000_000)
    await target.wait_for(1)

    for _ in range(15):
        await bench.accept("app", body=b"x" * 3_000_000)
    held = bench.dispatcher._lanes["app"].claimed
    opened.set()

    assert held * 3_000_000 <= 20_000_000
    await target.wait_for(16)


async def test_a_retry_gets_its_turn_however_much_is_handed_over(bench, target):
    failed = asyncio.Event()

    async def respond(seen: Seen) -> web.StreamResponse:
        await asyncio.sleep(0.002)
        if seen.body == b"first" and not failed.is_set():
            failed.set()
            return web.Response(status=500)
        if seen.body == b"first":
            retried.set()
        return web.Response(text="ok")

    target.respond, retried = respond, asyncio.Event()
    await bench.start(to(target, concurrency=2))
    await bench.accept("app", body=b"first")
    await failed.wait()

    async def flood() -> None:
        while True:
            await asyncio.gather(*(bench.accept("app") for _ in range(8)))

    flooding = asyncio.create_task(flood())
    async with asyncio.timeout(60):
        await retried.wait()
    flooding.cancel()


async def test_what_a_stop_finds_handed_over_waits_for_the_next_start(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target, concurrency=2))
    for _ in range(20):
        await bench.accept("app")
    await target.wait_for(2)

    await bench.dispatcher.stop(0.1)
    opened.set()
    await bench.start(to(target, concurrency=2))

    await target.wait_for(22)
    await bench.settled("app", Status.DELIVERED)
