"""When attempts may begin: the rate, holds, the breaker (pure)."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.models import Outcome, Rate, Result
from receiver.pace import (
    JITTER,
    LONGEST_HOLD_S,
    SLACK_S,
    Breaker,
    Throttle,
    speaks_against,
)
from receiver.settings import BreakerPolicy

rates = st.builds(
    Rate,
    st.floats(0.1, 5_000).map(lambda n: round(n, 3)),
    st.sampled_from([1, 60, 3_600]),
)
waits = st.lists(st.floats(0, 30) | st.floats(0, 0.05), min_size=1, max_size=200)
TOLERANCE = 1e-6


def begun(throttle: Throttle, asked_after: Sequence[float]) -> list[float]:
    """When attempts began of somebody who asks after each of these waits."""
    now, times = 1_000.0, list[float]()
    for wait in asked_after:
        now = max(now + wait, throttle.ready_at)
        throttle.began(now)
        times.append(now)
    return times


# -- the rate


@given(rates, waits)
def test_no_time_has_more_attempts_than_its_rate_and_the_slack(
    rate: Rate, asked_after: list[float]
):
    times = begun(Throttle(rate), asked_after)

    for i, first in enumerate(times):
        for count, last in enumerate(times[i:], start=1):
            allowed = 1 + (last - first + SLACK_S) * rate.per_second
            assert count <= allowed + TOLERANCE * count


@given(rates, st.integers(2, 500))
def test_a_queue_leaves_at_the_whole_rate(rate: Rate, count: int):
    times = begun(Throttle(rate), [0.0] * count)

    took = times[-1] - times[0]
    assert took <= (count - 1) / rate.per_second + TOLERANCE * count


@given(rates, st.lists(st.floats(0, SLACK_S * 0.9), min_size=2, max_size=100))
def test_being_a_little_late_costs_nothing_of_the_rate(rate: Rate, late: list[float]):
    throttle, now = Throttle(rate), 1_000.0
    began_at: list[float] = []
    for lateness in late:
        now = max(now, throttle.ready_at + lateness)
        throttle.began(now)
        began_at.append(now)

    took = began_at[-1] - began_at[0]
    assert took <= (len(late) - 1) / rate.per_second + SLACK_S + TOLERANCE


def test_after_a_long_rest_there_is_no_burst():
    throttle = Throttle(Rate(20, 1))
    begun(throttle, [0.0] * 100)

    times = begun(throttle, [86_400.0] + [0.0] * 20)

    assert sum(1 for t in times if t == times[0]) == 3  # what is due in 0.1 s, and one
    assert times[-1] - times[0] == pytest.approx(0.9)


def test_a_slow_rate_is_kept():
    times = begun(Throttle(Rate(1, 3_600)), [0.0] * 4)

    assert [round(b - a) for a, b in pairwise(times)] == [3_600] * 3


@given(st.none() | rates, st.floats(0, 10), st.integers(1, 100))
def test_what_may_begin_soon_is_what_then_begins(
    rate: Rate | None, horizon: float, most: int
):
    throttle = Throttle(rate)
    throttle.began(1_000.0)

    count = throttle.soon(1_000.0, horizon, most)

    times = begun(throttle, [0.0] * most)
    assert abs(count - sum(1 for t in times if t <= 1_000.0 + horizon)) <= 1


# -- holds


def test_nothing_begins_while_it_is_held_and_a_shorter_hold_does_not_end_a_longer():
    throttle = Throttle(None)

    throttle.hold(100.0, 60)
    throttle.hold(101.0, 5)

    assert throttle.ready_at == 160
    assert throttle.soon(100.0, 59.9, 10) == 0
    assert throttle.soon(160.0, 0, 10) == 10


@pytest.mark.parametrize(("asked", "got"), [(1e12, LONGEST_HOLD_S), (-5, 0), (7, 7)])
def test_a_hold_is_bounded(asked: float, got: float):
    throttle = Throttle(None)

    throttle.hold(100.0, asked)

    assert throttle.held_until == 100 + got


# -- the breaker


def policy(failures: int = 3, wait: float = 10, longest: float = 60) -> BreakerPolicy:
    return BreakerPolicy(
        failures=failures,
        wait=timedelta(seconds=wait),
        longest_wait=timedelta(seconds=longest),
    )


def opened(breaker: Breaker, at: float = 0.0, times: int = 3) -> Breaker:
    for _ in range(times):
        breaker.failed(at, begun_at=at, jitter=0)
    assert breaker.open
    return breaker


def test_failures_in_a_row_open_it_and_a_success_begins_the_count_anew():
    breaker = Breaker(policy(3), 8)

    changes = [breaker.failed(1.0, begun_at=0, jitter=0) for _ in range(2)]
    breaker.succeeded()
    changes += [breaker.failed(2.0, begun_at=1, jitter=0) for _ in range(3)]

    assert changes == [False, False, False, False, True]
    assert breaker.limit(2.0) == 0


def test_without_a_number_of_failures_it_never_opens():
    breaker = Breaker(policy(0), 8)

    assert not any(breaker.failed(1.0, begun_at=0, jitter=0) for _ in range(1_000))
    assert breaker.limit(1.0) == 8


def test_one_attempt_probes_when_the_wait_is_over():
    breaker = opened(Breaker(policy(wait=10), 8))

    assert [breaker.limit(t) for t in (0.0, 9.9, 10.0, 1e9)] == [0, 0, 1, 1]


def test_each_probe_that_fails_doubles_the_wait_up_to_the_longest():
    breaker = opened(Breaker(policy(wait=10, longest=60), 8))
    waits: list[float] = []

    for _ in range(2_000):
        at = breaker.probe_at
        assert breaker.failed(at, begun_at=at, jitter=0)
        waits.append(breaker.probe_at - at)

    assert waits[:4] == [20, 40, 60, 60]
    assert set(waits[2:]) == {60}


def test_what_was_begun_before_it_opened_makes_the_wait_no_longer():
    breaker = opened(Breaker(policy(wait=10), 8), at=100.0)

    stragglers = [breaker.failed(105.0, begun_at=99.0, jitter=0) for _ in range(20)]

    assert not any(stragglers)
    assert breaker.probe_at == 110


def test_somebody_may_ask_for_a_probe_at_once():
    breaker = opened(Breaker(policy(wait=10), 8))

    breaker.probe_now(2.0)

    assert breaker.limit(2.0) == 1
    assert breaker.failed(3.0, begun_at=2.0, jitter=0)
    assert breaker.limit(3.0) == 0


def test_when_it_closes_attempts_grow_with_success():
    breaker = opened(Breaker(policy(), 4))

    closed = breaker.succeeded()
    limits = [breaker.limit(20.0)]
    for _ in range(5):
        breaker.succeeded()
        limits.append(breaker.limit(20.0))

    assert closed
    assert limits == [1, 2, 3, 4, 4, 4]


def test_a_failure_while_it_recovers_halves_what_runs_at_a_time():
    breaker = opened(Breaker(policy(), 16))
    for _ in range(8):
        breaker.succeeded()

    breaker.failed(20.0, begun_at=19.0, jitter=0)

    assert breaker.limit(20.0) == 4


def test_the_wait_is_short_again_only_after_it_has_recovered():
    breaker = opened(Breaker(policy(wait=10), 2))
    breaker.succeeded()
    opened(breaker, at=100.0)
    before = breaker.probe_at - 100
    for _ in range(3):
        breaker.succeeded()
    opened(breaker, at=200.0)

    assert before == 20
    assert breaker.probe_at - 200 == 10


events = st.lists(
    st.tuples(st.booleans(), st.floats(0, 30), st.floats(0, 1)), max_size=300
)


@given(st.integers(1, 8), st.integers(1, 16), events)
def test_whatever_happens_there_is_a_way_on_and_never_more_than_allowed(
    failures: int, concurrency: int, happened: list[tuple[bool, float, float]]
):
    breaker, now = Breaker(policy(failures), concurrency), 0.0
    for ok, wait, jitter in happened:
        now += wait
        if breaker.open:
            assert breaker.probe_at - now <= 60 * (1 + JITTER)
            now = max(now, breaker.probe_at)
        assert 1 <= breaker.limit(now) <= (1 if breaker.open else concurrency)
        if ok:
            breaker.succeeded()
            assert not breaker.open
        else:
            breaker.failed(now, begun_at=now, jitter=jitter)

    for _ in range(concurrency + 1):
        breaker.succeeded()
    assert breaker.limit(now) == concurrency


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(Result.OK, status_code=200), False),
        (Outcome(Result.TIMEOUT), True),
        (Outcome(Result.CONNECT), True),
        (Outcome(Result.DNS), True),
        (Outcome(Result.TLS), True),
        (Outcome(Result.HTTP_STATUS, status_code=500), True),
        (Outcome(Result.HTTP_STATUS, status_code=503), True),
        (Outcome(Result.HTTP_STATUS, status_code=408), True),
        (Outcome(Result.HTTP_STATUS, status_code=429), True),
        (Outcome(Result.HTTP_STATUS, status_code=404), False),
        (Outcome(Result.HTTP_STATUS, status_code=422), False),
        (Outcome(Result.REJECTED, status_code=550), False),
        (Outcome(Result.ERROR), False),
        (Outcome(Result.BLOCKED), False),
        (Outcome(Result.BAD_CONFIG), False),
    ],
)
def test_only_trouble_of_the_destination_counts(outcome: Outcome, expected: bool):
    assert speaks_against(outcome) is expected
