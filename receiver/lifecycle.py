"""
The life of a subject, from its events (pure).

`after` folds one event into a life.  What became of the subject does not depend on the
order in which events came, nor on how often:

- an event that ends it wins over all that do not, whenever those come;
- among events that end it the one that happened first wins; another end is a
  contradiction for people to see;
- unless it refines: what was given back after the end says how much of it succeeded;
- before the end it is as far as any event says: what ran does not wait again.

Only how events came (late, out of order) depends on how they came.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from receiver.clock import to_ms
from receiver.models import Scalar, State
from receiver.subjects import Trouble

LATE_MS = 5 * 60_000
"""An event that comes longer than this after it happened is late."""

AHEAD_MS, BEHIND_MS = 3_600_000, 90 * 86_400_000
"""How far from its arrival the moment may lie that an event names, to be believed."""

REFINES = ".refunded"
"""Types that end so say more exactly what an end came to."""

PART = "part"
"""A fact of events about something made of the subject later; it has ended before."""

Sort = Literal["refined", "end", "aside", "progress"]
"""What an event is to its subject; of each sort one counts most, and is kept."""

_ENDS: tuple[Sort, ...] = ("refined", "end", "aside")
_FAR = {State.UNKNOWN: 0, State.PENDING: 1, State.RUNNING: 2}
"""How far a subject has come that has not ended."""

_LEVELS = {State.SUCCEEDED: 2, State.PARTIAL: 1, State.FAILED: 0, State.CANCELLED: 0}
_LASTING = frozenset({"total", "reserved"})
"""Numbers that are the same from beginning to end."""

_NOT_TOLD = frozenset({"state", "type", PART})

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says of its subject."""

    type: str
    state: State
    final: bool
    occurred_at: datetime | None
    received_at: datetime
    facts: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Mark:
    """The event that counts most of its sort; `at` in milliseconds."""

    type: str
    state: State
    at: int
    facts: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Life:
    """All that has to be known of a subject to go on; times in milliseconds."""

    begun: int
    heard: int
    latest: int = 0
    events: int = 0
    marks: Mapping[Sort, Mark] = field(default_factory=dict[Sort, Mark])
    passed: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    spans: Mapping[str, tuple[int, int]] = field(
        default_factory=dict[str, tuple[int, int]]
    )
    late: bool = False
    out_of_order: bool = False
    stalled: int | None = None
    """When it was told of as stalled."""
    short: int | None = None
    """When it was told of credits that were missing for too long."""
    waiting: int = 0
    """Events that wait for their sender's API to say the same."""
    held: int = 0
    """Those that ever did."""
    unheard: bool = False
    """No event has come yet that counts."""

    @property
    def mark(self) -> Mark | None:
        """The event that says what has become of the subject."""
        return next(self._ending(), self.marks.get("progress"))

    @property
    def state(self) -> State:
        if self.final:
            told = (m.state for m in self._ending() if m.state in _LEVELS)
            return next(told, State.UNKNOWN)
        return self.marks["progress"].state if self.marks else State.UNKNOWN

    @property
    def final(self) -> bool:
        return not self.marks.keys().isdisjoint(_ENDS)

    @property
    def ended(self) -> int | None:
        found = [
            self.marks[s].at for s in ("end", "refined", "aside") if s in self.marks
        ]
        return found[0] if found else None

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Counters and credits, each from the event that counts most."""
        found: dict[str, Scalar] = {}
        progress = self.marks.get("progress")
        if progress is not None:
            final = self.final
            told = progress.facts.items()
            found = {k: v for k, v in told if not final or _lasts(k, v)}
        for sort in ("aside", "end", "refined"):
            if sort in self.marks:
                found |= self.marks[sort].facts
        return found

    def _ending(self) -> Iterator[Mark]:
        return (self.marks[sort] for sort in _ENDS if sort in self.marks)


def registered(now: datetime) -> Life:
    """The life of a subject that must exist, and of which no event has come."""
    return Life(to_ms(now), to_ms(now))


def after(life: Life | None, said: Said) -> Life:
    """The life of a subject after one more event; None: it is the first."""
    came = to_ms(said.received_at)
    timed = believed(said.occurred_at, came)
    at = came if timed is None else timed
    before = life or Life(at, came)
    if before.unheard:
        before = replace(before, begun=at, heard=came)
    sort = _sort(said)
    mark = Mark(said.type, said.state, at, _kept(said.facts))
    first = before.marks.get(sort)
    best = mark if first is None or _counts_more(sort, mark, first) else first
    aside = sort == "aside"
    ends = sort == "end" and said.state in _LEVELS
    behind = timed is not None and timed < before.latest
    return Life(
        begun=min(before.begun, at),
        heard=max(before.heard, came),
        latest=max(before.latest, timed or 0),
        events=before.events + 1,
        marks={**before.marks, sort: best},
        passed=before.passed if aside else before.passed | {said.state},
        ends=before.ends | {said.state} if ends else before.ends,
        spans=before.spans
        if aside or timed is None
        else _widened(before.spans, said.state, timed),
        late=before.late or (timed is not None and came - timed > LATE_MS),
        out_of_order=before.out_of_order or behind,
        stalled=before.stalled,
        short=before.short,
        waiting=before.waiting,
        held=before.held,
    )


def awaited(life: Life | None, said: Said) -> Life:
    """The same life after an event that counts only once it is confirmed."""
    came = to_ms(said.received_at)
    before = life or Life(came, came, unheard=True)
    return replace(before, waiting=before.waiting + 1, held=before.held + 1)


def decided(life: Life | None, said: Said, *, counts: bool) -> Life | None:
    """A life after the decision about such an event; None: nothing is known of it."""
    before = life and replace(life, waiting=max(0, life.waiting - 1))
    if not counts:
        return before
    then = after(before, said)  # it came before what was folded meanwhile
    return replace(then, out_of_order=before is not None and before.out_of_order)


def believed(occurred_at: datetime | None, came: int) -> int | None:
    """When it happened, where that is said and can be, of what came at that time."""
    if occurred_at is None:
        return None
    at = to_ms(occurred_at)
    return at if came - BEHIND_MS <= at <= came + AHEAD_MS else None


def _sort(said: Said) -> Sort:
    if PART in said.facts:
        return "aside"
    if not said.final:
        return "progress"
    return "refined" if said.type.endswith(REFINES) else "end"


def _kept(facts: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    return {name: v for name, v in facts.items() if name not in _NOT_TOLD}


def _counts_more(sort: Sort, one: Mark, other: Mark) -> bool:
    """
    Of ends the first counts, of what was given back and of progress the last, for it
    adds up; who says most before that.  What is no different by its order differs by
    its words, so that the order in which they came never decides.
    """
    ranks = [_rank(sort, one), _rank(sort, other)]
    if ranks[0] != ranks[1]:
        return ranks[0] > ranks[1]
    return _words(one) > _words(other)


def _rank(sort: Sort, mark: Mark) -> tuple[int, int]:
    if sort == "progress":
        return _FAR.get(mark.state, 3), mark.at
    later = mark.at if sort == "refined" else -mark.at
    return int(mark.state in _LEVELS), later


def _lasts(name: str, value: Scalar) -> bool:
    """Whether a fact told on the way still holds at the end, if that is silent."""
    return name in _LASTING or isinstance(value, str)


def _words(mark: Mark) -> str:
    return json.dumps([mark.type, mark.state, mark.facts], sort_keys=True)


def _widened(
    spans: Mapping[str, tuple[int, int]], state: State, at: int
) -> Mapping[str, tuple[int, int]]:
    first, last = spans.get(state, (at, at))
    return {**spans, state: (min(first, at), max(last, at))}


# -- what only time says


def stalled(life: Life, now: datetime) -> Life:
    """The same life, told of as stalled."""
    return replace(life, stalled=to_ms(now))


def short(life: Life, now: datetime) -> Life:
    """The same life, told of for credits that are missing."""
    return replace(life, short=to_ms(now))


# -- what is wrong


def troubles(life: Life, expected: frozenset[State]) -> frozenset[Trouble]:
    """
    What is wrong with a life.  `expected` is what its provider tells of before an end.
    """
    final = life.final
    missing = expected - life.passed if final else ()
    found = {
        Trouble.NO_START: State.PENDING in missing,
        Trouble.NO_RUNNING: State.RUNNING in missing,
        Trouble.LATE: life.late,
        Trouble.OUT_OF_ORDER: life.out_of_order,
        Trouble.CONTRADICTORY: _contradicts(life),
        Trouble.STALLED: life.stalled is not None and not final,
        Trouble.UNCONFIRMED: life.waiting > 0,
    }
    return frozenset(trouble for trouble, is_so in found.items() if is_so)


def _contradicts(life: Life) -> bool:
    return len(life.ends) > 1 or _raised(life) or _went_back(life)


def _raised(life: Life) -> bool:
    """What is given back can only lower what an end came to."""
    end, refined = life.marks.get("end"), life.marks.get("refined")
    if end is None or refined is None:
        return False
    before, then = _LEVELS.get(end.state), _LEVELS.get(refined.state)
    return before is not None and then is not None and then > before


def _went_back(life: Life) -> bool:
    """Whether something waited after it ran, or ran after its end."""
    waited, ran = life.spans.get(State.PENDING), life.spans.get(State.RUNNING)
    if waited and ran and waited[1] > ran[0]:
        return True
    ends = [life.spans[end][0] for end in life.ends if end in life.spans]
    return any(span and span[1] > end for span in (waited, ran) for end in ends)


# -- remembering


def dump(life: Life) -> str:
    """A life as a text, to go on from later."""
    marks = {s: [m.type, m.state, m.at, m.facts] for s, m in life.marks.items()}
    found = {
        "begun": life.begun,
        "heard": life.heard,
        "latest": life.latest,
        "events": life.events,
        "marks": marks,
        "passed": sorted(life.passed),
        "ends": sorted(life.ends),
        "spans": life.spans,
        "late": life.late,
        "out_of_order": life.out_of_order,
        "stalled": life.stalled,
        "short": life.short,
        "waiting": life.waiting,
        "held": life.held,
        "unheard": life.unheard,
    }
    return _encode({name: value for name, value in found.items() if value})


def load(text: str) -> Life:
    """The reverse of `dump`."""
    found: dict[str, Any] = json.loads(text)
    marks = found.get("marks", {})
    found["marks"] = {s: Mark(m[0], State(m[1]), m[2], m[3]) for s, m in marks.items()}
    found["passed"] = frozenset(found.get("passed", ()))
    found["ends"] = frozenset(found.get("ends", ()))
    spans = found.get("spans", {})
    found["spans"] = {state: (first, last) for state, (first, last) in spans.items()}
    return Life(**found)
