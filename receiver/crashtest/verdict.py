"""
What was promised, held against what the sender and the sink noted (pure).

The sender's notes say what was answered 2xx.  The sink's say what arrived, in which
order.  The store is asked as well, but is never believed where a witness knows better.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.crashtest.plan import DESTINATIONS, ORDERED

Notes = Sequence[Mapping[str, Any]]
Step = tuple[str, int]
"""A subject and a number: what the sender knows an event by."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the receiver has to show in the end."""

    events: Sequence[tuple[str, str]]
    """(id, key) of every event."""
    difference: int
    unsettled: Mapping[str, int]
    """Deliveries that are anything but delivered, by status."""
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise, and what shows that it was broken."""

    promise: str
    broken: Sequence[str]

    @property
    def kept(self) -> bool:
        return not self.broken


@dataclass(frozen=True, slots=True)
class Verdict:
    """All promises, and how much there was to keep."""

    promises: Sequence[Promise]
    counts: Mapping[str, int]

    @property
    def good(self) -> bool:
        return all(promise.kept for promise in self.promises)


def judge(sent: Notes, received: Notes, kept: Kept) -> Verdict:
    """Every promise, broken or not."""
    ids = _accepted(sent)
    by_key = {key: id_ for id_, key in kept.events}
    promises = (
        ("what was answered 2xx is stored", _lost(ids, kept)),
        ("an event is accepted once", _twice(ids, kept)),
        ("every event arrived, at each destination", _missing(received, kept)),
        ("it arrived under the event's own id", _strangers(received, by_key)),
        ("each subject arrived in order", _out_of_order(received)),
        ("what is forged is refused, and nothing else", _misjudged(sent)),
        ("the ledger adds up", _difference(kept)),
        ("nothing is left over", _left(kept)),
        ("it stops when it is asked to", _stopped(kept)),
    )
    counts = _counts(sent, received, ids, kept)
    return Verdict([Promise(name, list(found)) for name, found in promises], counts)


def _accepted(sent: Notes) -> dict[Step, set[str]]:
    """The ids under which each step was answered 2xx."""
    found: dict[Step, set[str]] = defaultdict(set)
    for note in sent:
        if note["status"] < 300 and not note["forged"]:
            found[note["subject"], note["number"]].add(note["id"])
    return found


def _lost(ids: Mapping[Step, set[str]], kept: Kept) -> Iterator[str]:
    there = {id_ for id_, _ in kept.events}
    for (subject, number), known in ids.items():
        for id_ in known - there:
            yield f"{id_} ({subject}:{number})"


def _twice(ids: Mapping[Step, set[str]], kept: Kept) -> Iterator[str]:
    for (subject, number), known in ids.items():
        if len(known) > 1:
            yield f"{subject}:{number} was answered {' and '.join(sorted(known))}"
    for key, count in Counter(key for _, key in kept.events).items():
        if count > 1:
            yield f"{key} is stored {count} times"


def _missing(received: Notes, kept: Kept) -> Iterator[str]:
    arrived = {(note["to"], note["id"]) for note in received if note["said"] == 200}
    for to in DESTINATIONS:
        for id_, key in kept.events:
            if (to, id_) not in arrived:
                yield f"{id_} ({key}) at {to}"


def _strangers(received: Notes, by_key: Mapping[str, str]) -> Iterator[str]:
    for note in received:
        key = f"{note['subject']}:{note['number']}"
        if by_key.get(key) != note["id"]:
            yield f"{key} as {note['id']} at {note['to']}"


def _out_of_order(received: Notes) -> Iterator[str]:
    """No number again after a later one, and none before the one before it was taken."""
    latest: dict[str, int] = {}
    taken: dict[str, int] = {}
    for note in received:
        if note["to"] != ORDERED:
            continue
        subject, number = note["subject"], note["number"]
        if number < latest.get(subject, 0):
            yield f"{subject}:{number} after {latest[subject]}"
        elif number > taken.get(subject, 0) + 1:
            yield f"{subject}:{number} when {taken.get(subject, 0)} was the last taken"
        latest[subject] = max(number, latest.get(subject, 0))
        if note["said"] == 200:
            taken[subject] = max(number, taken.get(subject, 0))


def _misjudged(sent: Notes) -> Iterator[str]:
    for note in sent:
        if note["forged"] == (note["status"] < 300):
            what = "forged" if note["forged"] else "signed"
            step = f"{note['subject']}:{note['number']}"
            yield f"{step}, {what}, was answered {note['status']} {note['word']}"


def _difference(kept: Kept) -> Iterator[str]:
    if kept.difference:
        yield f"difference {kept.difference}"


def _left(kept: Kept) -> Iterator[str]:
    for status, count in kept.unsettled.items():
        if count:
            yield f"{count} {status}"


def _stopped(kept: Kept) -> Iterator[str]:
    if kept.exit_code != 0:
        yield f"exit code {kept.exit_code}"


def _counts(
    sent: Notes, received: Notes, ids: Mapping[Step, set[str]], kept: Kept
) -> dict[str, int]:
    taken = Counter(
        (note["to"], note["id"]) for note in received if note["said"] == 200
    )
    return {
        "accepted": len(ids),
        "answered duplicate": _count(note["word"] == "duplicate" for note in sent),
        "forged": _count(note["forged"] for note in sent),
        "stored": len(kept.events),
        "stored, but never answered": len(kept.events) - len(ids),
        "requests at the sink": len(received),
        "taken by the sink": len(taken),
        "taken more than once": _count(count > 1 for count in taken.values()),
    }


def _count(these: Iterable[object]) -> int:
    return sum(map(bool, these))
