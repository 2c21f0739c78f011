"""What became of a subject does not depend on how its events came."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import lifecycle
from receiver.lifecycle import Life, Said, after, dump, load, troubles
from receiver.models import Request, Scalar, State
from receiver.providers import names, provider_of, source_of
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.subjects import Trouble
from tests.making import provider

START = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
LATER = START + timedelta(hours=1)
ENDS = (State.SUCCEEDED, State.PARTIAL, State.FAILED, State.CANCELLED)
BOTH = frozenset({State.PENDING, State.RUNNING})


def said(
    state: State,
    second: float | None = 0,
    *,
    kind: str = "",
    came: float | None = None,
    **facts: Scalar,
) -> Said:
    """An event of a batch, `second` seconds after the start; None: it does not say."""
    words = {State.PENDING: "created", State.RUNNING: "running"}
    at = None if second is None else START + timedelta(seconds=second)
    received = START + timedelta(seconds=came) if came is not None else at or START
    return Said(
        kind or f"batch.{words.get(state, 'completed')}",
        state,
        state in ENDS or kind.endswith("refunded"),
        at,
        received,
        facts,
    )


def lived(*events: Said) -> Life:
    """The life that these make, remembered and recalled after each."""
    life: Life | None = None
    for event in events:
        life = load(dump(after(life, event)))
    assert life is not None
    return life


CREATED = said(State.PENDING, 0, reserved=100)
RUNNING = said(State.RUNNING, 5, reserved=100)
PARTIAL = said(State.PARTIAL, 125, succeeded=9, failed=1, settled=90, refunded=10)
REFUNDED = said(State.PARTIAL, 126, kind="batch.refunded", refunded=10)

# What a provider might send of one batch, in any order and more than once.
events = st.builds(
    said,
    st.sampled_from([*State]),
    st.integers(0, 600),
    kind=st.sampled_from(["", "", "", "batch.refunded", "batch.failed"]),
    refunded=st.integers(0, 3),
)


@given(st.lists(events, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_give_the_same_life(several, chance):
    once = reduce(after, several, None)
    shuffled = several + chance.choices(several, k=3)
    chance.shuffle(shuffled)

    again = reduce(after, shuffled, None)

    assert once is not None
    assert again is not None
    assert (again.state, again.final, again.ended) == (
        once.state,
        once.final,
        once.ended,
    )
    assert again.facts == once.facts
    assert again.mark == once.mark
    arrival = {Trouble.OUT_OF_ORDER, Trouble.LATE}
    assert troubles(again, BOTH) - arrival == troubles(once, BOTH) - arrival


@given(st.lists(events, min_size=1, max_size=8))
def test_what_is_remembered_is_recalled(several):
    life = reduce(after, several, None)

    assert life is not None
    assert load(dump(life)) == life


@given(st.lists(events, min_size=1, max_size=8), events)
def test_what_has_ended_stays_ended(several, one):
    life = reduce(after, several, None)
    assert life is not None

    more = after(life, one)

    assert more.final >= life.final
    assert not (life.state in ENDS and more.state not in ENDS)


@pytest.mark.parametrize(
    "order", [*permutations([CREATED, RUNNING, PARTIAL, REFUNDED])]
)
def test_a_whole_life_is_whole_in_any_order(order):
    life = lived(*order)

    assert life.state is State.PARTIAL
    assert life.final
    assert life.facts == {
        "reserved": 100,
        "succeeded": 9,
        "failed": 1,
        "settled": 90,
        "refunded": 10,
    }
    assert (life.begun, life.ended) == (
        START.timestamp() * 1000,
        (START.timestamp() + 125) * 1000,
    )
    assert troubles(life, BOTH) <= {Trouble.OUT_OF_ORDER}


def test_a_whole_life_in_its_order_has_no_problem():
    assert troubles(lived(CREATED, RUNNING, PARTIAL, REFUNDED), BOTH) == set()


def test_a_late_event_of_progress_takes_back_no_end():
    life = lived(PARTIAL, said(State.RUNNING, 5, came=3_600))

    assert (life.state, life.final) == (State.PARTIAL, True)
    assert troubles(life, frozenset()) == {Trouble.LATE, Trouble.OUT_OF_ORDER}


def test_an_end_without_what_comes_before_it_misses_that():
    assert troubles(lived(PARTIAL), BOTH) == {Trouble.NO_START, Trouble.NO_RUNNING}
    assert troubles(lived(CREATED, PARTIAL), BOTH) == {Trouble.NO_RUNNING}
    assert troubles(lived(PARTIAL), frozenset()) == set()


def test_what_has_not_ended_misses_nothing_yet():
    assert troubles(lived(RUNNING), BOTH) == set()


def test_what_was_missing_and_comes_after_all_is_not_missing_any_more():
    found = troubles(lived(PARTIAL, CREATED, RUNNING), BOTH)

    assert found == {Trouble.OUT_OF_ORDER}


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_ends_that_differ_the_one_that_happened_first_stays(turned: bool):
    both = [
        said(State.SUCCEEDED, 120),
        said(State.FAILED, 130, kind="batch.failed"),
    ]

    life = lived(*(both[::-1] if turned else both))

    assert life.state is State.SUCCEEDED
    assert Trouble.CONTRADICTORY in troubles(life, frozenset())


def test_a_refund_refines_what_an_end_came_to():
    whole = said(State.SUCCEEDED, 120, settled=100, refunded=0)
    refund = said(State.PARTIAL, 500, kind="batch.refunded", settled=90, refunded=10)

    life = lived(whole, refund)

    assert life.state is State.PARTIAL
    assert life.facts["settled"] == 90
    assert life.ended == (START.timestamp() + 120) * 1000
    assert troubles(life, frozenset()) == set()


def test_the_last_of_several_refunds_counts():
    one = said(State.PARTIAL, 130, kind="batch.refunded", refunded=10)
    two = said(State.PARTIAL, 140, kind="batch.refunded", refunded=20)

    assert lived(PARTIAL, two, one).facts["refunded"] == 20


def test_a_refund_cannot_make_more_of_an_end():
    failed = said(State.FAILED, 120)
    refund = said(State.SUCCEEDED, 130, kind="batch.refunded")

    life = lived(failed, refund)

    assert Trouble.CONTRADICTORY in troubles(life, frozenset())


@pytest.mark.parametrize(
    "several",
    [
        (said(State.RUNNING, 5), said(State.PENDING, 9)),
        (said(State.PARTIAL, 5), said(State.RUNNING, 9)),
    ],
)
def test_a_state_that_goes_back_is_a_contradiction(several):
    assert Trouble.CONTRADICTORY in troubles(lived(*several), frozenset())


def test_what_does_not_say_when_it_happened_is_not_out_of_order():
    life = lived(said(State.SUCCEEDED, None, came=10), said(State.RUNNING, None))

    assert life.state is State.SUCCEEDED
    assert troubles(life, frozenset()) == set()


@pytest.mark.parametrize("year", [1970, 2099])
def test_a_time_that_cannot_be_is_not_believed(year: int):
    at = datetime(year, 1, 1, tzinfo=UTC)
    odd = Said("batch.completed", State.SUCCEEDED, True, at, LATER, {})

    life = lived(odd)

    assert life.ended == LATER.timestamp() * 1000
    assert troubles(life, frozenset()) == set()


def test_an_end_that_says_nothing_gives_way_to_one_that_does():
    unknown = said(State.UNKNOWN, 500, kind="batch.refunded")

    assert lived(unknown).state is State.UNKNOWN
    assert lived(unknown).final
    assert lived(PARTIAL, unknown).state is State.PARTIAL
    assert troubles(lived(PARTIAL, unknown), frozenset()) == set()


def test_what_is_made_of_a_subject_later_does_not_change_what_became_of_it():
    whole = said(State.SUCCEEDED, 60, kind="task.succeeded")
    better = said(State.FAILED, 90, kind="task.failed", part="4k")

    assert lived(whole, better).state is State.SUCCEEDED
    assert lived(better, whole).state is State.SUCCEEDED
    assert troubles(lived(whole, better), frozenset()) == set()
    assert (lived(better).state, lived(better).final) == (State.FAILED, True)


def test_a_stalled_life_is_no_longer_stalled_when_it_ends():
    life = lifecycle.stalled(lived(RUNNING), LATER)
    assert troubles(life, frozenset()) == {Trouble.STALLED}

    assert Trouble.STALLED not in troubles(after(life, PARTIAL), frozenset())


@pytest.mark.parametrize("name", names())
def test_the_samples_of_every_provider_give_a_sensible_life(name: str):
    sender = provider_of(source_of("here", name))
    readings = [
        sender.read(Request(one.headers, {}, one.body, LATER), parse(one.body))
        for one in samples(name, "subject-1", START).values()
    ]
    for reading in readings:
        life = after(
            None,
            Said(
                reading.type,
                reading.state,
                reading.final,
                reading.occurred_at,
                LATER,
                reading.facts,
            ),
        )

        assert life.state is reading.state
        assert life.final == reading.final
        assert Trouble.CONTRADICTORY not in troubles(life, frozenset())


def test_the_samples_of_sora2_are_one_whole_life():
    sender = provider("sora2")
    order = ("batch.created", "batch.running", "batch.completed", "batch.refunded")
    life: Life | None = None
    for i, kind in enumerate(order):
        at = START + timedelta(seconds=i)
        body = samples("sora2", "bat_1", at)[kind].body
        reading = sender.read(Request({}, {}, body, at), parse(body))
        told = (reading.state, reading.final, reading.occurred_at)
        life = after(life, Said(reading.type, *told, at, reading.facts))

    assert life is not None
    assert life.state is State.PARTIAL
    assert life.facts["request_id"] == "order-bat_1"
    assert troubles(life, sender.expects(life.facts)) == set()
    assert sender.expects(life.facts) == BOTH


def test_counters_told_on_the_way_do_not_count_at_the_end():
    """A refund may come before the end it belongs to."""
    going = said(State.RUNNING, 5, total=10, failed=0, settled=0, request_id="order-1")

    life = lived(going, REFUNDED)

    assert life.facts == {"total": 10, "request_id": "order-1", "refunded": 10}
