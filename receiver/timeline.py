"""
The life of a subject as people read it: what happened when, and how long each lasted.

Pure.  Steps are put in the order in which they happened, as far as that is known; what
is odd about how one came is said beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.clock import from_ms, to_ms
from receiver.lifecycle import LATE_MS, REFINES, believed
from receiver.models import State
from receiver.subjects import Standing, SubjectStep, counts

LATE = timedelta(milliseconds=LATE_MS)

_STANDINGS = {
    Standing.WAITING: "not confirmed yet: does not count",
    Standing.UNCONFIRMED: "never confirmed",
    Standing.CONTRADICTED: "contradicted by its sender's API: does not count",
    Standing.CANCELLED: "never confirmed: does not count",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A step, when it happened, how long it was so, and what is odd about it."""

    step: SubjectStep
    at: datetime
    lasted: timedelta | None
    notes: tuple[str, ...]


def timeline(steps: Sequence[SubjectStep]) -> list[Moment]:
    """The steps, which are given as they came, in the order in which they happened."""
    placed = sorted(enumerate(steps), key=lambda pair: (_at(pair[1]), pair[0]))
    moments: list[Moment] = []
    ended: State | None = None
    for position, (came, step) in enumerate(placed):
        following = placed[position + 1 :]
        lasted = _at(following[0][1]) - _at(step) if following else None
        overtaken = [other for earlier, other in following if earlier < came]
        moments.append(
            Moment(step, _at(step), lasted, tuple(_notes(step, overtaken, ended)))
        )
        if step.final and ended is None and counts(step.standing):
            ended = step.state
    return moments


def _at(step: SubjectStep) -> datetime:
    came = to_ms(step.received_at)
    at = believed(step.occurred_at, came)
    return from_ms(came if at is None else at)


def _notes(
    step: SubjectStep, overtaken: Sequence[SubjectStep], ended: State | None
) -> list[str]:
    notes: list[str] = []
    behind = step.received_at - _at(step)
    if behind > LATE:
        notes.append(f"came {_roughly(behind)} later")
    if overtaken and step.occurred_at is not None:
        notes.append(f"came after {overtaken[-1].type}")
    if step.standing is not None and step.standing in _STANDINGS:
        notes.append(_STANDINGS[step.standing])
    if not counts(step.standing):
        return notes
    refines = step.type.endswith(REFINES)
    if ended is not None and not refines and step.state is not ended:
        notes.append("another end" if step.final else "after its end: does not count")
    if step.origin not in ("webhook", ""):
        notes.append(step.origin)
    return notes


def _roughly(lasting: timedelta) -> str:
    seconds = lasting.total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
