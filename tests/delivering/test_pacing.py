"""Rates, holds and breakers, with a real store and real endpoints."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from receiver import clock
from receiver.destinations.oauth2 import OAuth2
from receiver.models import Rate, Result, Secret, Status
from receiver.settings import BreakerPolicy, RetryPolicy
from tests.dispatching import SOON, Bench, answer, attempts, to
from tests.ports import refusing
from tests.sinks import Seen, sink

HOUR = timedelta(hours=1)
SHORT = timedelta(milliseconds=200)
PATIENT = RetryPolicy(max_attempts=1_000, waits=(SOON,))


def breaker(wait: timedelta = HOUR, failures: int = 3) -> BreakerPolicy:
    return BreakerPolicy(failures=failures, wait=wait, longest_wait=wait)


class Times:
    """An endpoint that notes when it was asked, and answers with one status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.at: list[float] = []
        self.running = 0
        self.most = 0

    async def respond(self, _: Seen) -> web.StreamResponse:
        self.at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return web.Response(status=self.status)


async def open_breaker(bench: Bench) -> None:
    async with asyncio.timeout(60):
        while not bench.dispatcher.held_back():  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)


async def closed_breaker(bench: Bench) -> None:
    async with asyncio.timeout(60):
        while bench.dispatcher.held_back():  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)


# -- the rate


@pytest.mark.parametrize("per_second", [5, 40, 300])
async def test_a_lane_never_sleeps_past_the_moment_the_rate_allows_more(
    bench, target, per_second, monkeypatch
):
    monkeypatch.setattr("receiver.lane.LONGEST_SLEEP_S", 3600.0)
    count = per_second * 2
    for _ in range(count):
        await bench.accept("app")

    await bench.start(to(target, concurrency=1, max_rate=Rate(per_second, 1)))

    await target.wait_for(count)


async def test_what_waited_leaves_at_the_rate_and_not_at_once(bench, target):
    times = Times()
    target.respond = times.respond
    for _ in range(30):
        await bench.accept("app")

    await bench.start(to(target, max_rate=Rate(20, 1), concurrency=2))
    await bench.settled("app", Status.DELIVERED)

    assert times.at[-1] - times.at[0] > 29 / 20 - 0.2
    for first in times.at:  # what the rate allows, its slack, and what was on its way
        within = sum(1 for t in times.at if first <= t < first + 0.5)
        assert within <= 10 + 2 + 1 + 2


