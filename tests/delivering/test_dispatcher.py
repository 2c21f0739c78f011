"""The dispatcher, with a real store and real endpoints: promptness, isolation, care."""

import asyncio
import socket
import sqlite3
import statistics
from datetime import timedelta

import pytest
from aiohttp import web

from receiver import clock
from receiver.inbox import AHEAD
from receiver.models import Result, Status
from receiver.settings import DestinationSettings, RetryPolicy
from tests.dispatching import QUICK, SOON, Bench, answer, attempts, gate, to
from tests.sinks import Seen, sink


class Locked:
    """While this lasts nobody else can write to the store."""

    def __init__(self, bench: Bench) -> None:
        self._path = bench.folder / "receiver.db"

    def __enter__(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


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
        async with asyncio.timeout(10):
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/"
    _, never = gate()

    async def slowly(_: Seen) -> web.StreamResponse:
        await asyncio.sleep(0.5)  # that is what it is like
        return web.Response(text="ok")

    async with sink() as hanging, sink() as slow:
        hanging.respond, slow.respond = never, slowly
        await bench.start(
            to(target, "good"),
            to(dead, "dead", retry=RetryPolicy(waits=(SOON,), max_attempts=1_000)),
            to(hanging, "hanging", timeout=timedelta(seconds=60)),
            to(slow, "slow", concurrency=1),
        )
        for _ in range(100):
            await bench.accept("dead", "hanging", "slow", "good")
        await target.wait_for(100, timeout=10)

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
    async with asyncio.timeout(10):
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
    async with asyncio.timeout(10):
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
    async with asyncio.timeout(10):
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
        async with asyncio.timeout(20):
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
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)

    async with asyncio.timeout(5):
        await bench.dispatcher.stop(0.05)

    [delivery] = await bench.deliveries("app")
    claimed = await bench.store.claim(
        "app", owner="next", now=clock.now(), limit=1, max_bytes=1, lease_s=1
    )
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 0)
    assert [claim.delivery.id for claim in claimed.claims] == [delivery.id]
    assert bench.dispatcher.paused() == {}


# -- reloading


async def test_a_reload_starts_replaces_and_ends_what_changed(bench, target):
    async with sink() as other:
        await bench.start(to(target, "same"), to(target, "moved"), to(target, "gone"))
        before = {n: lane.destination for n, lane in bench.dispatcher._lanes.items()}
        new = [to(target, "same"), to(other, "moved"), to(other, "new")]
        await bench.dispatcher.reload({d.name: d for d in new})
        after = {n: lane.destination for n, lane in bench.dispatcher._lanes.items()}
        for name in ("same", "moved", "gone", "new"):
            await bench.accept(name)
        await other.wait_for(2)
        await target.wait_for(1)
        for name in ("same", "moved", "new"):
            await bench.settled(name, Status.DELIVERED)

    assert after.keys() == {"same", "moved", "new"}
    assert after["same"] is before["same"]
    assert after["moved"] is not before["moved"]
    [left] = await bench.deliveries("gone")
    assert (left.status, left.attempts) == (Status.PENDING, 0)


async def test_what_runs_during_a_reload_is_finished_and_not_sent_twice(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)

    await bench.dispatcher.reload({"app": to(target, concurrency=3)})
    await bench.accept("app")
    await target.wait_for(2)
    opened.set()
    await bench.settled("app", Status.DELIVERED)

    assert len({seen.headers["webhook-id"] for seen in target.seen}) == 2
    assert len(target.seen) == 2


# -- pauses


async def test_410_pauses_and_what_waits_stays(bench, target):
    target.respond = answer(410)
    await bench.start(to(target, concurrency=1))
    for _ in range(5):
        await bench.accept("app")
    async with asyncio.timeout(10):
        while not bench.dispatcher.paused()["app"]:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await bench.accept("app")

    found = await bench.deliveries("app")
    [pause] = await bench.store.pauses()
    assert {delivery.status for delivery in found} == {Status.PENDING}
    assert len(target.seen) == 1
    assert pause.ended_at is None
    assert "410 Gone" in pause.reason

    target.respond = answer(200)
    await bench.store.resume("app", clock.now())
    await bench.dispatcher.pauses_changed()

    await bench.settled("app", Status.DELIVERED)
    assert len(target.seen) == 7


