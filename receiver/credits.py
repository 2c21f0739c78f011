"""
Whether the credits of a batch add up (pure).

What was held is charged or given back in the end: `reserved = settled + refunded`.
Where it is known what an item costs, `settled` is that times the items that
succeeded; and what is given back for items that failed is not for more than failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from receiver.models import Scalar
from receiver.subjects import Credits, Number


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not fit; `early` says that an event still to come may mend it."""

    problem: str
    early: bool = False


def credits_of(facts: Mapping[str, Scalar]) -> Credits:
    """The amounts among the facts; who says only what was spent means the charge."""
    settled = number(facts, "settled")
    return Credits(
        number(facts, "reserved"),
        number(facts, "credits") if settled is None else settled,
        number(facts, "refunded"),
    )


def mismatch(facts: Mapping[str, Scalar], cost: Number | None) -> Mismatch | None:
    """
    The first thing that does not fit in what is known of a batch that has ended.

    `cost` is what an item costs, where all cost the same.
    """
    credits_ = credits_of(facts)
    reserved, settled, refunded = credits_.reserved, credits_.settled, credits_.refunded
    known = reserved is not None and settled is not None and refunded is not None
    missing = reserved - settled - refunded if known else 0  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]
    if missing < 0:
        return Mismatch(
            f"{settled} credits charged and {refunded} given back are more than the "
            f"{reserved} that were held"
        )
    wrong = _refund(facts, refunded) or _charge(facts, settled, cost)
    if wrong:
        return Mismatch(wrong)
    if missing > 0:
        of = f"{missing} of {reserved} credits"
        return Mismatch(f"{of} were neither charged nor given back", early=True)
    return None


def number(facts: Mapping[str, Scalar], name: str) -> Number | None:
    """The fact, if it is a number."""
    found = facts.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return found if is_number else None  # type: ignore[return-value]


def _charge(
    facts: Mapping[str, Scalar], settled: Number | None, cost: Number | None
) -> str:
    succeeded = number(facts, "succeeded")
    if cost is None or settled is None or succeeded is None:
        return ""
    right = succeeded * cost
    if settled == right:
        return ""
    return (
        f"{settled} credits were charged for {succeeded} items that succeeded; at "
        f"{cost:g} each that is {right:g}"
    )


def _refund(facts: Mapping[str, Scalar], refunded: Number | None) -> str:
    listed = number(facts, "refund_credits")
    if refunded is not None and listed is not None and listed > refunded:
        return f"items were given {listed} credits back, and the batch only {refunded}"
    items, failed = number(facts, "refund_items"), number(facts, "failed")
    for_failed = facts.get("refund_reason") == "failed_items"
    if for_failed and items is not None and failed is not None and items > failed:
        return f"credits were given back for {items} failed items, and {failed} failed"
    return ""
