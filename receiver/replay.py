"""What new deliveries of stored events would be: where today's routes send them, or elsewhere."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from receiver.delivery import ReadEvent
from receiver.expressions import context_of
from receiver.ids import made_at, number
from receiver.models import Delivery, Event, Status
from receiver.routing import Opinion, Router, decide
from receiver.stores import Reader, Store, StoredEvent


async def opinions_today(
    router: Router, read: ReadEvent, event: Event
) -> list[Opinion]:
    """What today's routes say of a stored event."""
    full = await read(event)
    return router.opinions(full.source, full.type, partial(context_of, full))


async def targets(
    router: Router, read: ReadEvent, stored: StoredEvent
) -> Sequence[str]:
    """
    Where today's routes send a stored event.

    Raises:
        Conflict: its body was pruned.
    """
    return decide(await opinions_today(router, read, stored.whole())).destinations


async def movable(
    reader: Reader, deliveries: Iterable[str], to: str
) -> Sequence[Delivery]:
    """
    Those of the deliveries that can be moved to `to`: pending or dead, not there, and
    not of an event whose body was pruned.

    Raises:
        NotFound: there is no such delivery.
    """
    found = [await reader.delivery(one) for one in dict.fromkeys(deliveries)]
    gone = await without_body(reader, found)
    return [
        delivery
        for delivery in found
        if delivery.status in (Status.PENDING, Status.DEAD)
        and delivery.destination != to
        and delivery.id not in gone
    ]


async def without_body(reader: Reader, deliveries: Iterable[Delivery]) -> set[str]:
    """Those of the deliveries that are dead for good: their event's body was pruned."""
    until = (await reader.extent()).pruned_bodies_to
    dead = [d for d in deliveries if d.status is Status.DEAD]
    old = [d for d in dead if until and made_at(number("evt", d.event_id)) <= until]
    return {one.id for one in old if (await reader.event(one.event_id)).body_pruned_at}


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
