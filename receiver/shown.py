"""What the commands and the API show alike, without what is as good as a secret."""

import base64
from collections.abc import Sequence
from typing import Any

from receiver.errors import NotFound
from receiver.models import Event, Rejection
from receiver.plain import plain
from receiver.providers.kept import shown_headers, shown_query
from receiver.providers.senders import Senders
from receiver.stores import Reader, StoredEvent
from receiver.subjects import CreditsLine, Subject, SubjectStep

MOST_ITEMS = 1_000


def shown_event(senders: Senders, stored: StoredEvent, *, body: bool) -> dict[str, Any]:
    """An event as JSON, signatures masked."""
    event: dict[str, Any] = plain(stored.event)
    masked = senders.masked(stored.event.source)
    event["headers"] = shown_headers(stored.event.headers, masked)
    if not body:
        del event["body"]
    return {
        **event,
        "facts": dict(stored.facts),
        "decision": plain(stored.decision),
        "body_pruned_at": plain(stored.body_pruned_at),
    }


def streamed_event(
    senders: Senders, stored: StoredEvent, *, body: bool, raw: bool
) -> dict[str, Any]:
    """
    An event as a stream has it.

    With `raw` it has, beside what is shown, what is needed to send it once more: the
    headers that were kept, signatures and all, and the body in base64.
    """
    shown = shown_event(senders, stored, body=body)
    if raw:
        encoded = base64.b64encode(stored.event.body).decode()
        shown["raw"] = {"headers": dict(stored.event.headers), "base64": encoded}
    return shown


def shown_rejection(
    senders: Senders, rejection: Rejection, *, body: bool
) -> dict[str, Any]:
    """A refused request as JSON, signatures masked, digests left out."""
    found: dict[str, Any] = plain(rejection)
    masked = senders.masked(rejection.source)
    found["headers"] = shown_headers(rejection.headers, masked)
    found["query"] = shown_query(rejection.query)
    if not body:
        del found["body"]
    return found


async def shown_batch(
    reader: Reader, senders: Senders, found: Subject
) -> dict[str, Any]:
    """A batch as JSON, with the steps of its life and its results."""
    steps = await reader.subject_steps(found.id)
    event = await last_event(reader, senders, steps)
    results = {"items": items_of(event), "result_urls": links_of(event)}
    return {**plain(found), "steps": plain(steps), **plain(results)}


async def last_event(
    reader: Reader, senders: Senders, steps: Sequence[SubjectStep]
) -> Event | None:
    """The event with the results: the last one that has some, and is still there."""
    found: Event | None = None
    for step in reversed([step for step in steps if step.final]):
        try:
            stored = await reader.event(step.event_id)
        except NotFound:
            continue
        event = await senders.read(stored.event)
        if event.result_urls or items_of(event):
            return event
        found = found or event
    return found


def items_of(event: Event | None) -> list[dict[str, Any]]:
    """The items that its body lists, where it lists any."""
    data = event.data if event is not None else None
    found = data.get("items") if isinstance(data, dict) else None
    listed = found if isinstance(found, list) else []
    return [one for one in listed[:MOST_ITEMS] if isinstance(one, dict)]


def links_of(event: Event | None) -> tuple[str, ...]:
    """Where its results are."""
    return event.result_urls if event is not None else ()


def shown_credits(line: CreditsLine) -> dict[str, Any]:
    """A line of credits as JSON."""
    return {**plain(line), "day": line.day.isoformat() if line.day else None}
