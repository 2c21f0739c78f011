"""
The Sora2 Enterprise Batch API, in both forms its webhooks take.

Documented (docs/WEBHOOK_EVENTS.md of the provider, version 1.0): nested JSON with
`event`, `summary` and `ledger`; `x-sora2-signature: sha256=<hex>`; the timestamp in
`x-sora2-timestamp` is not signed.  Really sent (the provider's lib/batch/webhook.ts):
flat JSON with counts, once, when a batch has ended; `x-webhook-signature: <hex>` and
`x-batch-id`.  Both are HMAC-SHA256 over the raw body; re-serialising it, as the
documentation's own sample does, would break the signature.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.errors import Rejected
from receiver.models import Headers, Reading, Request, Scalar, State
from receiver.providers.base import Provider
from receiver.providers.values import count, counts, links, table, whole
from receiver.schemes import Scheme, moment_from
from receiver.settings import Source, option

DOCUMENTED = Scheme(
    header="x-sora2-signature",
    prefix="sha256=",
    timestamp_header="x-sora2-timestamp",
    timestamp_format="iso",
)
AS_SENT = Scheme(header="x-webhook-signature")
BATCH_ID = "x-batch-id"
LONGEST_FACT = 200

_WORDS = {
    "pending": State.PENDING,
    "queued": State.PENDING,
    "running": State.RUNNING,
    "processing": State.RUNNING,
    "succeeded": State.SUCCEEDED,
    "completed": State.SUCCEEDED,
    "partial": State.PARTIAL,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
}
_BY_TYPE = {
    "batch.created": State.PENDING,
    "batch.running": State.RUNNING,
    "batch.failed": State.FAILED,
}
_COUNTERS = ("total", "succeeded", "failed", "pending", "running")
_CREDITS = ("reserved", "settled", "refunded")
_FINAL_TYPES = frozenset({"batch.completed", "batch.failed", "batch.refunded"})


@dataclass(frozen=True)
class Sora2Source(Source):
    credits_per_item: int | None = option(
        None,
        help="what an item costs, where all cost the same: lets what was charged be "
        "checked against what succeeded",
        least=1,
    )


class Sora2(Provider):
    """See the module."""

    schemes = (DOCUMENTED, AS_SENT)
    status_api = "sora2"

    @property
    def item_cost(self) -> int | None:
        source = self.source
        return source.credits_per_item if isinstance(source, Sora2Source) else None

    def expects(self, facts: Mapping[str, Scalar]) -> frozenset[State]:
        """
        As documented a batch is told of when it is made, and when it runs.  As sent
        there is one event, which says nothing of what was held; and a batch for which
        nothing could be held was never made.
        """
        if not facts.get("reserved"):
            return frozenset()
        ran = facts.get("succeeded") or facts.get("settled")
        told = (State.PENDING, State.RUNNING) if ran else (State.PENDING,)
        return frozenset(told)

    def is_test_ping(self, request: Request) -> bool:
        """Operators test an endpoint with an unsigned `{"event":"test"}`."""
        if len(request.body) > 64:
            return False
        if not self.signature_headers.isdisjoint(request.headers):
            return False
        try:
            return bool(json.loads(request.body) == {"event": "test"})
        except ValueError:
            return False

    def moment(self, request: Request) -> datetime | None:
        return moment_from(_loaded(request.body).get("timestamp"))

    def read(self, request: Request, data: Any) -> Reading:
        if not isinstance(data, Mapping):
            raise Rejected(400, "malformed_body", "the body is not a JSON object")
        body: Mapping[str, Any] = data
        batch_id = body.get("batch_id")
        if not isinstance(batch_id, str) or not batch_id:
            raise Rejected(400, "missing_batch_id", "the body has no batch_id")
        claimed = request.headers.get(BATCH_ID)
        if claimed is not None and claimed != batch_id:
            message = f"the header {BATCH_ID} names another batch than the signed body"
            raise Rejected(400, "batch_id_mismatch", message)
        if "event" in body:
            return _read_documented(body, batch_id)
        return _read_as_sent(body, batch_id)

    def scheme_for(self, body: bytes, secret: str = "") -> Scheme:  # noqa: ARG002
        """As documented, or as really sent where the body has that form."""
        data = _loaded(body)
        return AS_SENT if "batch_id" in data and "event" not in data else DOCUMENTED

    def sending_headers(self, body: bytes, message_id: str) -> Headers:  # noqa: ARG002
        if self.scheme_for(body) is DOCUMENTED:
            return {}
        return {BATCH_ID: str(_loaded(body)["batch_id"])}


def _loaded(body: bytes) -> Mapping[str, Any]:
    """A body that was not parsed yet, and may be anything."""
    try:
        return table(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _read_documented(body: Mapping[str, Any], batch_id: str) -> Reading:
    kind = body["event"]
    if not isinstance(kind, str) or not kind:
        raise Rejected(400, "malformed_body", "event is not a text")
    summary, ledger = table(body.get("summary")), table(body.get("ledger"))
    facts = counts({name: summary.get(name) for name in _COUNTERS})
    facts |= counts({name: ledger.get(name) for name in _CREDITS})
    facts |= _texts({name: body.get(name) for name in ("request_id", "refund_reason")})
    facts |= _given_back(body.get("refund_details"))
    state = _state(kind, body, facts)
    refunded = f":{facts.get('refunded', 0)}" if kind == "batch.refunded" else ""
    items = body.get("items")
    items = items if isinstance(items, list) else []
    return Reading(
        key=f"{batch_id}:{kind}{refunded}",
        type=kind,
        subject=batch_id,
        state=state,
        final=kind in _FINAL_TYPES,
        occurred_at=moment_from(body.get("timestamp")),
        facts=facts | {"state": str(state)},
        result_urls=links([table(item).get("video_url") for item in items]),
    )


def _texts(values: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        name: whole(value[:LONGEST_FACT])
        for name, value in values.items()
        if isinstance(value, str) and value
    }


def _given_back(details: Any) -> dict[str, Scalar]:
    """For how many items credits were given back, and how many credits in all."""
    if not isinstance(details, list):
        return {}
    amounts = [count(table(item).get("credits")) for item in details]
    known = [amount for amount in amounts if amount is not None]
    total = {"refund_credits": sum(known)} if len(known) == len(amounts) else {}
    return {"refund_items": len(details), **total}


def _read_as_sent(body: Mapping[str, Any], batch_id: str) -> Reading:
    """The flat form is sent once a batch has ended, so it is `batch.completed`."""
    if "status" not in body:
        raise Rejected(400, "malformed_body", "the body has neither event nor status")
    facts = counts(
        {
            "total": body.get("total_count"),
            "succeeded": body.get("success_count"),
            "failed": body.get("failed_count"),
            "settled": body.get("credits_spent"),
        }
    )
    state = _state("batch.completed", body, facts)
    return Reading(
        key=f"{batch_id}:batch.completed",
        type="batch.completed",
        subject=batch_id,
        state=state,
        final=True,
        occurred_at=moment_from(body.get("timestamp")),
        facts=facts | {"state": str(state)},
    )


def _state(kind: str, body: Mapping[str, Any], facts: Mapping[str, Scalar]) -> State:
    """From the counters or credits where there are any: the word may contradict them."""
    if kind == "batch.refunded":
        return _state_from_credits(body, facts)
    if kind == "batch.completed":
        counted = _state_from_counts(facts)
        if counted is not None:
            return counted
    word = body.get("status")
    said = _WORDS.get(word, State.UNKNOWN) if isinstance(word, str) else None
    return said or _BY_TYPE.get(kind, State.UNKNOWN)


def _state_from_counts(facts: Mapping[str, Scalar]) -> State | None:
    succeeded, failed = facts.get("succeeded"), facts.get("failed")
    total = facts.get("total")
    if not isinstance(succeeded, int) or not isinstance(failed, int):
        return None
    whole = total if isinstance(total, int) and total else succeeded + failed
    if whole == 0:
        return None
    if succeeded >= whole:
        return State.SUCCEEDED
    return State.PARTIAL if succeeded else State.FAILED


def _state_from_credits(body: Mapping[str, Any], facts: Mapping[str, Scalar]) -> State:
    settled, refunded = facts.get("settled"), facts.get("refunded")
    if not isinstance(settled, int) or not isinstance(refunded, int):
        return State.UNKNOWN
    if settled > 0:
        return State.PARTIAL if refunded > 0 else State.SUCCEEDED
    cancelled = body.get("refund_reason") == "batch_cancelled"
    return State.CANCELLED if cancelled else State.FAILED
