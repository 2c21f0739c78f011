"""
What was asked for and what was done by hand, in words (pure): pairs of a name and a value.

A value is a text, or a moment that a page shows as people say it.  What is kept is read
as it is: entries of earlier versions, and of a change that was cut off, have less.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from receiver.messages import words

Value = str | datetime
Pairs = list[tuple[str, Value]]

SHOWN = 5
"""Items of a list that are named; of more the number is said."""

_DONE = {
    "deliveries.retried": "tried deliveries again",
    "deliveries.cancelled": "cancelled deliveries",
    "deliveries.moved": "moved deliveries to another destination",
    "replay.created": "asked for a replay",
    "replay.cancelled": "stopped a replay",
    "destination.paused": "paused a destination",
    "destination.resumed": "resumed a destination",
    "destination.tested": "sent a destination a test event",
    "rejections.reverified": "verified refused requests again",
    "subjects.registered": "said that batches exist",
    "subject.reconciled": "asked a sender about a batch",
    "store.pruned": "removed what was old",
}
_NAMES = {"asked": "asked for", "count": "changed", "per_second": "a second"}
_LISTS = {"events": "event", "ids": "id", "subjects": "subject", "to": "destination"}
_TIMES = frozenset({"since", "until", "bodies", "rejections"})


def done(what: str) -> str:
    """What was done, of the name it is logged by."""
    return _DONE.get(what, what)


def of_a_replay(asked: Mapping[str, Any]) -> Pairs:
    """What a replay was asked for."""
    if "move" in asked:
        moved = words.counted(
            words.number(asked["move"]) or 0, "delivery", "deliveries"
        )
        return [("moved", moved), ("to", _text("to", asked.get("to")))]
    where = words.table(asked.get("where"))
    pairs = of_a_filter(where)
    if "events" in asked:
        pairs.append(("events", _text("events", asked["events"])))
    elif not where:
        pairs.append(("events", "all that are stored"))
    to = asked.get("to")
    pairs.append(("to", _text("to", to) if to else "where the routes send them"))
    if asked.get("as_new"):
        pairs.append(("as new", "yes: receivers see another id"))
    if asked.get("per_second"):
        pairs.append(("rate", f"{words.shown(asked['per_second'])} a second"))
    return pairs


def of_a_filter(where: Mapping[str, object]) -> Pairs:
    """Those that are like this."""
    return [(name, _value(name, value)) for name, value in where.items()]


def of_a_change(details: Mapping[str, Any]) -> Pairs:
    """What came of something done by hand; of what was cut off, what was asked for."""
    if not details.get("unfinished"):
        return _pairs(details)
    pairs: Pairs = [("unfinished", "it is not known what came of it")]
    if details.get("failed"):
        pairs.append(("failed", _text("failed", details["failed"])))
    return pairs + _pairs(words.table(details.get("asked")))


def _pairs(found: Mapping[str, object]) -> Pairs:
    pairs: Pairs = []
    for name, value in found.items():
        if isinstance(value, dict):
            pairs += of_a_filter(cast("Mapping[str, object]", value))
        else:
            label = _NAMES.get(name, name.replace("_", " "))
            pairs.append((label, _value(name, value)))
    return pairs


def _value(name: str, value: object) -> Value:
    if name in _TIMES and isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return value  # 2h, as it was asked for
        return found if found.tzinfo else value
    return _text(name, value)


def _text(name: str, value: object) -> str:
    if isinstance(value, list | tuple):
        several = cast("Sequence[object]", value)
        if len(several) > SHOWN:
            return words.counted(len(several), _LISTS.get(name, "item"))
        return ", ".join(words.shown(one) for one in several) or "none"
    return words.shown(value) or "none"
