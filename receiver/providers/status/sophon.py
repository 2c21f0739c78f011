"""
SOPHON, asked about a job: `GET /v1/jobs/{id}`.

The webhook's `event_id` is not in the answer, so the made one has an id of its own; a
job ends once, so the job and how it ended are the key of both.

Source: the provider's openapi.yaml, schemas JobResponse and WebhookPayload.
"""

from receiver.providers.status.base import (
    Conversation,
    Found,
    Query,
    StatusApi,
    about,
    answered,
    inner,
    made,
    segment,
)
from receiver.providers.values import first_text, text

ENDED = frozenset({"completed", "failed", "canceled"})


class SophonStatus(StatusApi):
    """See the module."""

    base = "https://api.liqhtworks.xyz"

    def ask(self, subject: str) -> Conversation:
        reply = yield Query(f"/v1/jobs/{segment(subject)}")
        job = about(answered(reply), "id", subject)
        word = text(job.get("status"))
        if word not in ENDED:
            return Found(word, False)
        body = {
            "event_id": f"evt_reconciled_{subject}_{word}",
            "type": f"job.{word}",
            "timestamp": first_text(job.get("completed_at"), job.get("created_at")),
            "job_id": subject,
            "status": word,
            "metadata": inner(job, "metadata"),
        }
        return Found(word, True, (made(body),))
