"""A life is shown in the order in which it happened, with what is odd beside it."""

from datetime import UTC, datetime, timedelta

from receiver.models import State
from receiver.subjects import SubjectStep
from receiver.timeline import timeline

START = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)


def step(
    kind: str,
    state: State,
    second: int | None,
    came: int | None = None,
    *,
    origin: str = "webhook",
) -> SubjectStep:
    final = state not in (State.PENDING, State.RUNNING)
    at = None if second is None else START + timedelta(seconds=second)
    received = START + timedelta(seconds=came if came is not None else second or 0)
    return SubjectStep(kind, kind, state, final, at, received, origin)


CREATED = step("batch.created", State.PENDING, 0)
RUNNING = step("batch.running", State.RUNNING, 5)
COMPLETED = step("batch.completed", State.PARTIAL, 125)
REFUNDED = step("batch.refunded", State.PARTIAL, 126)


def test_each_step_has_how_long_it_was_so():
    found = timeline([CREATED, RUNNING, COMPLETED])

    assert [one.lasted for one in found] == [
        timedelta(seconds=5),
        timedelta(seconds=120),
        None,
    ]
    assert all(one.notes == () for one in found)


def test_steps_are_in_the_order_in_which_they_happened_and_say_how_they_came():
    late = step("batch.running", State.RUNNING, 5, came=400)

    found = timeline([CREATED, COMPLETED, late])

    assert [one.step for one in found] == [CREATED, late, COMPLETED]
    assert found[1].notes == ("came 7 min later", "came after batch.completed")


def test_what_does_not_say_when_it_happened_is_where_it_came():
    silent = step("batch.running", State.RUNNING, None, came=60)

    found = timeline([CREATED, silent, COMPLETED])

    assert found[1].step == silent
    assert found[1].at == START + timedelta(seconds=60)
    assert found[1].notes == ()


def test_what_comes_after_the_end_is_said_not_to_count_but_a_refund_does():
    back = step("batch.running", State.RUNNING, 200)
    other = step("batch.failed", State.FAILED, 300)

    found = timeline([COMPLETED, REFUNDED, back, other])

    assert [one.notes for one in found] == [
        (),
        (),
        ("after its end: does not count",),
        ("another end",),
    ]


def test_what_did_not_come_as_a_webhook_says_so():
    again = step("batch.completed", State.PARTIAL, 1, origin="reverified")

    assert timeline([again])[0].notes == ("reverified",)


def test_nothing_has_no_timeline():
    assert timeline([]) == []
