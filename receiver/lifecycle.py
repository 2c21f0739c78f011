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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from receiver.clock import from_ms, to_ms
from receiver.models import Scalar, State
from receiver.subjects import Trouble

LATE = timedelta(minutes=5)
"""An event that comes longer than this after it happened is late."""

AHEAD, BEHIND = timedelta(hours=1), timedelta(days=90)
"""How far from its arrival the moment may lie that an event names, to be believed."""

REFINES = ".refunded"
"""Types that end so say more exactly what an end came to."""

PART = "part"
"""A fact of events about something made of the subject later; it has ended before."""

_OPEN = (State.UNKNOWN, State.PENDING, State.RUNNING)
"""How far a subject may have come without having ended."""

_LEVELS = {State.SUCCEEDED: 2, State.PARTIAL: 1, State.FAILED: 0, State.CANCELLED: 0}
_NOT_TOLD = frozenset({"state", "type", PART})


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says of its subject."""

    type: str
    state: State
    final: bool
    occurred_at: datetime | None
    received_at: datetime
    facts: Mapping[str, Scalar]

    @property
    def at(self) -> datetime:
        """When it happened; when it came, where that is not said or not believable."""
        at, came = self.occurred_at, self.received_at
        believable = at is not None and came - BEHIND <= at <= came + AHEAD
        return at if at is not None and believable else came


@dataclass(frozen=True, slots=True)
class Mark:
    """The event that counts most of its sort."""

    type: str
    state: State
    at: datetime
    facts: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])


@dataclass(frozen=True, slots=True)
class Life:
    """All that has to be known of a subject to go on."""

    begun_at: datetime
    heard_at: datetime
    latest_at: datetime | None = None
    events: int = 0
    progress: Mark | None = None
    end: Mark | None = None
    refined: Mark | None = None
    aside: Mark | None = None
    passed: frozenset[State] = frozenset()
    ends: frozenset[State] = frozenset()
    spans: Mapping[State, tuple[datetime, datetime]] = field(
        default_factory=dict[State, tuple[datetime, datetime]]
    )
    late: bool = False
    out_of_order: bool = False
    stalled_at: datetime | None = None
    short_at: datetime | None = None
    """When it was told of credits that were missing for too long."""

    @property
    def mark(self) -> Mark | None:
        """The event that says what has become of the subject."""
        return next(iter(self._ends), self.progress)

    @property
    def state(self) -> State:
        found = [mark.state for mark in self._ends]
        if found:
            return next((s for s in found if s is not State.UNKNOWN), State.UNKNOWN)
        return self.progress.state if self.progress else State.UNKNOWN

    @property
    def final(self) -> bool:
        return bool(self._ends)

    @property
    def ended_at(self) -> datetime | None:
        mark = self.end or self.refined or self.aside
        return mark.at if mark else None

    @property
    def _ends(self) -> list[Mark]:
        marks = (self.refined, self.end, self.aside)
        return [mark for mark in marks if mark is not None]

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Counters and credits, each from the event that counts most."""
        marks = (self.aside, self.progress, self.end, self.refined)
        found: dict[str, Scalar] = {}
        for mark in marks:
            found |= mark.facts if mark else {}
        return found


def after(life: Life | None, said: Said) -> Life:
    """The life of a subject after one more event; None: it is the first."""
    before = life or Life(said.at, said.received_at)
    timed = said.at if said.occurred_at == said.at else None
    latest = before.latest_at
    common = replace(
        before,
        begun_at=min(before.begun_at, said.at),
        heard_at=max(before.heard_at, said.received_at),
        latest_at=max(filter(None, (latest, timed)), default=None),
        events=before.events + 1,
        late=before.late or (timed is not None and said.received_at - timed > LATE),
        out_of_order=before.out_of_order
        or (timed is not None and latest is not None and timed < latest),
    )
    if PART in said.facts:
        return replace(common, aside=_most((common.aside, _mark(said)), _ending))
    common = replace(common, passed=common.passed | {said.state})
    if timed is not None:
        common = replace(common, spans=_widened(common.spans, said.state, timed))
    return _marked(common, said)


def _widened(
    spans: Mapping[State, tuple[datetime, datetime]], state: State, at: datetime
) -> Mapping[State, tuple[datetime, datetime]]:
    first, last = spans.get(state, (at, at))
    return {**spans, state: (min(first, at), max(last, at))}


def _marked(life: Life, said: Said) -> Life:
    mark = _mark(said)
    if said.final and said.type.endswith(REFINES):
        return replace(life, refined=_most((life.refined, mark), _refining))
    if said.final:
        known = {said.state} - {State.UNKNOWN}
        end = _most((life.end, mark), _ending)
        return replace(life, end=end, ends=life.ends | known)
    return replace(life, progress=_most((life.progress, mark), _going_on))


