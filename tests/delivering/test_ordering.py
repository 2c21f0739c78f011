"""Delivering each subject in order, with a real store and real endpoints."""

import asyncio
import random
from collections import defaultdict

import pytest
from aiohttp import web

from receiver import clock
from receiver.models import Status
from receiver.settings import BreakerPolicy, RetryPolicy
from tests.dispatching import QUICK, SOON, answer, gate, to
from tests.sinks import Seen

PATIENT = RetryPolicy(max_attempts=1_000, waits=(SOON,))
NEVER = BreakerPolicy(failures=0)


class Watch:
    """What an endpoint took of each subject, and whether two ever overlapped."""

    def __init__(self, failing: float) -> None:
        self._chance = random.Random()
        self._failing = failing
        self.taken: dict[str, list[str]] = defaultdict(list)
        self.running: set[str] = set()
        self.overlaps = 0

    async def respond(self, seen: Seen) -> web.StreamResponse:
        subject, event_id = seen.body.decode(), seen.headers["webhook-id"]
        self.overlaps += subject in self.running
        self.running.add(subject)
        await asyncio.sleep(self._chance.uniform(0, 0.005))
        self.running.discard(subject)
        if self._chance.random() < self._failing:
            return web.Response(status=500)
        if event_id not in self.taken[subject]:
            self.taken[subject].append(event_id)
        return web.Response(text="ok")


async def test_a_subject_is_delivered_in_order_and_one_at_a_time(bench, target):
    watch = Watch(failing=0.2)
    target.respond = watch.respond
    await bench.start(to(target, ordering="subject", retry=PATIENT, breaker=NEVER))

    accepted: dict[str, list[str]] = defaultdict(list)
    for i in range(200):
        subject = f"subject {i % 7}"
        body = subject.encode()
        accepted[subject].append(await bench.accept("app", body=body, subject=subject))
    await bench.settled("app", Status.DELIVERED)

    assert watch.taken == accepted
    assert watch.overlaps == 0


async def test_different_subjects_are_delivered_at_the_same_time(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target, ordering="subject"))

    for i in range(12):
        await bench.accept("app", subject=f"subject {i % 4}")
    await target.wait_for(4)
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert len(target.seen) == 4
    opened.set()
    await bench.settled("app", Status.DELIVERED)


async def test_a_subject_whose_first_delivery_waits_costs_no_claims(
    bench, target, monkeypatch
):
    target.respond = answer(503, **{"Retry-After": "600"})
    await bench.start(to(target, ordering="subject"))
    for _ in range(50):
        await bench.accept("app", subject="stuck")
    await target.wait_for(1)
    claims = 0
    claim = bench.store.claim

    async def counted(*args, **kwargs):
        nonlocal claims
        claims += 1
        return await claim(*args, **kwargs)

    lane = bench.dispatcher._lanes["app"]
    async with asyncio.timeout(60):
        while lane.claimed or lane._behind:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    monkeypatch.setattr(bench.store, "claim", counted)
    await asyncio.sleep(0.5)  # time in which it might do wrong

    assert claims == 0
    assert len(target.seen) == 1


@pytest.mark.parametrize(("on_dead", "delivered"), [("skip", 3), ("block", 0)])
async def test_a_dead_delivery_is_skipped_or_blocks_its_subject_only(
    bench, target, on_dead, delivered
):
    async def respond(seen: Seen) -> web.StreamResponse:
        return web.Response(status=500 if seen.body == b"bad" else 200)

    target.respond = respond
    await bench.start(to(target, ordering="subject", on_dead=on_dead, retry=QUICK))

    await bench.accept("app", subject="a", body=b"bad")
    for _ in range(3):
        await bench.accept("app", subject="a")
    await bench.accept("app", subject="b")
    async with asyncio.timeout(60):
        while len(target.seen) < 3 + delivered + 1:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await bench.at_rest("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong

    dead, *rest, other = await bench.deliveries("app")
    assert dead.status is Status.DEAD
    assert other.status is Status.DELIVERED
    expected = Status.DELIVERED if delivered else Status.PENDING
    assert {one.status for one in rest} == {expected}

    target.respond = answer(200)
    await bench.store.retry([dead.id], clock.now())
    bench.dispatcher.wake(["app"])
    await bench.settled("app", Status.DELIVERED)


async def test_order_begins_with_a_reload_and_never_overlaps_what_runs(bench, target):
    watch = Watch(failing=0)
    opened = asyncio.Event()

    async def respond(seen: Seen) -> web.StreamResponse:
        if not opened.is_set():
            await opened.wait()
            return web.Response(status=500)  # what ran unordered comes again
        return await watch.respond(seen)

    target.respond = respond
    await bench.start(to(target, concurrency=4, retry=PATIENT, breaker=NEVER))
    accepted = [await bench.accept("app", body=b"s", subject="s") for _ in range(20)]
    bench.dispatcher.wake(["app"])
    await target.wait_for(4)

    ordered = to(
        target, concurrency=4, retry=PATIENT, breaker=NEVER, ordering="subject"
    )
    await bench.dispatcher.reload({"app": ordered})
    await asyncio.sleep(0.1)  # time in which it might do wrong
    begun = len(target.seen)
    opened.set()
    await bench.settled("app", Status.DELIVERED)

    assert begun == 4
    assert watch.taken["s"] == accepted
    assert watch.overlaps == 0


async def test_order_ends_with_a_reload_and_what_waited_flows(bench, target):
    opened, target.respond = gate()
    await bench.start(to(target, ordering="subject"))
    for _ in range(6):
        await bench.accept("app", subject="s")
    await target.wait_for(1)

    await bench.dispatcher.reload({"app": to(target)})
    await target.wait_for(6)
    opened.set()

    await bench.settled("app", Status.DELIVERED)
    assert len(target.seen) == 6


async def test_replays_of_a_subject_keep_their_order_beside_new_events(bench, target):
    watch = Watch(failing=0.1)
    target.respond = watch.respond
    await bench.start(to(target, ordering="subject", retry=PATIENT, breaker=NEVER))
    old = [await bench.accept("app", body=b"s", subject="s") for _ in range(10)]
    await bench.settled("app", Status.DELIVERED)
    watch.taken.clear()

    replay = await bench.store.create_replay({}, clock.now())
    wanted = [(event_id, "app", clock.now()) for event_id in old]
    await bench.store.add_replayed(replay, wanted, as_new=False, now=clock.now())
    new = [await bench.accept("app", body=b"s", subject="s") for _ in range(10)]
    await bench.settled("app", Status.DELIVERED)

    assert [one for one in watch.taken["s"] if one in old] == old
    assert [one for one in watch.taken["s"] if one in new] == new
    assert watch.overlaps == 0


def test_a_dead_delivery_can_block_only_where_order_is_kept():
    problems = list(to("http://127.0.0.1/", on_dead="block").all_problems())
    none = list(
        to("http://127.0.0.1/", on_dead="block", ordering="subject").all_problems()
    )

    assert [field for field, _, _ in problems] == ["on_dead"]
    assert none == []
