"""
The Sora2 Enterprise Batch API, asked about a batch.

`GET /batches/{id}` has the status, counters and credits; `/batches/{id}/items` what the
items came to, 100 at a time; `/credits/ledger` what was refunded for which.  Of these
the documented webhooks are made, `batch.completed` and the others, so that they have
the keys of the real ones in either of their forms.

Source: the provider's public/openapi.json, version 1.0.0.
"""

from collections.abc import Generator, Mapping
from typing import Any

from receiver.models import Headers
from receiver.providers.status.base import (
    Conversation,
    Found,
    Made,
    Query,
    Reply,
    StatusApi,
    about,
    answered,
    made,
    segment,
)
from receiver.providers.values import count, table, text

ITEMS_AT_ONCE, MOST_ITEMS = 100, 1000
ENTRIES_AT_ONCE, MOST_ENTRIES = 200, 1000

_WAITING = frozenset({"pending", "queued"})
_RUNNING = frozenset({"running", "processing"})
_ENDED = frozenset({"succeeded", "completed", "partial", "failed"})
_ITEM = ("item_id", "index", "status", "video_url", "thumbnail_url", "error")
_ITEM_ALSO = ("failure_type", "metadata")

Listing = Generator[Query, Reply, list[Mapping[str, Any]]]


class Sora2Status(StatusApi):
    """See the module."""

    base = "https://sora2aivideos.com/api/v1"

    def key_headers(self, key: str) -> Headers:
        return {"x-api-key": key}

    def ask(self, subject: str) -> Conversation:
        place = f"/batches/{segment(subject)}"
        batch = about(answered((yield Query(place))), "batch_id", subject)
        word = text(batch.get("status"))
        if word in _WAITING:
            return Found(word, False, (_created(batch),))
        if word in _RUNNING:
            return Found(word, False, (_running(batch),))
        if word in _ENDED:
            items = yield from _listed(
                f"{place}/items", {}, "items", ITEMS_AT_ONCE, MOST_ITEMS
            )
            webhooks = [_ended(batch, items)]
        elif word == "cancelled":
            webhooks = []
        else:
            return Found(word, False)
        if not webhooks or _credits(batch)["refunded"]:
            entries = yield from _listed(
                "/credits/ledger",
                {"batch_id": subject, "type": "refund"},
                "entries",
                ENTRIES_AT_ONCE,
                MOST_ENTRIES,
            )
            webhooks.append(_refunded(batch, word, entries))
        return Found(word, True, tuple(webhooks))


def _listed(
    path: str, wanted: Mapping[str, str], name: str, at_once: int, most: int
) -> Listing:
    """All of a list that is given in pages; none where the API has no such list."""
    found: list[Mapping[str, Any]] = []
    while len(found) < most:
        page = {"limit": str(at_once), "offset": str(len(found))}
        reply = yield Query(path, {**wanted, **page})
        rows = table(reply.data).get(name) if reply.status == 200 else None
        rows = rows if isinstance(rows, list) else []
        found += [table(row) for row in rows]
        if len(rows) < at_once:
            break
    return found


def _created(batch: Mapping[str, Any]) -> Made:
    total, reserved = _number(batch, "total_count"), _number(batch, "credits_reserved")
    summary = {"total": total, "succeeded": 0, "failed": 0, "pending": total}
    ledger = {"reserved": reserved, "settled": 0, "refunded": 0}
    more = {"status": "pending", "summary": summary, "ledger": ledger}
    return _webhook("batch.created", batch, more, "created_at")


def _running(batch: Mapping[str, Any]) -> Made:
    """
    Without counters: they change from moment to moment, so those of the real webhook
    are others, and it would seem to contradict this one.
    """
    return _webhook("batch.running", batch, {"status": "running"}, "started_at")


def _ended(batch: Mapping[str, Any], items: list[Mapping[str, Any]]) -> Made:
    """`batch.failed` is one that was given up before each item came to an end."""
    total, done, failed = (
        _number(batch, f"{name}_count") for name in ("total", "succeeded", "failed")
    )
    word = text(batch.get("status"))
    pending = max(0, total - done - failed)
    summary = {"total": total, "succeeded": done, "failed": failed, "pending": pending}
    given_up = word == "failed" and (pending > 0 or total == 0)
    more: dict[str, Any] = {
        "status": word if word != "completed" else "succeeded",
        "summary": summary,
        "ledger": _credits(batch),
    }
    if given_up:
        more |= {name: batch.get(name) for name in ("error", "error_message")}
        return _webhook("batch.failed", batch, more)
    shown = sorted(items, key=lambda item: count(item.get("index")) or 0)
    return _webhook("batch.completed", batch, {**more, "items": _items(shown)})


def _items(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    names = (*_ITEM, *_ITEM_ALSO)
    found = [{n: row[n] for n in names if row.get(n) is not None} for row in rows]
    return found or None


def _refunded(
    batch: Mapping[str, Any], word: str, entries: list[Mapping[str, Any]]
) -> Made:
    """The reason only where it is clear: a wrong one would contradict the real one."""
    reason = "failed_items" if _number(batch, "failed_count") else None
    if word == "cancelled":
        reason = "batch_cancelled"
    details = [
        {
            "item_id": entry["item_id"],
            "credits": abs(count(entry.get("delta")) or 0),
            "reason": text(entry.get("description")) or None,
        }
        for entry in entries
        if entry.get("item_id")
    ]
    more = {
        "refund_reason": reason,
        "ledger": _credits(batch),
        "refund_details": details or None,
    }
    return _webhook("batch.refunded", batch, more)


def _webhook(
    event: str,
    batch: Mapping[str, Any],
    more: Mapping[str, Any],
    moment: str = "completed_at",
) -> Made:
    about_it = {name: batch.get(name) for name in ("batch_id", "request_id")}
    at = text(batch.get(moment)) or None
    return made({"event": event, **about_it, **more, "timestamp": at})


def _credits(batch: Mapping[str, Any]) -> dict[str, int]:
    names = ("reserved", "settled", "refunded")
    return {name: _number(batch, f"credits_{name}") for name in names}


def _number(batch: Mapping[str, Any], name: str) -> int:
    return count(batch.get(name)) or 0
