"""New deliveries from stored events: to where today's routes send them, or elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.delivery import ReadEvent
from receiver.expressions import context_of
from receiver.models import Delivery, Event, Status
from receiver.routing import Opinion, Router, decide
from receiver.stores import Reader, Store, StoredEvent


@dataclass(frozen=True, slots=True)
class Added:
    """What one step of a replay did; `next_due_at` is where the next one goes on."""

    deliveries: int
    destinations: tuple[str, ...]
    next_due_at: datetime


async def opinions_today(
    router: Router, read: ReadEvent, event: Event
) -> list[Opinion]:
    """What today's routes say of a stored event."""
    full = await read(event)
    return router.opinions(full.source, full.type, lambda: context_of(full))


async def add(
    store: Store,
    router: Router,
    read: ReadEvent,
    replay_id: str,
    events: Sequence[str],
    *,
    to: Sequence[str],
    as_new: bool,
    per_second: float | None,
    due_at: datetime,
    now: datetime,
) -> Added:
    """
    Make the deliveries of some of a replay's events.

    `to` empty means wherever today's routes send each event.  What is named twice is
    made once.  With a rate the deliveries are due one after the other from `due_at`
    on, so that whoever asked need not stay.

    Raises:
        NotFound: there is no such event.
    """
    gap = timedelta(seconds=1 / per_second) if per_second else timedelta()
    wanted: list[tuple[str, str, datetime]] = []
    named = tuple(dict.fromkeys(to))
    for event_id in dict.fromkeys(events):
        for name in named or await targets(router, read, await store.event(event_id)):
            wanted.append((event_id, name, due_at))
            due_at += gap
    count = await store.add_replayed(replay_id, wanted, as_new=as_new, now=now)
    return Added(count, tuple(dict.fromkeys(name for _, name, _ in wanted)), due_at)


async def targets(
    router: Router, read: ReadEvent, stored: StoredEvent
) -> Sequence[str]:
    """Where today's routes send a stored event."""
    return decide(await opinions_today(router, read, stored.event)).destinations


async def movable(
    reader: Reader, deliveries: Iterable[str], to: str
) -> Sequence[Delivery]:
    """
    Those of the deliveries that can be moved to `to`: pending or dead, and not there.

    Raises:
        NotFound: there is no such delivery.
    """
    found = [await reader.delivery(one) for one in dict.fromkeys(deliveries)]
    return [
        delivery
        for delivery in found
        if delivery.status in (Status.PENDING, Status.DEAD)
        and delivery.destination != to
    ]


async def move(
    store: Store, replay_id: str, deliveries: Iterable[str], to: str, now: datetime
) -> int:
    """
    Send to `to` instead what waits elsewhere; returns how many deliveries were made.

    The new deliveries come first and the cancel after, so that whatever happens in
    between an event may arrive twice, and never not at all.

    Raises:
        NotFound: there is no such delivery.
    """
    found = await movable(store, deliveries, to)
    wanted = [(delivery.event_id, to, now) for delivery in found]
    made = await store.add_replayed(replay_id, wanted, as_new=False, now=now)
    await store.cancel([delivery.id for delivery in found], now)
    return made
