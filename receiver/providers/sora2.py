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
from datetime import datetime
from typing import Any

from receiver.clock import iso
from receiver.errors import Rejected
from receiver.models import Headers, Reading, Request, Scalar, Secret, Signed, State
from receiver.providers.checks import check_age, moment_from
from receiver.settings import Source
from receiver.signatures import hmac_sha256_hex, matches_any

DOCUMENTED = "x-sora2-signature"
AS_SENT = "x-webhook-signature"
TIMESTAMP = "x-sora2-timestamp"
BATCH_ID = "x-batch-id"

CREDITS_EACH = 10

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
_FINAL_TYPES = frozenset({"batch.completed", "batch.failed", "batch.refunded"})


class Sora2:
    """See the module; implements `receiver.providers.Provider`."""

    name = "sora2"
    signs: frozenset[Signed] = frozenset({"body"})
    signature_headers = frozenset({DOCUMENTED, AS_SENT})

    def is_test_ping(self, request: Request) -> bool:
        """Operators test an endpoint with an unsigned `{"event":"test"}`."""
        headers = request.headers
        if DOCUMENTED in headers or AS_SENT in headers or len(request.body) > 64:
            return False
        try:
            return bool(json.loads(request.body) == {"event": "test"})
        except ValueError:
            return False

    def verify(self, request: Request, source: Source) -> None:
        if source.secrets:
            _verify_signature(request, source.secrets)
        if source.tolerance is not None:
            header = moment_from(request.headers.get(TIMESTAMP))
            moment = header or _body_moment(request.body)
            check_age(moment, request.received_at, source.tolerance)

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

    def sign(self, body: bytes, secret: Secret, now: datetime) -> Headers:
        """As documented, or as really sent where the body has that form."""
        digest = hmac_sha256_hex(secret.encode(), body)
        try:
            data = _table(json.loads(body))
        except (ValueError, RecursionError):
            data = {}  # bytes of any kind can be signed
        if "event" in data or "batch_id" not in data:
            return {DOCUMENTED: f"sha256={digest}", TIMESTAMP: iso(now)}
        return {AS_SENT: digest, BATCH_ID: str(data["batch_id"])}

    def samples(self, subject: str, now: datetime) -> Mapping[str, bytes]:
        """The five documented events of one batch, and `as-sent`, its flat form."""
        return {
            name: json.dumps(body, separators=(",", ":")).encode()
            for name, body in _sample_bodies(subject, now).items()
        }


def _verify_signature(request: Request, secrets: tuple[Secret, ...]) -> None:
    documented = request.headers.get(DOCUMENTED)
    as_sent = request.headers.get(AS_SENT)
    if documented is None and as_sent is None:
        message = f"neither {DOCUMENTED} nor {AS_SENT} is there"
        raise Rejected(401, "signature_missing", message)
    digests = [hmac_sha256_hex(secret.encode(), request.body) for secret in secrets]
    valid = (documented or "").startswith("sha256=") and matches_any(
        (documented or "")[7:].lower(), digests
    )
    if not (valid or matches_any((as_sent or "").lower(), digests)):
        message = "no configured secret gives this signature for the bytes received"
        raise Rejected(401, "signature_mismatch", message)


def _body_moment(body: bytes) -> datetime | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return moment_from(data.get("timestamp")) if isinstance(data, dict) else None


def _read_documented(body: Mapping[str, Any], batch_id: str) -> Reading:
    kind = body["event"]
    if not isinstance(kind, str) or not kind:
        raise Rejected(400, "malformed_body", "event is not a text")
    facts: dict[str, Scalar] = {}
    summary, ledger = _table(body.get("summary")), _table(body.get("ledger"))
    for name in ("total", "succeeded", "failed", "pending", "running"):
        _note(facts, name, summary.get(name))
    for name in ("reserved", "settled", "refunded"):
        _note(facts, name, ledger.get(name))
    state = _state(kind, body, facts)
    refunded = f":{facts.get('refunded', 0)}" if kind == "batch.refunded" else ""
    return Reading(
        key=f"{batch_id}:{kind}{refunded}",
        type=kind,
        subject=batch_id,
        state=state,
        final=kind in _FINAL_TYPES,
        occurred_at=moment_from(body.get("timestamp")),
        facts=facts | {"state": str(state)},
        result_urls=_video_urls(body.get("items")),
    )


def _read_as_sent(body: Mapping[str, Any], batch_id: str) -> Reading:
    """The flat form is sent once a batch has ended, so it is `batch.completed`."""
    if "status" not in body:
        raise Rejected(400, "malformed_body", "the body has neither event nor status")
    facts: dict[str, Scalar] = {}
    _note(facts, "total", body.get("total_count"))
    _note(facts, "succeeded", body.get("success_count"))
    _note(facts, "failed", body.get("failed_count"))
    _note(facts, "settled", body.get("credits_spent"))
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


def _video_urls(items: Any) -> tuple[str, ...]:
    if not isinstance(items, list):
        return ()
    found = (_table(item).get("video_url") for item in items)
    return tuple(url for url in found if isinstance(url, str) and url)


def _note(facts: dict[str, Scalar], name: str, value: Any) -> None:
    """Keep a count; anything else the field may hold is not a fact."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        facts[name] = value


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sample_bodies(batch_id: str, now: datetime) -> dict[str, dict[str, Any]]:
    head = {"batch_id": batch_id, "request_id": f"order-{batch_id[-6:]}"}
    tail = {"timestamp": iso(now)}
    items = [
        {
            "item_id": f"item_{i + 1:03}",
            "index": i,
            "status": "succeeded",
            "video_url": f"https://cdn.sora2aivideos.com/v/{batch_id}-{i + 1:03}.mp4",
        }
        for i in range(9)
    ]
    timed_out = {"error": "Model timeout", "failure_type": "timeout"}
    items.append({"item_id": "item_010", "index": 9, "status": "failed", **timed_out})
    fresh = {"total": 10, "succeeded": 0, "failed": 0, "pending": 10}
    ended = {"total": 10, "succeeded": 9, "failed": 1, "pending": 0}
    reserved = {"reserved": 100, "settled": 0, "refunded": 0}
    settled = {"reserved": 100, "settled": 90, "refunded": 10}
    refund = {"item_id": "item_010", "index": 9, "credits": CREDITS_EACH}
    refund["reason"] = "Model timeout"
    return {
        "batch.created": {"event": "batch.created", **head, "status": "pending"}
        | {"summary": fresh, "ledger": reserved, **tail},
        "batch.running": {"event": "batch.running", **head, "status": "running"}
        | {
            "summary": {**fresh, "pending": 7, "running": 3},
            "ledger": reserved,
            **tail,
        },
        "batch.completed": {"event": "batch.completed", **head, "status": "partial"}
        | {"summary": ended, "ledger": settled, "items": items}
        | {"duration_ms": 125_000, **tail},
        "batch.failed": {"event": "batch.failed", **head, "status": "failed"}
        | {"error": "INSUFFICIENT_CREDITS", "summary": fresh}
        | {"error_message": "Not enough credits to process batch"}
        | {"ledger": {"reserved": 0, "settled": 0, "refunded": 0}, **tail},
        "batch.refunded": {"event": "batch.refunded", **head, "ledger": settled}
        | {"refund_reason": "failed_items", "refund_details": [refund], **tail},
        "as-sent": {"batch_id": batch_id, "user_id": "user-1", "status": "partial"}
        | {"total_count": 10, "success_count": 9, "failed_count": 1}
        | {"credits_spent": 90, "timestamp": int(now.timestamp() * 1000)},
    }
