"""Searching: events and deliveries, by what is asked for, and one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from receiver.errors import Conflict
from receiver.models import (
    Attempt,
    Decision,
    Delivery,
    Event,
    Result,
    Scalar,
    State,
    Status,
    Variant,
)
from receiver.subjects import Subject, SubjectFilter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """
    An event with what was decided about it when it was accepted.

    Where its body was pruned the event's body, headers and query are empty.
    """

    event: Event
    decision: Decision
    fan_out: int
    facts: Mapping[str, Scalar]
    body_pruned_at: datetime | None = None

    def whole(self) -> Event:
        """
        The event, for whoever needs its body.

        Raises:
            Conflict: it was pruned.
        """
        if self.body_pruned_at is not None:
            day = f"{self.body_pruned_at:%Y-%m-%d}"
            raise Conflict(f"the body of {self.event.id} was pruned on {day}")
        return self.event


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; a field that is None does not restrict.  `type` is a glob."""

    source: str | None = None
    type: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key: str | None = None
    state: State | None = None
    text: str | None = None
    """In the body, whatever the case of its ASCII letters."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; a field that is None does not restrict."""

    status: Status | None = None
    destination: str | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """How the last attempt at a delivery ended, in short."""

    result: Result
    status_code: int | None
    detail: str

    def __str__(self) -> str:
        return self.detail or str(self.status_code or self.result.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What a list says of a delivery beside itself.

    `type` and `subject` are its event's; None where that is gone.  Of one that is
    pending `behind` is the delivery whose turn it is before, or that blocks its line,
    and `held_until` is there while it waits for what its sender's API says.
    """

    type: str | None
    subject: str | None
    last: LastAttempt | None
    behind: str | None
    held_until: datetime | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    Some of what a search finds, the newest first.

    `next` is the id after which to go on; None: that was all.  A search that took too
    long ends early: then `searched_to` says how far back it looked, and `items` may be
    fewer than were asked for.
    """

    items: Sequence[T]
    next: str | None
    searched_to: datetime | None = None


class SearchingReader(Protocol):
    """Looks, and changes nothing."""

    async def event(self, event_id: str) -> StoredEvent:
        """Raises NotFound, also where nothing but the key is left."""
        ...

    async def events(
        self,
        where: EventFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[StoredEvent]:
        """A page, by time; `after` is the last id of the page before."""
        ...

    async def count_events(self, where: EventFilter) -> int: ...

    async def search_events(
        self, where: EventFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[StoredEvent]:
        """A page that is there within about `longest_s`, however much is stored."""
        ...

    async def search_deliveries(
        self, where: DeliveryFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[Delivery]:
        """The same for deliveries."""
        ...

    async def search_subjects(
        self, where: SubjectFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[Subject]:
        """The same for subjects."""
        ...

    async def count_subjects(self, where: SubjectFilter, *, most: int) -> int:
        """How many there are; `most` if there are more."""
        ...

    async def variants(self, event_id: str) -> Sequence[Variant]: ...

    async def delivery(self, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        ...

    async def deliveries(
        self,
        where: DeliveryFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[Delivery]: ...

    async def surroundings(
        self, deliveries: Sequence[Delivery]
    ) -> Mapping[str, Surroundings]:
        """Of each of these that is there, by its id; looked up by keys alone."""
        ...

    async def attempts(self, delivery_id: str) -> Sequence[Attempt]: ...
