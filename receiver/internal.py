"""
What receiver has to say about itself: events of the source `receiver` (pure).

Each function makes the body of one type from values.  Alerts are such events, routed
like any other; `receiver.messages.alerts` has their words.  docs/alerts.md is the
table for users, and `INTERNAL_TYPES` the same for programs.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from receiver.clock import iso, to_ms
from receiver.models import Reading, State

SOURCE = "receiver"
"""The source, and the provider, of these events."""

Body = dict[str, Any]

MOST_LINKS = 20


@dataclass(frozen=True, slots=True)
class InternalType:
    """When it is raised, what its `event.state` is, and its fields beside the common."""

    when: str
    state: State
    fields: Mapping[str, str]


COMMON: Mapping[str, str] = {
    "type": "the event's type",
    "subject": "what it is about: the destination, route, source, batch, ...",
    "command": "what to type next, for a shell",
}
"""The fields that every body has."""

_EVENT = {
    "event_id": "the event",
    "event_type": "its type",
    "event_subject": "its subject",
}
_COUNT = "how many, since the last such event"

INTERNAL_TYPES: Mapping[str, InternalType] = {
    "delivery.dead": InternalType(
        "deliveries to a destination were given up",
        State.FAILED,
        {"destination": "where they should have gone", "count": _COUNT}
        | {**_EVENT, "event_id": "the event of one of them"}
        | {"outcome": "what its last attempt came to"},
    ),
    "destination.paused": InternalType(
        "a destination is given nothing more until somebody mends it",
        State.FAILED,
        {"destination": "its name", "reason": "why, and what to mend"},
    ),
    "destination.resumed": InternalType(
        "a paused destination is delivered to again",
        State.SUCCEEDED,
        {"destination": "its name", "paused_at": "since when it was paused"},
    ),
    "event.conflict": InternalType(
        "a sender repeated an event with other facts; the first ones stay",
        State.UNKNOWN,
        {**_EVENT, "event_source": "where it came from"}
        | {"differences": "a list of `name`, `first` and `later`"},
    ),
    "event.supplemented": InternalType(
        "a sender repeated an event and said more; the first body stays",
        State.UNKNOWN,
        {**_EVENT, "event_source": "where it came from"}
        | {"facts": "a list of the names of facts that are new"}
        | {"links": "how many links to results are new"}
        | {"result_urls": "the first 20 of them, without what follows a `?`"},
    ),
    "event.unconfirmed": InternalType(
        "a sender's API did not say what its event says",
        State.UNKNOWN,
        {**_EVENT, "event_source": "where it came from", "count": _COUNT}
        | {"reason": "what it said, or that it said nothing"}
        | {"delivered": "whether its deliveries went out all the same"},
    ),
    "route.failing": InternalType(
        "the condition of a route failed, which is no match",
        State.FAILED,
        {"route": "its name", "error": "why", "count": _COUNT}
        | {"event_id": "an event it failed on"},
    ),
    "source.rejecting": InternalType(
        "requests to a source are refused",
        State.FAILED,
        {"source": "its name", "code": "why, in a word", "reason": "why"}
        | {"count": _COUNT},
    ),
    "source.quiet": InternalType(
        "a source that used to send has sent nothing for long",
        State.UNKNOWN,
        {"source": "its name", "since": "when the last event came"}
        | {"after_s": "the silence that is too long, in seconds"},
    ),
    "links.expiring": InternalType(
        "links to results expire soon, and a destination has not got them yet",
        State.UNKNOWN,
        {**_EVENT, "destination": "which has not got them"}
        | {"expires_at": "until when they hold"},
    ),
    "batch.stalled": InternalType(
        "a batch was begun, and nothing has been heard of it for long",
        State.UNKNOWN,
        {"source": "where it comes from", "batch": "its id"}
        | {"state": "what is known of it", "since": "when the last event came"},
    ),
    "batch.ledger_mismatch": InternalType(
        "a batch's credits do not add up",
        State.UNKNOWN,
        {"source": "where it comes from", "batch": "its id"}
        | {"reserved": "credits held", "settled": "credits charged"}
        | {"refunded": "credits given back", "problem": "what does not fit"},
    ),
    **{
        f"join.{end}": InternalType(
            when,
            state,
            {"join": "its name", "key": "what its parts have in common"}
            | {"state": "succeeded, partial or failed, by its parts"}
            | {"expected": "how many parts there should be, if that is known"}
            | {"begun_at": "when the first part came"}
            | {
                "parts": "a list of `event_id`, `source`, `type`, `subject`, `state`, ..."
            },
        )
        for end, when, state in (
            ("completed", "all parts of a join have come", State.SUCCEEDED),
            ("timed_out", "a join's time is up and parts are missing", State.FAILED),
            ("failed", "a part of a join failed that has `fail_fast`", State.FAILED),
        )
    },
}
"""Every type there is."""

JOINS = frozenset(kind for kind in INTERNAL_TYPES if kind.startswith("join."))
"""Those that are not about receiver itself, but made of what others sent."""


def delivery_dead(
    destination: str,
    *,
    count: int,
    event_id: str,
    event_type: str,
    event_subject: str,
    outcome: str,
) -> Body:
    command = _command(
        *("deliveries", "retry", "--status", "dead", "--destination", destination)
    )
    return _body("delivery.dead", destination, command) | {
        "destination": destination,
        "count": count,
        "event_id": event_id,
        "event_type": event_type,
        "event_subject": event_subject,
        "outcome": outcome,
    }


def destination_paused(destination: str, *, reason: str) -> Body:
    command = _command("destinations", "resume", destination)
    return _body("destination.paused", destination, command) | {
        "destination": destination,
        "reason": reason,
    }


def destination_resumed(destination: str, *, paused_at: datetime | None) -> Body:
    command = _command("deliveries", "list", "--destination", destination)
    return _body("destination.resumed", destination, command) | {
        "destination": destination,
        "paused_at": None if paused_at is None else iso(paused_at),
    }


def event_conflict(
    event_id: str,
    *,
    event_source: str,
    event_type: str,
    event_subject: str,
    differences: Sequence[tuple[str, object, object]],
) -> Body:
    """`differences` are the fact's name, its first value, and the later one."""
    command = _command("events", "show", event_id)
    return _body("event.conflict", event_subject, command) | {
        "event_id": event_id,
        "event_source": event_source,
        "event_type": event_type,
        "event_subject": event_subject,
        "differences": [
            {"name": name, "first": first, "later": later}
            for name, first, later in differences
        ],
    }


