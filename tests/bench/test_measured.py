"""Percentiles, medians and ratios."""

from array import array

import pytest

from receiver.bench.measured import (
    Latency,
    Round,
    answered_after,
    arrived_after,
    headroom,
    latency,
    row,
)


def rounds(*per_second: float) -> list[Round]:
    return [Round(1_000, 1_000 / each) for each in per_second]


def test_percentiles_are_times_that_were_measured():
    found = latency([float(n) for n in range(1_000, 0, -1)])

    assert found == Latency(500.0, 990.0, 999.0, 1_000.0)


def test_of_few_times_the_high_percentiles_are_the_longest():
    assert latency([3.0, 1.0, 2.0]) == Latency(2.0, 3.0, 3.0, 3.0)


def test_of_nothing_there_is_no_latency():
    assert latency([]) is None


def test_an_answer_is_counted_from_when_it_was_due():
    took = answered_after(array("d", [10.0, 10.5]), array("d", [10.25, 12.5]))

    assert took == [250.0, 2_000.0]


def test_an_arrival_belongs_to_its_number_and_others_are_left_out():
    due = array("d", [10.0, 20.0])
    numbers = array("q", [8, 6, 7, -1])
    times = array("d", [99.0, 10.5, 20.25, 99.0])

    assert arrived_after(due, 6, numbers, times) == [500.0, 250.0]


def test_a_ratio_compares_rounds_that_were_beside_each_other():
    base, mine = rounds(1_000, 100, 400), rounds(500, 50, 400)

    found = row("intake", "ours", "closed", mine, base)

    assert found.ratio == 0.5
    assert found.per_second == 400


def test_the_baseline_has_ratio_one():
    base = rounds(1_000, 100)

    assert row("intake", "baseline", "closed", base, base).ratio == 1


def test_what_nobody_knows_has_no_median():
    known = Round(10, 1.0, cpu_us=5.0, answer=Latency(1, 2, 3, 4))
    unknown = Round(10, 1.0)

    found = row("intake", "ours", "closed", [unknown, known], [known, known])
    nothing = row("intake", "ours", "closed", [unknown], [known])

    assert (found.cpu_us, found.answer) == (5.0, Latency(1, 2, 3, 4))
    assert (nothing.cpu_us, nothing.answer, nothing.commits) == (None, None, None)


@pytest.mark.parametrize(("loop", "expected"), [("closed", 2.5), ("500/s", None)])
def test_headroom_is_of_the_fastest_closed_loop(loop: str, expected: float | None):
    base = rounds(4_000)
    rows = [
        row("intake", "baseline", loop, base, base),
        row("intake", "ours", loop, rounds(1_000), base),
    ]

    assert headroom(10_000, rows) == expected
