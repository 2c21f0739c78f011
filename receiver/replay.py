"""
What new deliveries of stored events would be: of how many, and where today's routes send
them, or elsewhere.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from receiver import clock
from receiver.delivery import ReadEvent
from receiver.expressions import context_of
from receiver.ids import made_at, number
from receiver.models import Delivery, Event, Status
from receiver.routing import Opinion, Router, decide
from receiver.stores import EventFilter, Reader, StoredEvent

COUNTED = 1_000
"""Events that are counted before a replay of them begins."""

COUNTING_S = 1.0
A_LOOK_S = 0.05
"""How long that may take in all; and at a stretch, for others wait meanwhile."""


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


async def left(reader: Reader, where: EventFilter, after: str | None) -> int | None:
    """How many events with a body the filter finds after this one; None: too many."""
    count, before = 0, None
    until = clock.monotonic() + COUNTING_S
    while clock.monotonic() < until:
        page = await reader.search_events(
            where, limit=100, after=before, longest_s=A_LOOK_S
        )
        new = [s for s in page.items if after is None or s.event.id > after]
        count += sum(stored.body_pruned_at is None for stored in new)
        if count > COUNTED:
            return None
        before = page.next
        if before is None or (after is not None and before <= after):
            return count
    return None
