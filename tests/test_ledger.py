"""The proof that nothing was lost, and what needs attention."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.ledger import Ledger, orphan_advice, standings
from receiver.models import HeldBack, Pause, Status
from receiver.stores import Queue, Tally, Totals

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
NAMES = ("crm", "ops", "mail", "gone")
counts = st.integers(0, 1_000)
rows = st.dictionaries(st.sampled_from(list(Status)), counts)


def totals(fan_out: int = 0, routed: int = 0) -> Totals:
    return Totals(0, 0, fan_out, 0, 0, routed)


def pause(name: str, *, ended: bool = False) -> Pause:
    return Pause(name, NOW, NOW if ended else None, "by hand")


@given(st.lists(rows, max_size=5))
def test_what_adds_up_has_no_difference(some: list[dict[Status, int]]):
    tallies = [Tally("s", f"d{i}", sum(r.values()), r) for i, r in enumerate(some)]

    assert Ledger(tallies, totals(7, 7)).difference == 0


@given(rows, st.integers(1, 50))
def test_one_line_too_many_does_not_make_up_for_one_too_few(
    row: dict[Status, int], wrong: int
):
    count = sum(row.values())
    lost, made_up = Tally("s", "a", count + wrong, row), Tally("s", "b", count, row)
    made_up = Tally("s", "b", count - wrong, row)

    assert Ledger([lost, made_up], totals()).difference == 2 * wrong


@given(counts, counts)
def test_the_events_own_count_is_held_against_the_deliveries(fan_out: int, there: int):
    assert Ledger([], totals(fan_out, there)).difference == abs(fan_out - there)


@given(
    st.lists(st.sampled_from(NAMES), unique=True),
    st.dictionaries(st.sampled_from(NAMES), counts),
)
def test_every_destination_that_is_configured_or_waited_for_is_shown_once(
    configured: list[str], pending: dict[str, int]
):
    queues = [Queue(name, count, None) for name, count in pending.items()]

    found = standings(queues, [], configured)

    names = [standing.queue.destination for standing in found]
    waited_for = {name for name, count in pending.items() if count}
    assert sorted(names) == sorted(waited_for | set(configured))
    assert names[: len(configured)] == configured
    for standing in found:
        name = standing.queue.destination
        assert standing.orphaned == (name not in configured)
        assert standing.queue.pending == pending.get(name, 0)


def test_only_a_pause_that_has_not_ended_is_shown():
    pauses = [pause("crm"), pause("ops", ended=True)]

    crm, ops = standings([], pauses, ["crm", "ops"])

    assert (crm.pause, ops.pause) == (pauses[0], None)


@pytest.mark.parametrize(
    ("held", "state"),
    [
        (None, "retrying"),
        (HeldBack("breaker", "it does not answer", NOW), "breaker open"),
        (HeldBack("retry_after", "it asked for this", NOW), "held back"),
    ],
)
def test_a_destination_that_is_held_back_says_so_unless_it_is_paused(
    held: HeldBack | None, state: str
):
    queues = [Queue("crm", 3, NOW, failing="dlv_1"), Queue("ops", 1, NOW)]
    kept = {"crm": held, "ops": held} if held else {}

    crm, ops = standings(queues, [pause("ops")], ["crm", "ops"], kept)

    assert (crm.state, ops.state) == (state, "paused")


def test_the_advice_for_orphans_names_both_commands():
    [orphan] = standings([Queue("gone", 3, NOW)], [], [])

    advice = orphan_advice(orphan)

    assert "3 deliveries wait for 'gone'" in advice
    assert "deliveries move --destination gone --to OTHER" in advice
    assert "deliveries cancel --destination gone" in advice