async def test_a_rate_that_is_slow_claims_little_ahead(bench, target):
    for _ in range(30):
        await bench.accept("app")

    await bench.start(to(target, max_rate=Rate(60, 3_600)))
    await target.wait_for(1)
    await bench.settled_one("app")
    await bench.at_rest("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert bench.dispatcher._lanes["app"].claimed == 0
    assert len(target.seen) == 1


async def test_retries_count_for_the_rate(bench, target):
    times = Times(500)
    target.respond = times.respond
    off = BreakerPolicy(failures=0)
    await bench.start(
        to(target, max_rate=Rate(20, 1), retry=PATIENT, breaker=off, concurrency=4)
    )
    for _ in range(4):
        await bench.accept("app")

    await target.wait_for(20)

    assert times.at[19] - times.at[0] > 19 / 20 - 0.2


# -- 429


async def test_429_with_a_time_holds_back_the_whole_destination(bench, target):
    target.respond = answer(429, **{"Retry-After": "600"})
    await bench.start(to(target, concurrency=1))
    for _ in range(5):
        await bench.accept("app")
    await open_breaker(bench)
    await bench.at_rest("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong

    held = bench.dispatcher.held_back()["app"]
    assert len(target.seen) == 1
    assert held.by == "retry_after"
    assert timedelta(seconds=590) < held.until - clock.now() < timedelta(seconds=601)
    assert bench.dispatcher._lanes["app"].claimed == 0


async def test_after_the_time_it_asked_for_everything_goes_on(bench, target):
    times = Times()
    first = asyncio.Event()

    async def respond(seen: Seen) -> web.StreamResponse:
        if not first.is_set():
            first.set()
            times.at.append(asyncio.get_running_loop().time())
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await times.respond(seen)

    target.respond = respond
    await bench.start(to(target, concurrency=1, retry=PATIENT))
    for _ in range(5):
        await bench.accept("app")
    await bench.settled("app", Status.DELIVERED)

    assert len(times.at) == 6
    assert times.at[1] - times.at[0] > 0.95


# -- the breaker


async def test_what_does_not_answer_is_left_alone_and_uses_up_no_attempts(bench):
    for _ in range(50):
        await bench.accept("app")

    with capture_logs() as log, refusing() as port:
        dead = f"http://127.0.0.1:{port}/"
        await bench.start(to(dead, breaker=breaker(), concurrency=2, retry=PATIENT))
        await open_breaker(bench)
        for _ in range(20):
            await bench.accept("app")
        await bench.at_rest("app")
        await asyncio.sleep(0.3)  # time in which it might do wrong

    attempts = [delivery.attempts for delivery in await bench.deliveries("app")]
    [line] = [entry for entry in log if entry["event"] == "breaker.opened"]
    assert 3 <= sum(attempts) <= 4
    assert bench.dispatcher._lanes["app"].claimed == 0
    assert bench.dispatcher.held_back()["app"].by == "breaker"
    assert line["destination"] == "app"
    assert "refused" in line["reason"] or "127.0.0.1" in line["reason"]


async def test_an_open_breaker_costs_no_claims(bench, target, monkeypatch):
    target.respond = answer(500)
    for _ in range(10):
        await bench.accept("app")
    await bench.start(to(target, breaker=breaker(), retry=PATIENT))
    await open_breaker(bench)
    await bench.at_rest("app")
    claims = 0
    claim = bench.store.claim

    async def counted(*args, **kwargs):
        nonlocal claims
        claims += 1
        return await claim(*args, **kwargs)

    monkeypatch.setattr(bench.store, "claim", counted)
    for _ in range(50):
        await bench.accept("app")
    await asyncio.sleep(0.2)  # time in which it might do wrong

    assert claims == 0


async def test_one_attempt_at_a_time_probes_and_closes_it(bench, target):
    times = Times(500)
    target.respond = times.respond
    for _ in range(40):
        await bench.accept("app")

    with capture_logs() as log:
        await bench.start(
            to(target, breaker=breaker(SHORT), concurrency=4, retry=PATIENT)
        )
        await open_breaker(bench)
        await bench.at_rest("app")
        before = len(times.at)
        await target.wait_for(before + 3)
        probes = times.at[before:]
        times.status = 200
        await bench.settled("app", Status.DELIVERED)

    assert all(b - a >= 0.2 for a, b in pairwise(probes))
    assert [e["event"] for e in log if e["event"] == "breaker.closed"] != []
    assert bench.dispatcher.held_back() == {}


async def test_a_backlog_leaves_slowly_at_first(bench, target):
    up = asyncio.Event()
    running = taken = most = hasty = 0

    async def respond(_: Seen) -> web.StreamResponse:
        nonlocal running, taken, most, hasty
        if not up.is_set():
            return web.Response(status=500)
        running += 1
        most, hasty = max(most, running), hasty + (running > 1 + taken)
        await asyncio.sleep(0.02)
        running -= 1
        taken += 1
        return web.Response(text="ok")

    target.respond = respond
    for _ in range(100):
        await bench.accept("app")
    await bench.start(to(target, breaker=breaker(SHORT), concurrency=16, retry=PATIENT))
    await open_breaker(bench)
    await bench.at_rest("app")
    up.set()
    await bench.settled("app", Status.DELIVERED)

    assert hasty == 0
    assert most > 4


async def test_a_retry_by_hand_goes_out_although_the_breaker_is_open(bench, target):
    target.respond = answer(500)
    for _ in range(10):
        await bench.accept("app")
    await bench.start(to(target, breaker=breaker(), concurrency=1, retry=RetryPolicy()))
    await open_breaker(bench)
    await bench.at_rest("app")
    before = len(target.seen)
    wanted = (await bench.deliveries("app"))[-3:]

    await bench.store.retry([one.id for one in wanted], clock.now())
    bench.dispatcher.retried(["app"])
    await target.wait_for(before + 1)
    await bench.at_rest("app")
    await asyncio.sleep(0.1)  # time in which it might do wrong
    failed = [one.attempts for one in (await bench.deliveries("app"))[-3:]]
    seen_then = len(target.seen)
    target.respond = answer(200)
    await bench.store.retry([wanted[1].id], clock.now())
    bench.dispatcher.retried(["app"])
    await closed_breaker(bench)

    assert failed == [1, 0, 0]  # it was a probe, and failed: the others wait on
    assert seen_then == before + 1


async def test_somebody_asking_changes_nothing_where_nothing_was_asked_for(
    bench, target
):
    target.respond = answer(500)
    for _ in range(5):
        await bench.accept("app")
    await bench.start(to(target, breaker=breaker(), concurrency=1, retry=PATIENT))
    await open_breaker(bench)

    bench.dispatcher.retried(["app", "nobody"])
    await asyncio.sleep(0.1)  # time in which it might do wrong

    assert len(target.seen) == 3


async def test_answers_that_refuse_one_delivery_do_not_open_it(bench, target):
    target.respond = answer(404)
    await bench.start(to(target, breaker=breaker(), permanent=("404",)))
    for _ in range(20):
        await bench.accept("app")

    await bench.settled("app", Status.DEAD)

    assert bench.dispatcher.held_back() == {}
    assert len(target.seen) == 20


async def test_a_breaker_of_one_destination_is_not_anothers(bench, target):
    async with sink() as other:
        other.respond = answer(500)
        await bench.start(
            to(target, "good"), to(other, "bad", breaker=breaker(), retry=PATIENT)
        )
        for _ in range(30):
            await bench.accept("bad", "good")
        await target.wait_for(30)

    assert bench.dispatcher.held_back().keys() == {"bad"}


async def test_a_stop_while_the_breaker_is_open_is_prompt(bench, target):
    target.respond = answer(500)
    for _ in range(10):
        await bench.accept("app")
    await bench.start(to(target, breaker=breaker(), retry=PATIENT))
    await open_breaker(bench)

    async with asyncio.timeout(60):
        await bench.dispatcher.stop(600)


async def test_what_waited_for_a_destination_that_was_down_drains_at_its_rate(
    bench, target
):
    times = Times(503)
    target.respond = times.respond
    for _ in range(150):
        await bench.accept("app")
    await bench.start(
        to(
            target,
            breaker=breaker(SHORT),
            max_rate=Rate(100, 1),
            concurrency=8,
            retry=PATIENT,
        )
    )
    await open_breaker(bench)
    opened_at = asyncio.get_running_loop().time()
    await asyncio.sleep(0.5)  # a while in which it is down
    while_down = len(times.at)
    probes = (asyncio.get_running_loop().time() - opened_at) / SHORT.total_seconds()
    times.status = 200
    await bench.settled("app", Status.DELIVERED)

    taken = times.at[while_down:]
    assert while_down <= 8 + 2 + 1 + probes  # the first are in flight, begun meanwhile
    for first in taken:  # what the rate allows, its slack, and what was on its way
        assert sum(1 for t in taken if first <= t < first + 0.3) <= 30 + 10 + 1 + 8
    assert taken[-1] - taken[0] > 149 / 100 - 0.2


async def test_what_never_left_does_not_close_the_breaker(bench, target):
    target.respond = answer(500)
    headers = Secret('{"x-a": data.a}')
    await bench.start(to(target, headers=headers, breaker=breaker(), retry=PATIENT))
    await bench.accept("app", body=b'{"a": "1"}')
    await open_breaker(bench)
    await bench.accept("app", body=b"{}")

    _, inexpressible = await bench.deliveries("app")
    await bench.store.retry([inexpressible.id], clock.now())
    bench.dispatcher.retried(["app"])
    async with asyncio.timeout(60):
        while not await attempts(bench, inexpressible):  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # time in which it might do wrong

    assert await attempts(bench, inexpressible) == [(Result.BAD_CONFIG, None)]
    assert bench.dispatcher.held_back()["app"].by == "breaker"
    assert len(target.seen) <= 4  # the fourth is the next probe


async def test_a_token_endpoint_that_is_down_opens_the_breaker(bench, target):
    async with sink() as tokens:
        tokens.respond = answer(503)
        oauth2 = OAuth2(
            token_url=tokens.url, client_id="us", client_secret=Secret("not told")
        )
        await bench.start(to(target, oauth2=oauth2, breaker=breaker(), retry=PATIENT))
        await bench.accept("app")

        await open_breaker(bench)

    assert len(tokens.seen) == 3
    assert target.seen == []
