"""Several deliveries in one attempt, with a real store and a real endpoint."""

import asyncio
from datetime import timedelta
from typing import Any

from receiver import clock
from receiver.destinations.slack import SlackSettings
from receiver.models import Secret, Status
from receiver.settings import RetryPolicy
from tests.dispatching import SOON, answer
from tests.sinks import Sink

WINDOW = timedelta(seconds=1)
PATIENT = RetryPolicy(max_attempts=10, waits=(SOON,))


def to(target: Sink, **changes: Any) -> SlackSettings:
    given = {"digest": WINDOW, "max_rate": None, "retry": PATIENT, **changes}
    return SlackSettings("app", type="slack", url=Secret(target.url), **given)


async def test_what_arrives_within_the_window_is_one_message(bench, target):
    await bench.start(to(target))

    for _ in range(5):
        await bench.accept("app")
        await asyncio.sleep(0.02)
    too_early = len(target.seen)
    found = await bench.settled("app", Status.DELIVERED)

    assert too_early == 0
    assert len(target.seen) == 1
    for delivery in found:
        [attempt] = await bench.store.attempts(delivery.id)
        assert attempt.outcome.ok


async def test_what_comes_later_is_another_message(bench, target):
    await bench.start(to(target))

    for _ in range(2):
        await bench.accept("app")
        await bench.accept("app")
        await bench.settled("app", Status.DELIVERED)

    assert len(target.seen) == 2


async def test_a_message_that_fails_is_tried_again_with_all_of_it(bench, target):
    target.respond = answer(500, 500, 200)
    for _ in range(4):
        await bench.accept("app")

    await bench.start(to(target, digest=timedelta(milliseconds=300)))
    found = await bench.settled("app", Status.DELIVERED)

    assert len(target.seen) == 3
    assert [delivery.attempts for delivery in found] == [3, 3, 3, 3]


async def test_very_many_are_told_without_waiting_a_part_at_a_time(bench, target):
    for _ in range(230):
        await bench.accept("app")

    await bench.start(to(target, digest=timedelta(seconds=3)))
    await target.wait_for(2)
    early = {d.status for d in await bench.deliveries("app")}
    await bench.settled("app", Status.DELIVERED)

    assert early != {Status.DELIVERED}
    assert len(target.seen) == 3


async def test_the_window_is_counted_from_the_arrival_also_after_a_restart(
    bench, target, monkeypatch
):
    now, window = clock.now, timedelta(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: now() - window)
        await bench.accept("app")

    await bench.start(to(target, digest=window))

    await target.wait_for(1)


async def test_a_window_costs_one_look_whatever_arrives(bench, target, monkeypatch):
    claims = 0
    claim = bench.store.claim

    async def counted(*args, **kwargs):
        nonlocal claims
        claims += 1
        return await claim(*args, **kwargs)

    monkeypatch.setattr(bench.store, "claim", counted)
    await bench.start(to(target, digest=timedelta(seconds=3)))
    for _ in range(50):
        await bench.accept("app")
    await bench.settled("app", Status.DELIVERED)

    assert len(target.seen) == 1
    assert claims <= 5
