"""Joins in the store: which parts have come, and what was decided."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class JoinState(StrEnum):
    """What has become of a join."""

    OPEN = "open"
    COMPLETED = "completed"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Part:
    """One event of a join: the first of its source and subject that was a part."""

    source: str
    subject: str
    event_id: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """A join's parts, in the order in which they came, and how many are expected."""

    name: str
    key: str
    begun_at: datetime
    due_at: datetime
    state: JoinState
    expected: int | None
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class JoinChange:
    """A join as it is to be kept; `added` are those of its parts that are new."""

    joined: Joined
    added: Sequence[Part]


@dataclass(frozen=True, slots=True)
class ListedJoin:
    """A join as a list has it: how many of its parts have come, and how many failed."""

    id: str
    name: str
    key: str
    state: JoinState
    begun_at: datetime
    due_at: datetime
    expected: int | None
    parts: int
    failed: int


JoinName = tuple[str, str]
"""A join's name, and a key."""


class JoiningReader(Protocol):
    """Looks, and changes nothing."""

    async def joins(self, names: Sequence[JoinName]) -> Mapping[JoinName, Joined]:
        """Those of these joins of which a part has come."""
        ...

    async def list_joins(
        self, states: Collection[JoinState], *, limit: int, after: str | None = None
    ) -> Sequence[ListedJoin]:
        """
        A page of those that are in one of these states, the newest first; `after` is
        the last id of the page before.
        """
        ...

    async def find_joins(self, names: Collection[JoinName]) -> Sequence[ListedJoin]:
        """Those of these joins of which a part has come, the newest first."""
        ...

    async def join_parts(self, join_id: str) -> tuple[ListedJoin, Sequence[Part]]:
        """
        A join and its parts, in the order in which they came.

        Raises:
            NotFound: there is none, or not any more.
        """
        ...

    async def overdue_joins(self, now: datetime, limit: int) -> Sequence[Joined]:
        """Open joins whose time is up, the longest overdue first."""
        ...


class JoiningStore(Protocol):
    """Forgets what is old."""

    async def prune_joins(self, before: datetime, limit: int) -> int:
        """
        Forget ended joins that began before this, and their parts, among so many of the
        oldest; returns how many it was.  The events that told of them are not touched.
        """
        ...