def _mark(said: Said) -> Mark:
    facts = {name: v for name, v in said.facts.items() if name not in _NOT_TOLD}
    return Mark(said.type, said.state, said.at, facts)


def _most(marks: Iterable[Mark | None], rank: Any) -> Mark:
    return max((mark for mark in marks if mark is not None), key=rank)


def _refining(mark: Mark) -> tuple[Any, ...]:
    """The last one counts: what was given back adds up."""
    return (mark.state is not State.UNKNOWN, mark.at, _text(mark))


def _ending(mark: Mark) -> tuple[Any, ...]:
    """The first one counts."""
    return (mark.state is not State.UNKNOWN, -to_ms(mark.at), _text(mark))


def _going_on(mark: Mark) -> tuple[Any, ...]:
    """Who has come furthest counts, and of them the last one."""
    far = _OPEN.index(mark.state) if mark.state in _OPEN else len(_OPEN)
    return (far, mark.at, _text(mark))


def _text(mark: Mark) -> str:
    """Something that tells any two apart, so that their order never decides."""
    return json.dumps([mark.type, mark.state, mark.facts], sort_keys=True)


# -- what is wrong


def troubles(life: Life, expected: frozenset[State]) -> frozenset[Trouble]:
    """
    What is wrong with a life.  `expected` is what its provider tells of before an end.
    """
    missing = expected - life.passed if life.final else frozenset[State]()
    found = {
        Trouble.NO_START: State.PENDING in missing,
        Trouble.NO_RUNNING: State.RUNNING in missing,
        Trouble.LATE: life.late,
        Trouble.OUT_OF_ORDER: life.out_of_order,
        Trouble.CONTRADICTORY: _contradicts(life),
        Trouble.STALLED: life.stalled_at is not None and not life.final,
    }
    return frozenset(trouble for trouble, is_so in found.items() if is_so)


def _contradicts(life: Life) -> bool:
    return len(life.ends) > 1 or _raised(life) or _went_back(life)


def _raised(life: Life) -> bool:
    """What is given back can only lower what an end came to."""
    if life.end is None or life.refined is None:
        return False
    before, then = _LEVELS.get(life.end.state), _LEVELS.get(life.refined.state)
    return before is not None and then is not None and then > before


def _went_back(life: Life) -> bool:
    """Whether something waited after it ran, or ran after its end."""
    ends = [life.spans[end][0] for end in life.ends if end in life.spans]
    order = [life.spans.get(state) for state in (State.PENDING, State.RUNNING)]
    waited, ran = order
    if waited and ran and waited[1] > ran[0]:
        return True
    return any(span is not None and span[1] > end for span in order for end in ends)


# -- remembering


def dump(life: Life) -> str:
    """A life as a text, to go on from later."""
    found = {
        "begun": to_ms(life.begun_at),
        "heard": to_ms(life.heard_at),
        "latest": _ms(life.latest_at),
        "events": life.events,
        "progress": _dumped(life.progress),
        "end": _dumped(life.end),
        "refined": _dumped(life.refined),
        "aside": _dumped(life.aside),
        "passed": sorted(life.passed),
        "ends": sorted(life.ends),
        "spans": {s: [to_ms(a), to_ms(b)] for s, (a, b) in life.spans.items()},
        "late": life.late,
        "disordered": life.out_of_order,
        "stalled": _ms(life.stalled_at),
        "short": _ms(life.short_at),
    }
    kept = {name: value for name, value in found.items() if value}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def load(text: str) -> Life:
    """The reverse of `dump`."""
    found: dict[str, Any] = json.loads(text)
    spans = found.get("spans", {})
    return Life(
        begun_at=from_ms(found["begun"]),
        heard_at=from_ms(found["heard"]),
        latest_at=_moment(found.get("latest")),
        events=found.get("events", 0),
        progress=_loaded(found.get("progress")),
        end=_loaded(found.get("end")),
        refined=_loaded(found.get("refined")),
        aside=_loaded(found.get("aside")),
        passed=frozenset(map(State, found.get("passed", ()))),
        ends=frozenset(map(State, found.get("ends", ()))),
        spans={State(s): (from_ms(a), from_ms(b)) for s, (a, b) in spans.items()},
        late=found.get("late", False),
        out_of_order=found.get("disordered", False),
        stalled_at=_moment(found.get("stalled")),
        short_at=_moment(found.get("short")),
    )


def _dumped(mark: Mark | None) -> list[Any] | None:
    return [mark.type, mark.state, to_ms(mark.at), mark.facts] if mark else None


def _loaded(found: list[Any] | None) -> Mark | None:
    if found is None:
        return None
    return Mark(found[0], State(found[1]), from_ms(found[2]), found[3])


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)
