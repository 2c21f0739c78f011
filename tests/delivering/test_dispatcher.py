"""The dispatcher, with a real store and real endpoints: promptness, isolation, care."""

import asyncio
import statistics
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from aiohttp import web

from receiver import clock
from receiver.inbox import AHEAD
from receiver.models import Result, Status
from receiver.settings import DestinationSettings, RetryPolicy
from tests.delivering.locking import Locked
from tests.dispatching import QUICK, SOON, answer, attempts, gate, to
from tests.ports import refusing
from tests.sinks import Seen, sink

# -- promptness and isolation


async def test_an_idle_destination_has_new_work_at_once(bench, target, record_property):
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def respond(_: Seen) -> web.StreamResponse:
        arrived.put_nowait(loop.time())
        return web.Response(text="ok")

    target.respond = respond
    await bench.start(to(target))
    waits: list[float] = []
    for _ in range(50):
        await bench.accept("app")
        committed = loop.time()
        async with asyncio.timeout(60):
            waits.append((await arrived.get() - committed) * 1000)
        await bench.settled("app", Status.DELIVERED)

    median = statistics.median(waits)
    record_property("median_ms", round(median, 2))
    print(f"median {median:.1f} ms, largest {max(waits):.1f} ms")  # noqa: T201 (a measurement)
    assert median < 50


async def test_what_waited_before_the_start_is_delivered(bench, target):
    ids = [await bench.accept("app") for _ in range(30)]

    await bench.start(to(target, concurrency=3))
    seen = await target.wait_for(30)

    assert sorted(s.headers["webhook-id"] for s in seen) == sorted(ids)
    await bench.settled("app", Status.DELIVERED)


async def test_a_dead_a_hanging_and_a_slow_destination_hold_up_nobody(bench, target):
    _, never = gate()

    async def slowly(_: Seen) -> web.StreamResponse:
        await asyncio.sleep(0.5)  # that is what it is like
        return web.Response(text="ok")

    async with sink() as hanging, sink() as slow, AsyncExitStack() as stack:
        dead = f"http://127.0.0.1:{stack.enter_context(refusing())}/"
        hanging.respond, slow.respond = never, slowly
        await bench.start(
            to(target, "good"),
            to(dead, "dead", retry=RetryPolicy(waits=(SOON,), max_attempts=1_000)),
            to(hanging, "hanging", timeout=timedelta(seconds=60)),
            to(slow, "slow", concurrency=1),
        )
        for _ in range(100):
            await bench.accept("dead", "hanging", "slow", "good")
        await target.wait_for(100, timeout=30)

        assert len(slow.seen) < 100
        assert {d.status for d in await bench.deliveries("hanging")} == {Status.PENDING}
    await bench.settled("good", Status.DELIVERED)


async def test_no_more_than_its_concurrency_runs_at_a_time(bench, target):
    running = most = 0

    async def respond(_: Seen) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return web.Response(text="ok")

    target.respond = respond
    for _ in range(60):
        await bench.accept("app")
    await bench.start(to(target, concurrency=3))
    await target.wait_for(60)

    assert most == 3


async def test_little_is_held_in_memory_whatever_waits(bench, target):
    opened, target.respond = gate()
    for _ in range(300):
        await bench.accept("app")

    await bench.start(to(target, concurrency=4, timeout=timedelta(seconds=60)))
    await target.wait_for(4)
    for _ in range(20):
        bench.dispatcher.wake(["app"])
        await asyncio.sleep(0)
    held = bench.dispatcher._lanes["app"].claimed

    assert held == 4 * AHEAD
    assert len(target.seen) == 4
    opened.set()
    assert len(await target.wait_for(300)) == 300


async def test_large_bodies_count_for_more(bench, target):
    opened, target.respond = gate()
    for _ in range(30):
        await bench.accept("app", body=b"x" * 3_000_000)

    await bench.start(to(target, concurrency=16, timeout=timedelta(seconds=60)))
    await target.wait_for(5)
    held = bench.dispatcher._lanes["app"].claimed

    assert held * 3_000_000 <= 20_000_000
    opened.set()
    await target.wait_for(30)
    await bench.settled("app", Status.DELIVERED)


# -- trying again


async def test_a_refused_delivery_is_tried_again_until_it_is_taken(bench, target):
    target.respond = answer(500, 503, 200)
    await bench.start(to(target))

    event_id = await bench.accept("app")
    [delivery] = await bench.settled("app", Status.DELIVERED)

    assert [s.headers["receiver-attempt"] for s in target.seen] == ["1", "2", "3"]
    assert {s.headers["webhook-id"] for s in target.seen} == {event_id}
    assert delivery.attempts == 3
    assert await attempts(bench, delivery) == [
        (Result.HTTP_STATUS, 500),
        (Result.HTTP_STATUS, 503),
        (Result.OK, 200),
    ]


