"""The nouns: what every other module speaks about.  Frozen; no behaviour to speak of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, NamedTuple

Headers = Mapping[str, str]
"""Header names in lower case; a repeated header's values are joined with `, `."""

Signed = Literal["body", "timestamp", "id"]
"""What a signature can cover."""

OnDead = Literal["skip", "block"]
"""What becomes of a subject when one of its deliveries is dead, where order is kept."""

Scalar = str | int | float | bool | None


class Secret(str):
    """Text that must not be shown: its `repr` is stars, its value is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class State(StrEnum):
    """What has become of the subject, in one vocabulary for all providers."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """What has become of a delivery.  One that runs is still `pending`."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """Why an attempt was made."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"


class Result(StrEnum):
    """How one attempt ended."""

    OK = "ok"
    HTTP_STATUS = "http_status"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    BAD_CONFIG = "bad_config"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: `20/s`, `90/m`, `1000/h`."""

    count: float
    seconds: int

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def __str__(self) -> str:
        unit = {1: "s", 60: "m", 3600: "h"}[self.seconds]
        return f"{self.count:g}/{unit}"


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Why a destination is given nothing, or next to nothing, and until when."""

    by: Literal["breaker", "retry_after"]
    why: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to a source path, as it arrived."""

    headers: Headers
    query: Mapping[str, str]
    body: bytes
    received_at: datetime
    client: str = ""
    """The address it came from, where somebody asks for that."""


class Reading(NamedTuple):
    """
    What a provider made of a verified body.

    `key` makes two requests the same event within a source.  `facts` are what two
    requests of one key must agree on (counters, credits, state); `final` says that
    nothing about the subject will change any more.
    """

    key: str
    type: str
    subject: str
    state: State
    final: bool
    occurred_at: datetime | None = None
    facts: Mapping[str, Scalar] = {}
    result_urls: tuple[str, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """
    One accepted webhook.  It never changes, and its body is kept byte for byte.

    This is what a Python handler is given.  `data` is the parsed body; `headers` are
    the provider's, with `authorization` and cookies masked.
    """

    id: str
    source: str
    provider: str
    key: str
    type: str
    subject: str
    state: State
    final: bool
    occurred_at: datetime | None
    received_at: datetime
    origin: str
    headers: Headers
    query: Mapping[str, str]
    body: bytes
    result_urls: tuple[str, ...] = ()
    expires_at: datetime | None = None

    @cached_property
    def data(self) -> Any:
        """The body, parsed; None where it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def event_of(
    source: str,
    provider: str,
    request: Request,
    reading: Reading,
    *,
    origin: str,
    id: str = "",  # noqa: A002 (the name users see)
) -> Event:
    """The event that a request is, by what its provider read in it."""
    return _made(
        id=id,
        source=source,
        provider=provider,
        key=reading.key,
        type=reading.type,
        subject=reading.subject,
        state=reading.state,
        final=reading.final,
        occurred_at=reading.occurred_at,
        received_at=request.received_at,
        origin=origin,
        headers=request.headers,
        query=request.query,
        body=request.body,
        result_urls=reading.result_urls,
        expires_at=reading.expires_at,
    )


def changed(event: Event, **fields: object) -> Event:
    """A copy with other values in some fields, as `dataclasses.replace` makes it."""
    known = vars(event) | fields
    known.pop("data", None)
    return _made(**known)


def _made(**fields: object) -> Event:
    """An event with all its fields: frozen, it would set one after the other, slowly."""
    event = object.__new__(Event)
    vars(event).update(fields)
    return event


Verdict = Literal["matched", "type", "when", "failed"]
"""What a route said: it matched, its types or its `when` did not, its `when` failed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which routes matched an event, what the others said, and so where it goes."""

    routes: tuple[tuple[str, Verdict], ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    One event on its way to one destination.

    `attempts` counts all that were made; `round_attempts` and `round_started_at`
    belong to the current round, which a manual retry starts anew.  `progress` is what
    the destination remembers between attempts (which recipients have it already).
    """

    id: str
    event_id: str
    destination: str
    status: Status
    attempts: int
    created_at: datetime
    due_at: datetime
    settled_at: datetime | None
    replay_id: str | None
    sent_as: str
    trigger: Trigger
    round_attempts: int
    round_started_at: datetime
    progress: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right, for a while, to attempt a delivery; only its holder can record."""

    token: int
    delivery: Delivery
    event: Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What one attempt came to.

    `detail` is a sentence for the operator, without secrets.  `permanent` means that
    another attempt cannot help *this* delivery; `pause` names a reason for which no
    delivery to this destination can succeed until somebody mends it.
    """

    result: Result
    detail: str = ""
    status_code: int | None = None
    retry_after_s: float | None = None
    permanent: bool = False
    pause: str = ""
    response: str = ""
    progress: str = ""

    @property
    def ok(self) -> bool:
        return self.result is Result.OK


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a delivery, as recorded."""

    number: int
    trigger: Trigger
    started_at: datetime
    duration_ms: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Step:
    """What follows an attempt: the delivery's new status, and when it is due again."""

    status: Status
    due_at: datetime
    reason: str = ""


Carried = Literal["unsigned", "signed", "verified"]
"""What a refused request had to show: nothing, a signature, or one that was right."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """
    A refused request, kept so that it can be understood, and verified again.

    `body` may be only the beginning of `body_bytes` bytes.  `event_id` is the event it
    became when it was verified again.
    """

    id: str
    source: str
    code: str
    message: str
    received_at: datetime
    headers: Headers
    query: Mapping[str, str]
    body: bytes
    body_bytes: int
    carried: Carried = "signed"
    client: str = ""
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """A later request with an earlier event's key and another body."""

    event_id: str
    kind: Literal["conflict", "supplement", "repeat"]
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which a destination was given nothing; open while `ended_at` is None."""

    destination: str
    started_at: datetime
    ended_at: datetime | None
    reason: str


class ReplayState(StrEnum):
    """Whether a replay still makes deliveries."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Replay:
    """
    New deliveries of stored events, as they were asked for.

    `progress` is 0 to 1, by the events it finds, or where they are many by where in
    time it is; `events` are those gone through so far, the last one being `reached`.
    """

    id: str
    created_at: datetime
    asked: Mapping[str, Any]
    state: ReplayState
    reached: str | None
    progress: float
    events: int
    deliveries: int
    due_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """How far a running replay came: the last event, how many, when the next is due."""

    reached: str
    events: int
    progress: float
    due_at: datetime
    done: bool


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Somebody changed something by hand."""

    id: int
    at: datetime
    who: str
    what: str
    details: Mapping[str, Any]
