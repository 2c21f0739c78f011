"""
Following: reading events in the order in which they were committed, and keeping what
they add up to.

What is made of events is kept together with the cursor, in one transaction: a crash
neither repeats nor skips an event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from receiver.models import Scalar, State
from receiver.stores.joining import JoinChange, JoiningReader, JoiningStore
from receiver.subjects import (
    CreditsBy,
    CreditsLine,
    Standing,
    Subject,
    SubjectChange,
    SubjectFilter,
    SubjectStep,
)

Name = tuple[str, str]
"""A source, and a subject of its."""

Change = SubjectChange | JoinChange
"""What can be kept together with a cursor."""


@dataclass(frozen=True, slots=True)
class Followed:
    """
    A committed event without what makes it heavy: its headers and its body.

    One that has to be confirmed comes twice: `standing` is `WAITING` in its place among
    the others, and what was decided when it comes again.
    """

    id: str
    source: str
    provider: str
    key: str
    type: str
    subject: str
    state: State
    final: bool
    occurred_at: datetime | None
    received_at: datetime
    origin: str
    facts: Mapping[str, Scalar]
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events in their order; `upto` is where to go on, None if nothing has come."""

    events: Sequence[Followed]
    upto: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What was kept of a subject: its id, whose it is, and the memory of its life."""

    id: str
    provider: str
    memory: str


class FollowingReader(JoiningReader, Protocol):
    """Looks, and changes nothing."""

    async def cursor(self, name: str) -> str | None:
        """The last event whose results this follower has kept; None: there is none."""
        ...

    async def follow(self, after: str | None, limit: int) -> Stretch:
        """
        Committed events after this one, or from the first on, in the order of commits.

        An event whose id is not above that of one seen before never comes.  What cannot
        be read is left out; `upto` is beyond it.
        """
        ...

    async def decided(self, upto: str, limit: int) -> Sequence[Followed]:
        """
        Events up to this one about which it was decided since they were followed, in
        the order of decisions; each until it was given to `advance`.
        """
        ...

    async def known_subjects(self, names: Sequence[Name]) -> Mapping[Name, Known]:
        """Those of these subjects of which something is kept."""
        ...

    async def silent_subjects(
        self, source: str, before: datetime, limit: int
    ) -> Sequence[Name]:
        """
        Subjects that have not ended, of which nothing was heard since `before`, and
        which were not found stalled yet; the longest silence first.
        """
        ...

    async def unchecked_subjects(self, now: datetime, limit: int) -> Sequence[Name]:
        """Subjects whose credits have to be looked at again by now."""
        ...

    async def subjects(
        self, where: SubjectFilter, *, limit: int, after: str | None = None
    ) -> Sequence[Subject]:
        """A page, the newest first; `after` is the last id of the page before."""
        ...

    async def subject(self, subject_id: str) -> Subject:
        """Raises NotFound."""
        ...

    async def subject_steps(self, subject_id: str) -> Sequence[SubjectStep]:
        """In the order in which they came; a few dozen at most are kept of each."""
        ...

    async def credits(
        self,
        since: datetime | None,
        until: datetime | None,
        *,
        by: frozenset[CreditsBy],
        source: str | None = None,
    ) -> Sequence[CreditsLine]:
        """Totals of what ended in this time; with an empty `by` in one line."""
        ...


class FollowingStore(JoiningStore, Protocol):
    """Keeps what was made of events."""

    async def advance(
        self,
        name: str,
        upto: str | None,
        changes: Sequence[Change],
        decided: Sequence[str] = (),
    ) -> None:
        """
        Keep these changes, and that this follower has come so far; all or nothing.

        With `upto` None the cursor stays where it is.  What was decided about the
        events in `decided` is in the changes.

        Raises:
            StoreError: nothing was kept.
        """
        ...

    async def register_subjects(
        self, source: str, provider: str, names: Sequence[str], now: datetime
    ) -> int:
        """
        Note that these must exist, though perhaps nothing was heard of them yet;
        returns of how many that is so.
        """
        ...

    async def prune_subjects(self, before: datetime, limit: int) -> int:
        """
        Forget subjects of which nothing was heard since `before`, the oldest first, at
        most so many; returns how many it was.  An event that still comes for one begins
        a life anew.
        """
        ...
