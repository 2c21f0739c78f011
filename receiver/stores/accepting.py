"""Accepting: what came is kept once, what was refused beside it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from receiver.models import Decision, Event, Rejection, Scalar, Variant
from receiver.stores.confirming import Hold


class Added(NamedTuple):
    """What `Store.add` did: `event_id` is the original's when it was there already."""

    event_id: str
    created: bool
    same_body: bool = True


class AcceptingReader(Protocol):
    """Looks, and changes nothing."""

    async def event_of(self, source: str, key: str) -> str | None:
        """The id of the event this key made, though nothing else may be left of it."""
        ...

    async def rejections(
        self,
        *,
        source: str | None,
        code: str | None = None,
        limit: int,
        after: str | None = None,
    ) -> Sequence[Rejection]:
        """The newest first; `after` is the last id of the page before."""
        ...

    async def rejection(self, rejection_id: str) -> Rejection:
        """Raises NotFound."""
        ...


class AcceptingStore(Protocol):
    """Keeps what came."""

    async def add(
        self,
        event: Event,
        decision: Decision,
        facts: Mapping[str, Scalar],
        hold: Hold | None = None,
    ) -> Added:
        """
        Keep an event and its deliveries, once per source and key, for ever.

        The event's own id is ignored; the store makes one.  Under any number of
        concurrent calls with one key exactly one creates it.  With `hold` its
        deliveries wait: see `receiver.stores.confirming`.

        Raises:
            StoreBusy: too much waits, or free space is nearly out.
        """
        ...

    async def add_variant(self, variant: Variant) -> None:
        """
        Keep a repeat's other body beside its original: a few per event, once each.

        Where the original's body was pruned it is not kept.
        """
        ...

    async def add_rejections(self, rejections: Sequence[Rejection]) -> None:
        """
        Keep refused requests; the oldest of their kind make room.

        Their own ids are ignored.
        """
        ...

    async def rejection_accepted(self, rejection_id: str, event_id: str) -> None:
        """Note which event a rejection became when it was verified again."""
        ...