async def test_after_the_last_attempt_it_is_dead_and_others_go_on(bench, target):
    target.respond = answer(500, 500, 500, 200)
    await bench.start(to(target, concurrency=1))

    await bench.accept("app")
    await bench.settled("app", Status.DEAD)
    await bench.accept("app")
    await target.wait_for(4)

    assert len(target.seen) == 4


async def test_a_refusal_for_good_is_not_tried_again(bench, target):
    target.respond = answer(404)
    await bench.start(to(target, permanent=("4xx",)))

    await bench.accept("app")
    [delivery] = await bench.settled("app", Status.DEAD)

    assert delivery.attempts == 1


@pytest.mark.parametrize("wish", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "junk"])
async def test_a_wish_to_come_back_at_once_does_not_use_up_the_attempts(
    bench, target, wish
):
    target.respond = answer(503, **{"Retry-After": wish})
    await bench.start(to(target, retry=RetryPolicy(waits=(timedelta(hours=1),))))

    await bench.accept("app")
    async with asyncio.timeout(60):
        while not (await bench.deliveries("app"))[0].attempts:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)

    [delivery] = await bench.deliveries("app")
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 1)
    assert delivery.due_at - clock.now() > timedelta(minutes=59)


async def test_a_long_wish_is_kept_too(bench, target):
    target.respond = answer(429, **{"Retry-After": "600"})
    await bench.start(to(target))

    await bench.accept("app")
    await target.wait_for(1)
    async with asyncio.timeout(60):
        while not (await bench.deliveries("app"))[0].attempts:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)

    [delivery] = await bench.deliveries("app")
    assert delivery.status is Status.PENDING
    assert delivery.due_at - clock.now() > timedelta(seconds=500)


async def test_no_answer_in_time_is_an_outcome(bench, target):
    _, target.respond = gate()
    one = RetryPolicy(max_attempts=1)
    await bench.start(to(target, timeout=timedelta(milliseconds=100), retry=one))

    await bench.accept("app")
    [delivery] = await bench.settled("app", Status.DEAD)

    [attempt] = await bench.store.attempts(delivery.id)
    assert attempt.outcome.result is Result.TIMEOUT
    assert (
        attempt.outcome.detail == "no answer within 0.1 s while waiting for the answer"
    )
    assert attempt.duration_ms >= 100


async def test_a_fault_in_a_destination_is_an_outcome(bench):
    settings = DestinationSettings("odd", type="odd", retry=QUICK)
    await bench.start(settings)

    await bench.accept("odd")
    [delivery] = await bench.settled("odd", Status.DEAD)

    assert await attempts(bench, delivery) == [(Result.ERROR, None)] * 3


async def test_what_is_cancelled_while_it_runs_stays_cancelled(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)

    [delivery] = await bench.deliveries("app")
    await bench.store.cancel([delivery.id], clock.now())
    opened.set()
    async with asyncio.timeout(60):
        while not await bench.store.attempts(delivery.id):  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)

    assert (await bench.store.delivery(delivery.id)).status is Status.CANCELLED


# -- when the store cannot be written


async def test_outcomes_that_cannot_be_written_are_kept_and_nothing_is_sent_twice(
    bench, target
):
    ids = [await bench.accept("app") for _ in range(20)]
    with Locked(bench):
        await bench.start(to(target, concurrency=2))
        async with asyncio.timeout(60):
            while bench.dispatcher.recorder.clear.is_set():  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.01)
        seen_then = len(target.seen)
        await asyncio.sleep(1)  # time in which it might do wrong
        seen_later = len(target.seen)
    await bench.settled("app", Status.DELIVERED)

    assert 1 <= seen_then <= 2 * AHEAD
    assert seen_later == seen_then
    assert sorted(s.headers["webhook-id"] for s in target.seen) == sorted(ids)
    assert all(d.attempts == 1 for d in await bench.deliveries("app"))
    assert bench.dispatcher.recorder.clear.is_set()


# -- stopping


async def test_a_stop_waits_for_what_runs(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)

    stopping = asyncio.create_task(bench.dispatcher.stop(10))
    await bench.accept("app")
    opened.set()
    await stopping

    first, second = await bench.deliveries("app")
    assert (first.status, second.status) == (Status.DELIVERED, Status.PENDING)
    assert len(target.seen) == 1


async def test_a_stop_releases_what_does_not_end_in_time(bench, target):
    _, target.respond = gate()
    await bench.start(to(target, timeout=timedelta(hours=1)))
    await bench.accept("app")
    await target.wait_for(1)

    async with asyncio.timeout(60):
        await bench.dispatcher.stop(0.05)

    [delivery] = await bench.deliveries("app")
    claimed = await bench.store.claim(
        "app", owner="next", now=clock.now(), limit=1, max_bytes=1, lease_s=1
    )
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 0)
    assert [claim.delivery.id for claim in claimed.claims] == [delivery.id]
    assert bench.dispatcher.paused() == {}