async def test_nothing_is_sent_while_a_pause_by_hand_lasts(bench, target):
    await bench.start(to(target))
    await bench.store.pause("app", "maintenance", clock.now())
    await bench.dispatcher.pauses_changed()

    await bench.accept("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert target.seen == []
    assert bench.dispatcher.paused() == {"app": True}
    await bench.store.resume("app", clock.now())
    await bench.dispatcher.pauses_changed()
    await target.wait_for(1)


async def test_a_pause_outlives_a_restart(bench, target):
    await bench.store.pause("app", "maintenance", clock.now())
    await bench.accept("app")

    await bench.start(to(target))
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert target.seen == []
    assert bench.dispatcher.paused() == {"app": True}


# -- ending one lane and beginning another


async def test_what_an_ended_lane_gives_back_is_taken_at_once(bench, target):
    _, target.respond = gate()
    async with sink() as other:
        await bench.start(to(target, timeout=timedelta(seconds=1), concurrency=2))
        for _ in range(8):
            await bench.accept("app")
        await target.wait_for(2)

        await bench.dispatcher.reload({"app": to(other, concurrency=2)})

        await other.wait_for(8, timeout=15)
        await bench.settled("app", Status.DELIVERED)
    assert len(target.seen) == 2


async def test_a_stop_begins_no_attempt_that_waited_for_a_slot(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target, concurrency=2))
    for _ in range(4):
        await bench.accept("app")
    await target.wait_for(2)

    stopping = asyncio.create_task(bench.dispatcher.stop(10))
    await asyncio.sleep(0)
    opened.set()
    await stopping

    assert len(target.seen) == 2
    done = [d.status for d in await bench.deliveries("app")]
    assert sorted(done) == ["delivered", "delivered", "pending", "pending"]


async def test_a_reload_while_an_outcome_is_being_written_repeats_nothing(
    bench, target
):
    async with sink() as other:
        await bench.start(to(target), to(other, "other"))
        with Locked(bench):
            task = asyncio.create_task(
                bench.store.ping()
            )  # the writer waits for the lock
            await asyncio.sleep(0.05)
        await task
        await bench.accept("app")
        with Locked(bench):
            bench.dispatcher.wake(["app"])
            await target.wait_for(1)
            reloading = asyncio.create_task(
                bench.dispatcher.reload(
                    {
                        "app": to(target, timeout=timedelta(seconds=9)),
                        "other": to(other, "other"),
                    }
                )
            )
            await asyncio.sleep(0.2)
        await reloading
        await bench.settled("app", Status.DELIVERED)
        await bench.accept("other")
        await other.wait_for(1)

    assert len(target.seen) == 1
    assert bench.dispatcher.problem() == ""


async def test_an_outcome_that_can_never_be_written_stops_nobody_else(bench, target):
    opened = asyncio.Event()

    async def late(_: Seen) -> web.StreamResponse:
        await opened.wait()
        return web.Response()

    target.respond = late
    async with sink() as other:
        await bench.start(to(target), to(other, "other"))
        await bench.accept("app")
        await target.wait_for(1)
        [delivery] = await bench.deliveries("app")
        connection = sqlite3.connect(bench.folder / "receiver.db")
        number = int(delivery.id[4:], 16)
        connection.execute(
            "INSERT INTO attempts VALUES (?, 1, 0, 0, 0, 0, NULL, NULL, NULL)",
            (number,),
        )
        connection.commit()
        connection.close()

        opened.set()
        await bench.accept("other")
        await other.wait_for(1)
        await bench.settled("other", Status.DELIVERED)

    assert len(target.seen) == 1
    assert bench.dispatcher.problem() == ""


async def test_an_ended_lane_does_not_pause_its_successor(bench, target):
    opened = asyncio.Event()

    async def gone(_: Seen) -> web.StreamResponse:
        await opened.wait()
        return web.Response(status=410)

    target.respond = gone
    async with sink() as other:
        await bench.start(to(target))
        await bench.accept("app")
        await target.wait_for(1)
        await bench.dispatcher.reload({"app": to(other)})
        opened.set()
        await other.wait_for(1)
        await bench.settled("app", Status.DELIVERED)

    assert await bench.store.pauses() == []
    assert bench.dispatcher.paused() == {"app": False}


async def test_a_stop_waits_no_longer_for_a_lane_that_a_reload_ended(bench, target):
    _, target.respond = gate()
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)
    await bench.dispatcher.reload({"app": to(target, concurrency=1)})

    async with asyncio.timeout(5):
        await bench.dispatcher.stop(0.05)

    [delivery] = await bench.deliveries("app")
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 0)
