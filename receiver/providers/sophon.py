"""
SOPHON, the video encoding service: its job webhooks.

`X-Turbo-Signature-256: sha256=<hex>` is HMAC-SHA256 over the text of
`X-Turbo-Timestamp`, exactly as received, a dot, and the raw body.  The key is the
secret's own text: 64 hex digits that are not decoded.  Only terminal events are sent,
at most three times within about 70 seconds, in any order.  A job ends once, so the job
and how it ended are the key: the same for what its API says of it, which has no event id.

Source: the provider's openapi.yaml (tag "Webhook Events") and its SDKs' webhook
helpers, which agree on all of this.
"""

import json
from datetime import timedelta
from typing import Any

from receiver.errors import Rejected
from receiver.models import Headers, Reading, Request, State
from receiver.providers.base import Provider
from receiver.providers.values import table, text
from receiver.schemes import Scheme, moment_from

EVENT_ID = "x-turbo-event-id"

_STATES = {
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
    "canceled": State.CANCELLED,
}


class Sophon(Provider):
    """See the module."""

    schemes = (
        Scheme(
            header="x-turbo-signature-256",
            prefix="sha256=",
            signed="{timestamp}.{body}",
            timestamp_header="x-turbo-timestamp",
            timestamp_format="iso",
        ),
    )
    tolerance = timedelta(minutes=5)
    status_api = "sophon"

    def read(self, request: Request, data: Any) -> Reading:
        body = table(data)
        found = {name: text(body.get(name)) for name in ("event_id", "type", "job_id")}
        for name, value in found.items():
            if not value:
                raise Rejected(400, "malformed_body", f"the body has no {name}")
        if request.headers.get(EVENT_ID, found["event_id"]) != found["event_id"]:
            message = f"the header {EVENT_ID} names another event than the signed body"
            raise Rejected(400, "event_id_mismatch", message)
        state = _STATES.get(text(body.get("status")))
        return Reading(
            key=f"{found['job_id']}:{found['type']}",
            type=found["type"],
            subject=found["job_id"],
            state=state or State.UNKNOWN,
            final=state is not None,
            occurred_at=moment_from(body.get("timestamp")),
            facts={"type": found["type"], "state": str(state or State.UNKNOWN)},
        )

    def sending_headers(self, body: bytes, message_id: str) -> Headers:
        try:
            event_id = text(table(json.loads(body)).get("event_id"))
        except (ValueError, RecursionError):
            event_id = ""
        return {EVENT_ID: event_id or message_id}
