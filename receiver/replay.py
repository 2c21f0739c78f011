"""New deliveries from stored events: to where today's routes send them, or elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from receiver.expressions import context, event_fields
from receiver.models import Event, Reading
from receiver.providers.body import with_reading
from receiver.routing import Opinion, Router, decide
from receiver.stores import Store


@dataclass(frozen=True, slots=True)
class Added:
    """What one step of a replay did; `next_due_at` is where the next one goes on."""

    deliveries: int
    destinations: tuple[str, ...]
    next_due_at: datetime


async def opinions_today(router: Router, event: Event) -> list[Opinion]:
    """What today's routes say of a stored event."""
    full = await with_reading(event)

    def build() -> Any:
        reading = Reading(
            key=full.key,
            type=full.type,
            subject=full.subject,
            state=full.state,
            final=full.final,
            occurred_at=full.occurred_at,
            result_urls=full.result_urls,
            expires_at=full.expires_at,
        )
        fields = event_fields(
            reading,
            id=full.id,
            source=full.source,
            provider=full.provider,
            received_at=full.received_at,
            origin=full.origin,
        )
        request = {"headers": dict(full.headers), "query": dict(full.query)}
        return context(fields, full.data, request)

    return router.opinions(full.source, full.type, build)


async def add(
    store: Store,
    router: Router,
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

    `to` empty means wherever today's routes send each event.  With a rate the
    deliveries are due one after the other from `due_at` on, so that whoever asked
    need not stay.

    Raises:
        NotFound: there is no such event.
    """
    gap = timedelta(seconds=1 / per_second) if per_second else timedelta()
    wanted: list[tuple[str, str, datetime]] = []
    for event_id in events:
        destinations = to or await _routed(store, router, event_id)
        for name in destinations:
            wanted.append((event_id, name, due_at))
            due_at += gap
    count = await store.add_replayed(replay_id, wanted, as_new=as_new, now=now)
    return Added(count, tuple(dict.fromkeys(name for _, name, _ in wanted)), due_at)


async def _routed(store: Store, router: Router, event_id: str) -> Sequence[str]:
    stored = await store.event(event_id)
    return decide(await opinions_today(router, stored.event)).destinations
