"""
What the API's nouns look like, as JSON schemas.

`ref` names one of `NOUNS`, which become the components of the OpenAPI document;
`inlined` is for checking what comes in.
"""

from collections.abc import Mapping
from typing import Any

from receiver.models import Result, State, Status, Trigger
from receiver.stores.joining import JoinState
from receiver.subjects import Standing, Trouble
from receiver.waiting import WaitsFor

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
YES_OR_NO: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
WHEN: Schema = {
    "type": "string",
    "maxLength": 40,
    "anyOf": [
        {"pattern": r"^[0-9]{1,5}(ms|[smhd])$"},
        {"format": "date"},
        {"format": "date-time"},
    ],
    "description": "2h (ago), 2026-01-24 or 2026-01-24T10:00:00Z",
}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_UNSEEN = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
SUBJECT: Schema = {
    **NAME,
    "pattern": rf"^[^{_UNSEEN}]*[^{_UNSEEN}\s\u200b\ufeff][^{_UNSEEN}]*$",
    "description": "must not be blank, nor have control characters or line ends in it",
}
"""What a batch, task or job may be called by us; their senders call them what they like."""
JSON: Schema = {"description": "any JSON"}
OBJECT: Schema = {"type": "object", "additionalProperties": True}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
MOST_IDS = 1_000
"""Ids in one request; whoever has more asks again."""


