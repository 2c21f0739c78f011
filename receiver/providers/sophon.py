"""
SOPHON, the video encoding service: its job webhooks.

`X-Turbo-Signature-256: sha256=<hex>` is HMAC-SHA256 over the text of
`X-Turbo-Timestamp`, exactly as received, a dot, and the raw body.  The key is the
secret's own text: 64 hex digits that are not decoded.  Only terminal events are sent,
at most three times within about 70 seconds, in any order.

Source: the provider's openapi.yaml (tag "Webhook Events") and its SDKs' webhook
helpers, which agree on all of this.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from receiver.clock import iso
from receiver.errors import Rejected
from receiver.models import Headers, Reading, Request, Secret, Signed, State
from receiver.providers.checks import check_age, moment_from
from receiver.settings import Source
from receiver.signatures import hmac_sha256_hex, matches_any

SIGNATURE = "x-turbo-signature-256"
TIMESTAMP = "x-turbo-timestamp"
EVENT_ID = "x-turbo-event-id"

TOLERANCE = timedelta(minutes=5)
"""The SDKs' own window; the source's `tolerance` replaces it."""

_STATES = {
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
    "canceled": State.CANCELLED,
}


class Sophon:
    """See the module; implements `receiver.providers.Provider`."""

    name = "sophon"
    signs: frozenset[Signed] = frozenset({"body", "timestamp"})
    signature_headers = frozenset({SIGNATURE})

    def is_test_ping(self, request: Request) -> bool:  # noqa: ARG002 (it has none)
        return False

    def verify(self, request: Request, source: Source) -> None:
        timestamp = request.headers.get(TIMESTAMP, "")
        if source.secrets:
            _verify_signature(request, timestamp, source.secrets)
        tolerance = source.tolerance or TOLERANCE
        check_age(moment_from(timestamp), request.received_at, tolerance)

    def read(self, request: Request, data: Any) -> Reading:
        body: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        found = {name: body.get(name) for name in ("event_id", "type", "job_id")}
        for name, value in found.items():
            if not isinstance(value, str) or not value:
                raise Rejected(400, "malformed_body", f"the body has no {name}")
        if request.headers.get(EVENT_ID, found["event_id"]) != found["event_id"]:
            message = f"the header {EVENT_ID} names another event than the signed body"
            raise Rejected(400, "event_id_mismatch", message)
        status = body.get("status")
        state = _STATES.get(status) if isinstance(status, str) else None
        return Reading(
            key=str(found["event_id"]),
            type=str(found["type"]),
            subject=str(found["job_id"]),
            state=state or State.UNKNOWN,
            final=state is not None,
            occurred_at=moment_from(body.get("timestamp")),
            facts={"type": str(found["type"]), "state": str(state or State.UNKNOWN)},
        )

    def sign(self, body: bytes, secret: Secret, now: datetime) -> Headers:
        timestamp = iso(now)
        digest = hmac_sha256_hex(secret.encode(), f"{timestamp}.".encode() + body)
        return {SIGNATURE: f"sha256={digest}", TIMESTAMP: timestamp}

    def samples(self, subject: str, now: datetime) -> Mapping[str, bytes]:
        return {
            f"job.{status}": json.dumps(
                {
                    "event_id": f"evt_{subject}_{status}",
                    "type": f"job.{status}",
                    "timestamp": iso(now),
                    "job_id": subject,
                    "status": status,
                    "metadata": {"order": "A-17"},
                },
                separators=(",", ":"),
            ).encode()
            for status in _STATES
        }


def _verify_signature(
    request: Request, timestamp: str, secrets: tuple[Secret, ...]
) -> None:
    given = request.headers.get(SIGNATURE)
    if given is None:
        raise Rejected(401, "signature_missing", f"{SIGNATURE} is not there")
    signed = timestamp.encode("latin-1", "replace") + b"." + request.body
    digests = [hmac_sha256_hex(secret.encode(), signed) for secret in secrets]
    right_form = given.startswith("sha256=")
    if not matches_any(given[7:].strip().lower(), digests) or not right_form:
        message = "no configured secret gives this signature for the bytes received"
        raise Rejected(401, "signature_mismatch", message)
