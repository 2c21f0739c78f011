"""
OpenAI, asked about a video or a batch: `GET /videos/{id}`, `GET /batches/{id}`.

Its webhooks are thin, so all of one can be made but its ids.

Sources: https://developers.openai.com/api/reference/resources/videos/methods/retrieve,
https://developers.openai.com/api/reference/resources/batches/methods/retrieve and
https://developers.openai.com/api/docs/guides/webhooks.
"""

from collections.abc import Mapping

from receiver.providers.status.base import (
    Conversation,
    Found,
    Query,
    StatusApi,
    UnknownSubject,
    about,
    answered,
    made,
    segment,
)
from receiver.providers.values import count, text

_KINDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "video": ("videos", frozenset({"completed", "failed"})),
    "batch": ("batches", frozenset({"completed", "failed", "cancelled", "expired"})),
}


class OpenaiStatus(StatusApi):
    """See the module."""

    base = "https://api.openai.com/v1"

    def ask(self, subject: str) -> Conversation:
        kind = subject.partition("_")[0]
        if kind not in _KINDS:
            raise UnknownSubject("only videos and batches can be asked for")
        place, ended = _KINDS[kind]
        reply = yield Query(f"/{place}/{segment(subject)}")
        found = about(answered(reply), "id", subject)
        word = text(found.get("status"))
        if word not in ended:
            return Found(word, False)
        made_id = f"reconciled_{subject}_{word}"
        moments = (found.get(f"{word}_at"), found.get("created_at"))
        body = {
            "id": f"evt_{made_id}",
            "object": "event",
            "created_at": next(filter(None, map(count, moments)), None),
            "type": f"{kind}.{word}",
            "data": {"id": subject},
        }
        return Found(word, True, (made(body, {"webhook-id": made_id}),))