def event_supplemented(
    event_id: str,
    *,
    event_source: str,
    event_type: str,
    event_subject: str,
    facts: Sequence[str],
    result_urls: Sequence[str],
) -> Body:
    """What is new: the names of `facts`, and links, which may carry credentials."""
    command = _command("events", "show", event_id)
    return _body("event.supplemented", event_subject, command) | {
        "event_id": event_id,
        "event_source": event_source,
        "event_type": event_type,
        "event_subject": event_subject,
        "facts": list(facts),
        "links": len(result_urls),
        "result_urls": [_masked(url) for url in result_urls[:MOST_LINKS]],
    }


def _masked(url: str) -> str:
    address, mark, _ = url.partition("#")[0].partition("?")
    return f"{address}?***" if mark else address


def event_unconfirmed(
    event_id: str,
    *,
    event_source: str,
    event_type: str,
    event_subject: str,
    reason: str,
    count: int,
    delivered: bool,
) -> Body:
    command = _command("explain", event_id)
    return _body("event.unconfirmed", event_subject, command) | {
        "event_id": event_id,
        "event_source": event_source,
        "event_type": event_type,
        "event_subject": event_subject,
        "reason": reason,
        "count": count,
        "delivered": delivered,
    }


def route_failing(route: str, *, error: str, count: int, event_id: str) -> Body:
    return _body("route.failing", route, _command("explain", event_id)) | {
        "route": route,
        "error": error,
        "count": count,
        "event_id": event_id,
    }


def source_rejecting(source: str, *, code: str, reason: str, count: int) -> Body:
    command = _command("rejections", "list", "--source", source)
    return _body("source.rejecting", source, command) | {
        "source": source,
        "code": code,
        "reason": reason,
        "count": count,
    }


def source_quiet(source: str, *, since: datetime, after: timedelta) -> Body:
    command = _command("events", "list", "--source", source)
    return _body("source.quiet", source, command) | {
        "source": source,
        "since": iso(since),
        "after_s": after.total_seconds(),
    }


def links_expiring(
    event_id: str,
    *,
    event_type: str,
    event_subject: str,
    destination: str,
    expires_at: datetime,
) -> Body:
    command = _command(
        *("deliveries", "retry", "--event", event_id, "--destination", destination)
    )
    return _body("links.expiring", event_subject, command) | {
        "event_id": event_id,
        "event_type": event_type,
        "event_subject": event_subject,
        "destination": destination,
        "expires_at": iso(expires_at),
    }


def batch_stalled(batch: str, *, source: str, state: State, since: datetime) -> Body:
    return _body("batch.stalled", batch, _about(source, batch)) | {
        "source": source,
        "batch": batch,
        "state": str(state),
        "since": iso(since),
    }


def batch_ledger_mismatch(
    batch: str,
    *,
    source: str,
    problem: str,
    reserved: float | None,
    settled: float | None,
    refunded: float | None,
) -> Body:
    return _body("batch.ledger_mismatch", batch, _about(source, batch)) | {
        "source": source,
        "batch": batch,
        "reserved": reserved,
        "settled": settled,
        "refunded": refunded,
        "problem": problem,
    }


def join_ended(
    end: str,
    *,
    join: str,
    key: str,
    expected: int | None,
    begun_at: datetime,
    failed: Sequence[bool],
    parts: Sequence[Mapping[str, Any]],
) -> Body:
    """`end` is completed, timed_out or failed; `failed` says it of each part."""
    state = State.SUCCEEDED
    if end != "completed" or all(failed):
        state = State.FAILED
    elif any(failed):
        state = State.PARTIAL
    first = str(parts[0]["event_id"]) if parts else ""
    command = _command("events", "show", first)
    return _body(f"join.{end}", key, command) | {
        "join": join,
        "key": key,
        "state": str(state),
        "expected": expected,
        "begun_at": iso(begun_at),
        "parts": list(parts),
    }


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as it is stored and delivered."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def reading(body: Mapping[str, Any], now: datetime) -> Reading:
    """What one of these bodies means as an event; two at one moment have one key."""
    kind, subject = str(body["type"]), str(body["subject"])
    return Reading(
        key=f"{kind}:{subject}:{to_ms(now)}",
        type=kind,
        subject=subject,
        state=State(body["state"]) if kind in JOINS else INTERNAL_TYPES[kind].state,
        final=kind in JOINS,
        occurred_at=now,
    )


def _body(kind: str, subject: str, command: str) -> Body:
    return {"type": kind, "subject": subject, "command": command}


def _about(source: str, batch: str) -> str:
    return _command("batches", "show", batch, "--source", source)


def _command(*arguments: str) -> str:
    """A command of ours; a name in it may hold anything, and ends nothing early."""
    return shlex.join(("receiver", *arguments))
