"""Events and refused requests as they are shown: without what is as good as a secret."""

from typing import Any

from receiver.models import Rejection
from receiver.plain import plain
from receiver.providers.kept import shown_headers, shown_query
from receiver.providers.senders import Senders
from receiver.stores import StoredEvent


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
