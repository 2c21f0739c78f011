"""When to try again: within bounds, honouring what was asked, and never for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.models import Delivery, Outcome, Result, Status, Step, Trigger
from receiver.retry import JITTER, LONGEST_WAIT, next_step
from receiver.settings import RetryPolicy

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
FAILED = Outcome(Result.TIMEOUT)
NONE = timedelta()
FOREVER = RetryPolicy(max_attempts=10**9, max_age=timedelta(days=10**6))

waits = st.lists(
    st.timedeltas(NONE, timedelta.max), min_size=1, max_size=12
).map(tuple)  # fmt: skip
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 50),
    max_age=st.timedeltas(timedelta(seconds=1), timedelta(days=30)),
    waits=waits,
)
jitters = st.floats(0, 1)


def delivery(made: int = 0, *, started: datetime = NOW) -> Delivery:
    return Delivery(
        id="dlv_0",
        event_id="evt_0",
        destination="crm",
        status=Status.PENDING,
        attempts=made + 3,
        created_at=started,
        due_at=started,
        settled_at=None,
        replay_id=None,
        sent_as="evt_0",
        trigger=Trigger.SCHEDULED,
        round_attempts=made,
        round_started_at=started,
        progress="",
    )


def step(
    policy: RetryPolicy = FOREVER,
    made: int = 0,
    outcome: Outcome = FAILED,
    *,
    after: timedelta = NONE,
    paused: timedelta = NONE,
    jitter: float = 0,
) -> Step:
    return next_step(
        policy, delivery(made), outcome, now=NOW + after, paused=paused, jitter=jitter
    )


@given(policies, st.integers(0, 60), jitters, st.timedeltas(NONE, timedelta(days=40)))
def test_a_wait_is_the_policys_lengthened_a_little_and_never_over_a_day(
    policy: RetryPolicy, made: int, jitter: float, after: timedelta
):
    found = step(policy, made, jitter=jitter, after=after)

    if found.status is Status.PENDING:
        wait = found.due_at - (NOW + after)
        meant = min(policy.waits[min(made, len(policy.waits) - 1)], LONGEST_WAIT)
        assert meant <= wait <= min(meant * (1 + JITTER), LONGEST_WAIT)


@given(st.lists(st.timedeltas(NONE, timedelta(days=3)), min_size=1), jitters)
def test_waits_that_grow_in_the_policy_never_shrink(
    unsorted: list[timedelta], jitter: float
):
    policy = replace(FOREVER, waits=tuple(sorted(unsorted)))

    due = [step(policy, made, jitter=jitter).due_at for made in range(20)]

    assert due == sorted(due)


@given(policies, jitters, st.one_of(st.none(), st.floats(allow_nan=True)))
def test_every_delivery_ends_by_its_attempts_or_its_age(
    policy: RetryPolicy, jitter: float, retry_after: float | None
):
    outcome = replace(FAILED, retry_after_s=retry_after)
    now, made = NOW, 0
    while True:
        found = next_step(
            policy, delivery(made), outcome, now=now, paused=NONE, jitter=jitter
        )
        made += 1
        if found.status is Status.DEAD:
            break
        assert found.due_at >= now
        now = found.due_at

    assert made <= policy.max_attempts
    assert "given up after" in found.reason
    assert made == policy.max_attempts or now - NOW >= policy.max_age
    assert now - NOW < policy.max_age + LONGEST_WAIT


def test_the_default_policy_bridges_a_weekend():
    now, made = NOW, 0
    while (found := step(RetryPolicy(), made, after=now - NOW)).status is not (
        Status.DEAD
    ):
        now, made = found.due_at, made + 1

    assert timedelta(days=2, hours=12) < now - NOW < RetryPolicy().max_age


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=300)))
def test_a_pause_does_not_age(paused: timedelta):
    policy = replace(FOREVER, max_age=timedelta(hours=1))
    just_before = paused + timedelta(minutes=59)

    assert step(policy, after=just_before, paused=paused).status is Status.PENDING
    after = paused + timedelta(minutes=60)
    assert step(policy, after=after, paused=paused).status is Status.DEAD


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        (0, 5),
        (1, 5),
        (90.5, 90.5),
        (86_400, 86_400),
        (10**12, 86_400),
        (float("inf"), 86_400),
        (float("nan"), 5),
        (-5, 5),
    ],
)
def test_the_other_side_may_ask_for_more_up_to_a_day_but_not_for_less(
    asked: float, waited: float
):
    found = step(outcome=replace(FAILED, retry_after_s=asked))

    assert (found.status, found.due_at) == (
        Status.PENDING,
        NOW + timedelta(seconds=waited),
    )


@given(st.floats(0, 10**6), jitters)
def test_it_is_never_tried_sooner_than_asked_for(asked: float, jitter: float):
    found = step(outcome=replace(FAILED, retry_after_s=asked), jitter=jitter)

    wait = found.due_at - NOW
    assert min(timedelta(seconds=asked), LONGEST_WAIT) <= wait <= LONGEST_WAIT


@given(policies, st.integers(0, 100), st.timedeltas(NONE, timedelta(days=99)))
def test_success_delivers_whatever_came_before(
    policy: RetryPolicy, made: int, after: timedelta
):
    found = step(policy, made, Outcome(Result.OK), after=after)

    assert found == Step(Status.DELIVERED, NOW + after)


@given(policies, st.integers(0, 100), st.timedeltas(NONE, timedelta(days=99)))
def test_a_destination_that_must_be_mended_uses_up_nothing(
    policy: RetryPolicy, made: int, after: timedelta
):
    outcome = replace(FAILED, pause="the URL is gone", permanent=True)

    found = step(policy, made, outcome, after=after)

    assert found == Step(Status.PENDING, NOW + after, "the URL is gone")


def test_what_can_never_succeed_is_dead_at_once():
    found = step(outcome=replace(FAILED, permanent=True, retry_after_s=5))

    assert (found.status, found.reason) == (Status.DEAD, "trying again cannot help")
