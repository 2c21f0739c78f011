"""Credits that do not add up are found; credits that do are left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.credits import credits_of, mismatch
from receiver.models import Scalar
from receiver.subjects import Credits

GOOD: dict[str, Scalar] = {
    "reserved": 100,
    "settled": 90,
    "refunded": 10,
    "succeeded": 9,
    "failed": 1,
}


def problem(cost: int | None = None, **facts: Scalar) -> str:
    found = mismatch({**GOOD, **facts}, cost)
    return found.problem if found is not None else ""


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_charged_or_given_back_in_full_adds_up(settled: int, refunded: int):
    facts: dict[str, Scalar] = {"settled": settled, "refunded": refunded}

    assert mismatch({"reserved": settled + refunded, **facts}, None) is None


@pytest.mark.parametrize("name", ["reserved", "settled", "refunded"])
def test_an_amount_that_nobody_said_is_not_missed(name: str):
    facts = {key: value for key, value in GOOD.items() if key != name}

    assert mismatch(facts, None) is None


def test_credits_that_went_nowhere_are_missed_but_may_still_be_given_back():
    found = mismatch({**GOOD, "refunded": 0}, None)

    assert found is not None
    assert found.problem == "10 of 100 credits were neither charged nor given back"
    assert found.early


def test_more_than_was_held_is_found_at_once():
    found = mismatch({**GOOD, "settled": 100}, None)

    assert found is not None
    assert "more than the 100 that were held" in found.problem
    assert not found.early


def test_what_is_charged_must_be_what_succeeded_where_the_cost_is_known():
    assert problem(cost=10) == ""
    assert problem(cost=9) == (
        "90 credits were charged for 9 items that succeeded; at 9 each that is 81"
    )
    assert problem(cost=None, succeeded=3) == ""


def test_items_are_given_no_more_back_than_the_batch():
    assert problem(refund_credits=10) == ""
    assert problem(refund_credits=20) == (
        "items were given 20 credits back, and the batch only 10"
    )


def test_no_more_items_are_refunded_as_failed_than_failed():
    failed: dict[str, Any] = {"refund_reason": "failed_items", "refund_items": 2}

    assert problem(**failed) == (
        "credits were given back for 2 failed items, and 1 failed"
    )
    assert problem(**{**failed, "refund_reason": "system_error"}) == ""
    assert problem(**{**failed, "refund_items": 1}) == ""


def test_who_says_only_what_was_spent_means_the_charge():
    assert credits_of({"credits": 12.5}) == Credits(None, 12.5, None)
    assert credits_of({"credits": True, "reserved": "many"}) == Credits()


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "refund_credits", "refund_items", "credits"]),
        st.one_of(st.none(), st.text(), st.booleans(), st.integers(), st.floats()),
    ),
    st.one_of(st.none(), st.integers(1, 100)),
)
def test_no_facts_at_all_are_too_odd(facts: dict[str, Scalar], cost: int | None):
    found = mismatch(facts, cost)

    assert found is None or found.problem