def ref(noun: str) -> Schema:
    return {"$ref": f"#/components/schemas/{noun}"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def one_of(words: Any) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def record(**properties: Schema) -> Schema:
    """An object that has just these."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def asked(*required: str, **properties: Schema) -> Schema:
    """An object that is sent to us: only `required` must be there."""
    return {**record(**properties), "required": list(required)}


def either(*names: str, of: Schema) -> Schema:
    """An object that has just one of these."""
    return {
        **of,
        "oneOf": [{"required": [name]} for name in names],
        "description": f"give either {' or '.join(names)}",
    }


def page(noun: str) -> Schema:
    return record(
        items=many(ref(noun)),
        next={**maybe(TEXT), "description": "`after` of the next page"},
        searched_to={
            **maybe(TIME),
            "description": "how far back was looked, where time was up before the page was full",
        },
    )


def id_of(kind: str) -> Schema:
    return {
        "type": "string",
        "pattern": f"^{kind}_[0-9a-f]{{16}}$",
        "example": f"{kind}_0123456789abcdef",
    }


EVENT, DELIVERY, REPLAY = map(id_of, ("evt", "dlv", "rpl"))
REJECTION, BATCH, JOIN = map(id_of, ("rej", "sub", "jon"))
BODY: Schema = {
    "description": "the body as text, or base64 where it is not UTF-8",
    "anyOf": [TEXT, record(base64=TEXT)],
}
LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}


def ids(kind: Schema) -> Schema:
    return {"type": "array", "items": kind, "minItems": 1, "maxItems": MOST_IDS}


_EVENT_FIELDS: dict[str, Schema] = {
    "id": EVENT,
    "source": TEXT,
    "provider": TEXT,
    "key": TEXT,
    "type": TEXT,
    "subject": TEXT,
    "state": one_of(State),
    "final": YES_OR_NO,
    "occurred_at": maybe(TIME),
    "received_at": TIME,
    "origin": TEXT,
    "headers": TEXTS,
    "query": TEXTS,
    "result_urls": many(TEXT),
    "expires_at": maybe(TIME),
    "facts": OBJECT,
    "decision": ref("Decision"),
    "body_pruned_at": maybe(TIME),
}

_BATCH_FIELDS: dict[str, Schema] = {
    "id": BATCH,
    "source": TEXT,
    "subject": TEXT,
    "provider": TEXT,
    "kind": TEXT,
    "state": one_of(State),
    "final": YES_OR_NO,
    "begun_at": TIME,
    "heard_at": TIME,
    "ended_at": maybe(TIME),
    "events": COUNT,
    "troubles": many(one_of(Trouble)),
    "request_id": maybe(TEXT),
    "credits": record(
        reserved=maybe(NUMBER), settled=maybe(NUMBER), refunded=maybe(NUMBER)
    ),
    "facts": OBJECT,
    "stalled_at": maybe(TIME),
    "registered_at": maybe(TIME),
    "asked": COUNT,
    "next_ask_at": maybe(TIME),
    "ask_note": maybe(TEXT),
}

_DELIVERY_FIELDS: dict[str, Schema] = {
    "id": DELIVERY,
    "event_id": EVENT,
    "destination": TEXT,
    "status": one_of(Status),
    "attempts": COUNT,
    "created_at": TIME,
    "due_at": TIME,
    "settled_at": maybe(TIME),
    "replay_id": maybe(REPLAY),
    "sent_as": TEXT,
    "trigger": one_of(Trigger),
    "round_attempts": COUNT,
    "round_started_at": TIME,
    "progress": TEXT,
}

_JOIN_FIELDS: dict[str, Schema] = {
    "id": JOIN,
    "name": TEXT,
    "key": TEXT,
    "state": one_of(JoinState),
    "begun_at": TIME,
    "due_at": TIME,
    "expected": maybe(COUNT),
    "parts": COUNT,
    "failed": COUNT,
}

NOUNS: dict[str, Schema] = {
    "Problem": record(
        type=TEXT, title=TEXT, status={"type": "integer"}, code=TEXT, detail=TEXT
    ),
    "Decision": record(
        routes=many({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}),
        destinations=many(TEXT),
    ),
    "Event": record(**_EVENT_FIELDS),
    "EventInFull": record(
        **_EVENT_FIELDS,
        body=BODY,
        deliveries=many(ref("Delivery")),
        variants=many(ref("Variant")),
    ),
    "Variant": record(
        event_id=EVENT,
        kind=one_of(("conflict", "supplement", "repeat")),
        received_at=TIME,
        body=BODY,
    ),
    "Delivery": record(**_DELIVERY_FIELDS),
    "ListedDelivery": record(
        **_DELIVERY_FIELDS,
        type={**maybe(TEXT), "description": "its event's"},
        subject={**maybe(TEXT), "description": "its event's"},
        last={**maybe(ref("LastAttempt")), "description": "null: none was made"},
        wait={**maybe(ref("Wait")), "description": "null: it is settled"},
    ),
    "LastAttempt": record(
        result=one_of(Result), status_code=maybe({"type": "integer"}), detail=TEXT
    ),
    "Wait": record(
        waits_for=one_of(WaitsFor),
        why=TEXT,
        until={**maybe(TIME), "description": "null: nobody knows"},
        behind={
            **maybe(DELIVERY),
            "description": "which has to be settled before it",
        },
    ),
    "Attempt": record(
        number=COUNT,
        trigger=one_of(Trigger),
        started_at=TIME,
        duration_ms={"type": "number"},
        outcome=ref("Outcome"),
    ),
    "Outcome": record(
        result=one_of(Result),
        detail=TEXT,
        status_code=maybe({"type": "integer"}),
        retry_after_s=maybe({"type": "number"}),
        permanent=YES_OR_NO,
        pause=TEXT,
        response=TEXT,
        progress=TEXT,
    ),
    "Rejection": record(
        id=REJECTION,
        source=TEXT,
        code=TEXT,
        message=TEXT,
        received_at=TIME,
        headers=TEXTS,
        query=TEXTS,
        body_bytes=COUNT,
        carried=one_of(("unsigned", "signed", "verified")),
        client=TEXT,
        event_id=maybe(EVENT),
    ),
    "Replay": record(
        id=REPLAY,
        created_at=TIME,
        state=one_of(("running", "done", "cancelled")),
        asked=OBJECT,
        reached=maybe(EVENT),
        progress={"type": "number", "minimum": 0, "maximum": 1},
        events=COUNT,
        deliveries=COUNT,
        due_at=maybe(TIME),
        ended_at=maybe(TIME),
    ),
    "Queue": record(
        destination=TEXT,
        pending=COUNT,
        oldest_at=maybe(TIME),
        failing=maybe(DELIVERY),
        blocking=maybe(DELIVERY),
    ),
    "Destination": record(
        name=TEXT,
        type=maybe(TEXT),
        described=TEXT,
        state=TEXT,
        why=maybe(TEXT),
        queue=ref("Queue"),
        pace=maybe(ref("Pace")),
    ),
    "Pace": record(
        concurrency=COUNT,
        max_rate=maybe(TEXT),
        ordering=one_of(("none", "subject")),
        timeout_s=NUMBER,
        max_attempts=COUNT,
        max_age_s=NUMBER,
    ),
    "Source": record(
        name=TEXT, provider=TEXT, path=TEXT, signs=many(TEXT), heard_at=maybe(TIME)
    ),
    "Tally": record(
        source=TEXT,
        destination=TEXT,
        decided=COUNT,
        by_status={"type": "object", "additionalProperties": COUNT},
        difference={"type": "integer"},
    ),
    "Batch": record(**_BATCH_FIELDS),
    "BatchInFull": record(
        **_BATCH_FIELDS,
        steps=many(ref("Step")),
        items=many(OBJECT),
        result_urls=many(TEXT),
    ),
    "Step": record(
        event_id=EVENT,
        type=TEXT,
        state=one_of(State),
        final=YES_OR_NO,
        occurred_at=maybe(TIME),
        received_at=TIME,
        origin=TEXT,
        standing=maybe(one_of(Standing)),
    ),
    "Join": record(**_JOIN_FIELDS),
    "JoinInFull": record(**_JOIN_FIELDS, events=many(ref("Part"))),
    "Part": record(source=TEXT, subject=TEXT, event_id=EVENT, failed=YES_OR_NO),
    "CreditsLine": record(
        day=maybe({"type": "string", "format": "date"}),
        source=maybe(TEXT),
        subjects=COUNT,
        reserved=NUMBER,
        settled=NUMBER,
        refunded=NUMBER,
        missing=NUMBER,
        over=NUMBER,
        mismatches=COUNT,
    ),
    "AuditEntry": record(id=COUNT, at=TIME, who=TEXT, what=TEXT, details=OBJECT),
}


def inlined(schema: Any) -> Any:
    """The schema with what it refers to put in its place."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            return inlined(NOUNS[schema["$ref"].rpartition("/")[2]])
        return {name: inlined(value) for name, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [inlined(value) for value in schema]
    return schema
