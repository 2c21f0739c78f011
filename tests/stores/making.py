"""Events, decisions, attempts and steps for tests of stores, and what must add up."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from receiver.ledger import Ledger
from receiver.models import (
    Attempt,
    Carried,
    Claim,
    Decision,
    Delivery,
    Event,
    Outcome,
    Rejection,
    Result,
    State,
    Status,
    Step,
)
from receiver.stores import Claimed, DeliveryFilter, EventFilter, Reader, Store

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
MUCH = 10_000_000
ALL_EVENTS = EventFilter()
ALL_DELIVERIES = DeliveryFilter()

_keys = itertools.count()


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def event(
    key: str | None = None,
    *,
    source: str = "sora2",
    type: str = "batch.completed",  # noqa: A002 (the event's own word)
    subject: str = "batch_1",
    body: bytes = b'{"id": "batch_1"}',
    at: datetime = NOW,
    occurred_at: datetime | None = None,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
) -> Event:
    """An event; without a key it has one of its own."""
    return Event(
        id="",
        source=source,
        provider="sora2",
        key=f"key-{next(_keys)}" if key is None else key,
        type=type,
        subject=subject,
        state=State.PARTIAL,
        final=True,
        occurred_at=occurred_at,
        received_at=at,
        origin="webhook",
        headers={"content-type": "application/json"} if headers is None else headers,
        query=query or {},
        body=body,
    )


def decision(*destinations: str) -> Decision:
    return Decision((("all", "matched"), ("none", "type")), destinations)


async def accepted(
    store: Store, *destinations: str, key: str | None = None, at: datetime = NOW
) -> str:
    """The id of an event that was just added for these destinations."""
    added = await store.add(event(key, at=at), decision(*destinations), {})
    assert added.created
    return added.event_id


async def claim(
    store: Store,
    destination: str = "crm",
    *,
    owner: str = "one",
    now: datetime = NOW,
    limit: int = 100,
    max_bytes: int = MUCH,
    lease_s: float = 3_600,
    by_hand: bool = False,
) -> Claimed:
    return await store.claim(
        destination,
        owner=owner,
        now=now,
        limit=limit,
        max_bytes=max_bytes,
        lease_s=lease_s,
        by_hand=by_hand,
    )


def ids(claims: Iterable[Claim]) -> list[str]:
    return [claim.delivery.id for claim in claims]


def attempt(
    of: Claim, result: Result = Result.OK, *, at: datetime = NOW, progress: str = ""
) -> Attempt:
    outcome = Outcome(result, "said so", status_code=200, progress=progress)
    delivery = of.delivery
    return Attempt(delivery.attempts + 1, delivery.trigger, at, 12.5, outcome)


DELIVERED = Step(Status.DELIVERED, NOW + seconds(1))
DEAD = Step(Status.DEAD, NOW + seconds(1), "given up")
AGAIN = Step(Status.PENDING, NOW + seconds(60))


async def record(store: Store, of: Claim, step: Step = DELIVERED) -> bool:
    result = Result.OK if step.status is Status.DELIVERED else Result.TIMEOUT
    return await store.record(of, attempt(of, result), step)


async def deliveries(
    reader: Reader, where: DeliveryFilter = ALL_DELIVERIES
) -> Sequence[Delivery]:
    return await reader.deliveries(where, limit=10_000, newest_first=False)


def rejection(
    body: bytes = b"{}",
    *,
    source: str = "sora2",
    at: datetime = NOW,
    carried: Carried = "signed",
) -> Rejection:
    return Rejection(
        id="",
        source=source,
        code="signature_mismatch",
        message="the signature is not ours",
        received_at=at,
        headers={"x-signature": "v1=00"},
        query={"a": "b"},
        body=body,
        body_bytes=len(body),
        carried=carried,
        client="203.0.113.7",
    )


async def difference(reader: Reader) -> int:
    return Ledger(await reader.ledger(), await reader.totals()).difference


async def assert_adds_up(*readers: Reader) -> None:
    """The queues equal a recount, and the ledger's difference is 0."""
    for reader in readers:
        found = await deliveries(reader, DeliveryFilter(status=Status.PENDING))
        waiting = {q.destination: q for q in await reader.queues() if q.pending}
        counted = Counter(delivery.destination for delivery in found)
        assert {name: queue.pending for name, queue in waiting.items()} == counted
        assert await difference(reader) == 0


async def one_claim(store: Store, lease_s: float = 3_600) -> Claim:
    """The claim on the only delivery of a new event."""
    await accepted(store, "crm")
    [found] = (await claim(store, lease_s=lease_s)).claims
    return found
