"""What new deliveries of stored events would be: where today's routes send them, or elsewhere."""

from collections.abc import Iterable, Sequence
from functools import partial

from receiver.delivery import ReadEvent
from receiver.expressions import context_of
from receiver.ids import made_at, number
from receiver.models import Delivery, Event, Status
from receiver.routing import Opinion, Router, decide
from receiver.stores import Reader, StoredEvent


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


async def without_body(reader: Reader, deliveries: Iterable[Delivery]) -> set[str]:
    """Those of the deliveries that are dead for good: their event's body was pruned."""
    until = (await reader.extent()).pruned_bodies_to
    dead = [d for d in deliveries if d.status is Status.DEAD]
    old = [d for d in dead if until and made_at(number("evt", d.event_id)) <= until]
    return {one.id for one in old if (await reader.event(one.event_id)).body_pruned_at}
