"""
Replicate, asked about a prediction: `GET /predictions/{id}`.

The answer is the prediction, and so is the body of the webhook.  Input and output are
deleted after an hour; what became of the prediction stays known.

Sources: https://replicate.com/docs/reference/http#predictions.get and
https://replicate.com/docs/topics/webhooks/receive-webhook.
"""

import json

from receiver.providers.status.base import (
    JSON_HEADERS,
    Conversation,
    Found,
    Made,
    Query,
    StatusApi,
    about,
    answered,
    segment,
)
from receiver.providers.values import text

ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})


class ReplicateStatus(StatusApi):
    """See the module."""

    base = "https://api.replicate.com/v1"

    def ask(self, subject: str) -> Conversation:
        reply = yield Query(f"/predictions/{segment(subject)}")
        prediction = about(answered(reply), "id", subject)
        word = text(prediction.get("status"))
        if word not in ENDED:
            return Found(word, False)
        headers = {**JSON_HEADERS, "webhook-id": f"reconciled_{subject}_{word}"}
        body = json.dumps(prediction, separators=(",", ":")).encode()
        return Found(word, True, (Made(body, headers),))
