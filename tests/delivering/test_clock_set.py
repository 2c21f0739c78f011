"""The wall clock is set, ahead and back again: nothing waits for a time that is over."""

import asyncio
from datetime import datetime, timedelta

import pytest

from receiver import clock
from receiver.models import Result, Status
from receiver.settings import BreakerPolicy, RetryPolicy
from tests.delivering.locking import Locked
from tests.dispatching import answer, attempts, gate, to

HOUR = timedelta(hours=1)
SOON = RetryPolicy(max_attempts=50, waits=(timedelta(milliseconds=100),))


class Clock:
    """The wall clock, and by how much it is wrong."""

    def __init__(self) -> None:
        self.wrong_by = timedelta()
        self._now = clock.now

    def __call__(self) -> datetime:
        return self._now() + self.wrong_by


@pytest.fixture
def wall(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(clock, "now", found)
    return found


@pytest.mark.parametrize("ahead", [HOUR, timedelta(days=400)])
async def test_what_failed_while_the_clock_was_ahead_is_tried_again_when_it_is_set_back(
    bench, target, wall, ahead
):
    target.respond = answer(500)
    waits = (timedelta(seconds=1), timedelta(hours=20))
    settings = to(target, retry=RetryPolicy(max_attempts=5, waits=waits))
    wall.wrong_by = ahead
    await bench.start(settings)
    await bench.accept("app")
    await target.wait_for(1)
    while not (await bench.deliveries("app"))[0].attempts:  # noqa: ASYNC110 (it tells nobody)
        await asyncio.sleep(0.01)

    wall.wrong_by = timedelta()
    bench.dispatcher.wake(["app"])
    target.respond = None

    await target.wait_for(2)
    await bench.settled("app", Status.DELIVERED)


async def test_what_failed_while_the_clock_was_ahead_is_tried_again_after_a_restart(
    bench, target, wall
):
    target.respond = answer(500, 200)
    wall.wrong_by = HOUR
    await bench.start(to(target))
    await bench.accept("app")
    await target.wait_for(1)
    await bench.dispatcher.stop(5)

    wall.wrong_by = timedelta()
    await bench.start(to(target))

    await bench.settled("app", Status.DELIVERED)


async def test_what_was_accepted_while_the_clock_was_ahead_is_delivered_after_it(
    bench, target, wall
):
    wall.wrong_by = HOUR
    for _ in range(5):
        await bench.accept("app")
    wall.wrong_by = timedelta()

    await bench.start(to(target))

    await target.wait_for(5)


async def test_what_was_decided_before_and_is_written_after_it_is_brought_forward(
    bench, target, wall
):
    opened, target.respond = gate()
    await bench.start(to(target, timeout=timedelta(seconds=1)))
    lane = bench.dispatcher._lanes["app"]
    await bench.accept("app")
    await target.wait_for(1)

    with Locked(bench):
        for wrong_by in (HOUR, timedelta()):
            wall.wrong_by = wrong_by
            lane.wake()
            while abs(lane._ahead_s + clock.monotonic() - wall().timestamp()) > 1:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.01)
            while wrong_by and lane._attempting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    opened.set()

    await target.wait_for(2)
    await bench.settled("app", Status.DELIVERED)


async def test_a_clock_that_is_set_back_stops_no_claims(bench, target, wall):
    target.respond = answer(500)
    await bench.start(to(target, retry=SOON, breaker=BreakerPolicy(failures=0)))
    await bench.accept("app")
    await target.wait_for(2)

    wall.wrong_by = -HOUR
    bench.dispatcher.wake(["app"])
    before = len(target.seen)

    await target.wait_for(before + 3)
    target.respond = None
    await bench.accept("app")
    await bench.settled("app", Status.DELIVERED)


async def test_what_waits_for_a_good_reason_goes_on_waiting(bench, target, wall):
    target.respond = answer(500)
    patient = RetryPolicy(waits=(timedelta(minutes=30),))
    await bench.start(to(target, retry=patient))
    await bench.accept("app")
    await target.wait_for(1)
    [delivery] = await bench.deliveries("app")
    while not await attempts(bench, delivery):  # noqa: ASYNC110 (it tells nobody)
        await asyncio.sleep(0.01)

    for wrong_by in (timedelta(seconds=50), timedelta()):
        wall.wrong_by = wrong_by
        bench.dispatcher.wake(["app"])
        await asyncio.sleep(0.1)  # time in which it might do wrong

    assert await attempts(bench, delivery) == [(Result.HTTP_STATUS, 500)]
