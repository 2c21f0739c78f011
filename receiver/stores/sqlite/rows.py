"""Rows to nouns and back.  Positions in the tuples below are on disk: only append."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from receiver import ids
from receiver.clock import from_ms, to_ms
from receiver.models import (
    Attempt,
    Carried,
    Decision,
    Delivery,
    Event,
    Outcome,
    Rejection,
    Result,
    State,
    Status,
    Trigger,
    changed,
)
from receiver.stores import StoredEvent
from receiver.stores.sqlite.bodies import pruned_at, unpack
from receiver.subjects import Standing

Row = Sequence[Any]
E = TypeVar("E")

STATES = (
    State.PENDING,
    State.RUNNING,
    State.SUCCEEDED,
    State.PARTIAL,
    State.FAILED,
    State.CANCELLED,
    State.UNKNOWN,
)
STATUSES = (Status.PENDING, Status.DELIVERED, Status.DEAD, Status.CANCELLED)
CARRIED: tuple[Carried, ...] = ("unsigned", "signed", "verified")
RESULTS = (
    Result.OK,
    Result.HTTP_STATUS,
    Result.TIMEOUT,
    Result.CONNECT,
    Result.DNS,
    Result.TLS,
    Result.BLOCKED,
    Result.REJECTED,
    Result.BAD_CONFIG,
    Result.ERROR,
)
STANDINGS = (
    None,
    Standing.WAITING,
    Standing.CONFIRMED,
    Standing.UNCONFIRMED,
    Standing.CONTRADICTED,
    Standing.CANCELLED,
)
STATE_NUMBERS = {state: i for i, state in enumerate(STATES)}
STATUS_NUMBERS = {status: i for i, status in enumerate(STATUSES)}
RESULT_NUMBERS = {result: i for i, result in enumerate(RESULTS)}

EVENT_COLUMNS = """
    e.id, e.source_id, e.provider_id, e.type_id, e.state, e.final, e.decision_id,
    e.fan_out, e.occurred_at, e.received_at, e.subject, e.key, e.origin, e.facts,
    e.query, e.headers, e.codec, e.body
"""
DELIVERY_COLUMNS = """
    d.id, d.event_id, d.destination_id, d.status, d.attempts, d.due_at,
    d.round_attempts, d.round_started, d.manual, d.settled_at, d.replay_id,
    d.sent_as, d.progress
"""

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def to_json(value: object) -> str:
    return _encode(value)


def key_hash(source: str, key: str) -> bytes:
    """What an event's key is kept as: one of a source is found by it."""
    text = f"{source}\0{key}".encode(errors="surrogatepass")
    return blake2b(text, digest_size=16).digest()


def headers_to_text(headers: Mapping[str, str]) -> str:
    """A header's value has no line ends, so a line each is enough."""
    return "\n".join([f"{name}: {value}" for name, value in headers.items()])


def headers_from_text(text: str) -> dict[str, str]:
    pairs = (line.partition(": ") for line in text.split("\n") if line)
    return {name: value for name, _, value in pairs}


def decision_to_text(decision: Decision) -> str:
    return _encode({"routes": decision.routes, "to": decision.destinations})


def decision_from_text(text: str) -> Decision:
    found = json.loads(text)
    routes = tuple((name, verdict) for name, verdict in found["routes"])
    return Decision(routes, tuple(found["to"]))


def event_from_row(
    row: Row, names: Mapping[int, str], decisions: Mapping[int, Decision]
) -> StoredEvent:
    """From EVENT_COLUMNS."""
    event = Event(
        id=ids.public("evt", row[0]),
        source=names[row[1]],
        provider=names[row[2]],
        type=names[row[3]],
        state=STATES[row[4]],
        final=bool(row[5]),
        occurred_at=moment(row[8]),
        received_at=from_ms(row[9]),
        subject=row[10],
        key=row[11],
        origin=row[12],
        query=json.loads(row[14]),
        headers=headers_from_text(row[15]),
        body=unpack(row[16], row[17]),
    )
    return StoredEvent(
        event,
        decisions[row[6]],
        row[7],
        json.loads(row[13]),
        pruned_at(row[16], row[17]),
    )


def has_text(stored: StoredEvent, text: str) -> bool:
    """Whether its body has the text, whatever the case of ASCII letters."""
    return text.encode(errors="surrogatepass").lower() in stored.event.body.lower()


def delivery_from_row(row: Row, names: Mapping[int, str]) -> Delivery:
    """From DELIVERY_COLUMNS."""
    made_at = ids.made_at(row[0])
    return Delivery(
        id=ids.public("dlv", row[0]),
        event_id=ids.public("evt", row[1]),
        destination=names[row[2]],
        status=STATUSES[row[3]],
        attempts=row[4],
        created_at=made_at,
        due_at=from_ms(row[5]),
        settled_at=moment(row[9]),
        replay_id=ids.public("rpl", row[10]) if row[10] is not None else None,
        sent_as=ids.public("evt", row[11] if row[11] is not None else row[1]),
        trigger=Trigger.MANUAL if row[8] else Trigger.SCHEDULED,
        round_attempts=row[6],
        round_started_at=moment(row[7]) or made_at,
        progress=row[12] or "",
    )


def attempt_from_row(row: Row) -> Attempt:
    """From number, manual, started_at, duration_us, result, status_code, detail, response."""
    return Attempt(
        number=row[0],
        trigger=Trigger.MANUAL if row[1] else Trigger.SCHEDULED,
        started_at=from_ms(row[2]),
        duration_ms=row[3] / 1000,
        outcome=Outcome(
            result=RESULTS[row[4]],
            status_code=row[5],
            detail=row[6] or "",
            response=row[7] or "",
        ),
    )


def rejection_from_row(row: Row) -> Rejection:
    """From the columns in the order of `reads.rejections`."""
    return Rejection(
        id=ids.public("rej", row[0]),
        source=row[1],
        code=row[2],
        message=row[3],
        received_at=from_ms(row[4]),
        query=json.loads(row[5]),
        headers=headers_from_text(row[6]),
        body_bytes=row[7],
        body=row[8],
        carried=CARRIED[row[9]],
        client=row[10],
        event_id=ids.public("evt", row[11]) if row[11] is not None else None,
    )


def moment(ms: int | None) -> datetime | None:
    """None also for a time beyond the calendar: it must not hide the rest of a row."""
    try:
        return None if ms is None else from_ms(ms)
    except (ValueError, OverflowError, OSError):
        return None


def in_milliseconds(event: Event, event_id: str) -> Event:
    """A new event with its id and with its times as a later reading gives them."""
    return changed(
        event,
        id=event_id,
        received_at=from_ms(to_ms(event.received_at)),
        occurred_at=moment(to_ms(event.occurred_at)) if event.occurred_at else None,
    )
