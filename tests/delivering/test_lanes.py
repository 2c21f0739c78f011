"""The dispatcher's lanes: they begin, end and pause while others go on."""

import asyncio
import sqlite3
from datetime import timedelta

from aiohttp import web

from receiver import clock
from receiver.models import Status
from tests.delivering.locking import Locked
from tests.dispatching import answer, gate, to
from tests.sinks import Seen, sink

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
    async with asyncio.timeout(60):
        while not bench.dispatcher.paused()["app"]:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await bench.at_rest("app")
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

        await other.wait_for(8)
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
    await bench.start(to(target, timeout=timedelta(hours=1)))
    await bench.accept("app")
    await target.wait_for(1)
    await bench.dispatcher.reload({"app": to(target, concurrency=1)})

    async with asyncio.timeout(60):
        await bench.dispatcher.stop(0.05)

    [delivery] = await bench.deliveries("app")
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 0)
