"""
Subjects: the batches, tasks and jobs behind the events.

An event says what was true when it was sent; a subject is what all of its events
together say.  These are the nouns; `receiver.lifecycle` makes them out of events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal

from receiver.models import Scalar, State

Number = int | float


class Trouble(StrEnum):
    """What is wrong with the life of a subject, as far as events tell."""

    NO_START = "no_start"
    """It ended, and what its provider sends at the beginning is not there."""

    NO_RUNNING = "no_running"
    """It ended, and what its provider sends while it runs is not there."""

    LATE = "late"
    """An event came long after it had happened."""

    OUT_OF_ORDER = "out_of_order"
    """An event came after one that had happened later."""

    CONTRADICTORY = "contradictory"
    """Two ends that differ, or a state that went back."""

    LEDGER = "ledger"
    """Its credits do not add up."""

    STALLED = "stalled"
    """It has not ended, and nothing was heard of it for long."""

    UNCONFIRMED = "unconfirmed"
    """Its sender's API was not heard yet about what an event says of it."""


class Standing(StrEnum):
    """Whether an event counts about which its sender's API is asked, too."""

    WAITING = "waiting"
    """Not yet: nothing was decided."""

    CONFIRMED = "confirmed"
    """It does: the API says the same."""

    UNCONFIRMED = "unconfirmed"
    """It does, for `on_unconfirmed` lets it: the API said nothing in time."""

    CONTRADICTED = "contradicted"
    """It does not: the API says something else."""

    CANCELLED = "cancelled"
    """It does not, for `on_unconfirmed` is against it: the API said nothing in time."""


_COUNTING = (None, Standing.CONFIRMED, Standing.UNCONFIRMED)


def counts(standing: Standing | None) -> bool:
    """Whether an event counts that stands so; None: nobody has to be asked about it."""
    return standing in _COUNTING


@dataclass(frozen=True, slots=True)
class Credits:
    """What was held, charged and given back; None where nobody said."""

    reserved: Number | None = None
    settled: Number | None = None
    refunded: Number | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """
    A batch, task or job, by all that was heard of it.

    `kind` is the first word of its events' types.  `begun_at` and `ended_at` are when
    things happened, by the provider's clock where that can be believed; `heard_at` is
    when the last event came, or when it was registered if none has.
    """

    id: str
    source: str
    subject: str
    provider: str
    kind: str
    state: State
    final: bool
    begun_at: datetime
    heard_at: datetime
    ended_at: datetime | None
    events: int
    troubles: tuple[Trouble, ...]
    request_id: str | None
    credits: Credits
    facts: Mapping[str, Scalar]
    stalled_at: datetime | None = None
    registered_at: datetime | None = None
    asked: int = 0
    next_ask_at: datetime | None = None
    ask_note: str | None = None

    @property
    def lasted(self) -> timedelta | None:
        """
        From its beginning to its end; None where it has none, or where its end is all
        that was heard of it.
        """
        if self.ended_at is None or self.ended_at <= self.begun_at:
            return None
        return self.ended_at - self.begun_at


@dataclass(frozen=True, slots=True)
class SubjectStep:
    """One event in the life of a subject; the event itself may be gone already."""

    event_id: str
    type: str
    state: State
    final: bool
    occurred_at: datetime | None
    received_at: datetime
    origin: str
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class SubjectChange:
    """
    What the store is to keep of a subject now, and the steps that are new; of steps it
    may know `decided` says how they stand now.

    `memory` is what the next event needs to know, a text only `receiver.lifecycle`
    understands.  `check_at` is when its credits have to be looked at again.
    """

    subject: Subject
    memory: str
    check_at: datetime | None
    steps: Sequence[SubjectStep]
    decided: Sequence[SubjectStep] = ()


@dataclass(frozen=True, slots=True)
class SubjectFilter:
    """Which subjects; a field that is None does not restrict."""

    source: str | None = None
    subject: str | None = None
    state: State | None = None
    final: bool | None = None
    trouble: Trouble | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    silent_since: datetime | None = None
    """Nothing was heard of it since then."""


CreditsBy = Literal["day", "source"]


@dataclass(frozen=True, slots=True)
class CreditsLine:
    """
    Credits of what ended on one day (UTC), or from one source, or both.

    `missing` is what was held and neither charged nor given back, `over` what was
    charged and given back beyond what was held: each by the subjects of which all
    three are known, for which `reserved + over = settled + refunded + missing`.
    `mismatches` counts subjects whose credits do not add up.
    """

    day: date | None
    source: str | None
    subjects: int
    reserved: Number
    settled: Number
    refunded: Number
    missing: Number
    over: Number
    mismatches: int
