"""
What to say about a Sora2 batch.

Two forms of body exist: the documented one, with `summary`, `ledger` and `items`, and
a flat one with `total_count`, `success_count`, `failed_count` and `credits_spent`.
Both are read here; whatever is missing or odd is left out of the text.

Source: https://github.com/junpengpanchina-ai/Sora-2Ai, docs/WEBHOOK_EVENTS.md and
lib/batch/webhook.ts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import islice

from receiver.messages.message import Account, Fact, Failure
from receiver.messages.words import (
    Number,
    clean,
    counted,
    figures,
    lasting,
    number,
    rows,
    shown,
    table,
)
from receiver.models import Event, State

MAX_FAILURES = 50
"""How many failed items a message names; the others are counted."""

Body = Mapping[str, object]

REASONS = {
    "failed_items": "because items failed",
    "batch_cancelled": "because the batch was cancelled",
    "system_error": "because of an error at the provider",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many videos there are, and what became of them; None where not said."""

    total: Number | None
    succeeded: Number | None
    failed: Number | None
    running: Number | None
    pending: Number | None

    def facts(self) -> tuple[Fact, ...]:
        return _facts(
            ("Videos", self.total),
            ("Succeeded", self.succeeded),
            ("Failed", self.failed),
            ("Running", self.running),
            ("Waiting", self.pending),
        )


@dataclass(frozen=True, slots=True)
class Credit:
    """What happened to credits; `spent` is all that the flat form tells."""

    reserved: Number | None
    settled: Number | None
    refunded: Number | None
    spent: Number | None

    def facts(self) -> tuple[Fact, ...]:
        return _facts(
            ("Credits reserved", self.reserved),
            ("Credits settled", self.settled),
            ("Credits refunded", self.refunded),
            ("Credits spent", self.spent),
        )


def totals(events: Iterable[tuple[Event, Body]]) -> Credit:
    """
    What the batches among these events came to.

    A batch's ledger counts from its beginning, so of several events of one batch the
    last word on each figure holds.
    """
    names = [field.name for field in fields(Credit)]
    latest: dict[tuple[str, str], dict[str, Number]] = {}
    for event, data in events:
        if event.type in TYPES:
            found = asdict(_credit(data))
            told = {name: value for name, value in found.items() if value is not None}
            latest.setdefault((event.source, event.subject), {}).update(told)
    return Credit(**{name: _sum(latest.values(), name) for name in names})


def _sum(ledgers: Iterable[Mapping[str, Number]], name: str) -> Number | None:
    found = [ledger[name] for ledger in ledgers if name in ledger]
    return sum(found) if found else None


def account(event: Event, data: Body) -> Account:
    """What an event of one of `TYPES` has to tell."""
    counts, credit = _counts(data), _credit(data)
    title, summary, state = TYPES[event.type](event, data, counts, credit)
    failures, more = _failures(data)
    return Account(
        title=title,
        summary=summary,
        state=state,
        counters=counts.facts(),
        credits=credit.facts(),
        failures=failures,
        more_failures=more,
        facts=_details(data),
    )


def _created(
    event: Event, _data: Body, counts: Counts, credit: Credit
) -> tuple[str, str, State]:
    videos = "Its videos are" if counts.total is None else f"{_videos(counts.total)}"
    waiting = " waiting" if counts.total is None else " waiting to be made"
    held = f", and {counted(credit.reserved, 'credit')} held" if credit.reserved else ""
    return f"{_batch(event)} was created", f"{videos}{waiting}{held}.", event.state


def _running(
    event: Event, _data: Body, counts: Counts, _credit: Credit
) -> tuple[str, str, State]:
    parts = [
        f"{figures(count)} {word}"
        for count, word in (
            (counts.running, "running"),
            (counts.succeeded, "done"),
            (counts.failed, "failed"),
        )
        if count
    ]
    summary = "Its videos are being made" + (f": {', '.join(parts)}" if parts else "")
    if parts and counts.total:
        summary += f", of {figures(counts.total)}"
    return f"{_batch(event)} is running", f"{summary}.", event.state


def _finished(
    event: Event, data: Body, counts: Counts, credit: Credit
) -> tuple[str, str, State]:
    titles = {
        State.SUCCEEDED: "is complete",
        State.PARTIAL: "finished with failures",
        State.FAILED: "failed",
        State.CANCELLED: "was cancelled",
    }
    state = event.state
    if state is State.UNKNOWN and event.type == "batch.failed":
        state = State.FAILED
    title = f"{_batch(event)} {titles.get(state, 'has finished')}"
    reason = _reason(data)
    if reason and state is State.FAILED:
        return title, reason, state
    return title, _result(counts) + _charged(credit) + ".", state


def _refunded(
    event: Event, data: Body, _counts: Counts, credit: Credit
) -> tuple[str, str, State]:
    reason = data.get("refund_reason")
    why = REASONS.get(reason, "") if isinstance(reason, str) else ""
    if not why and isinstance(reason, str) and clean(reason, 100):
        why = f"for this reason: {clean(reason, 100)}"
    if credit.refunded is None:
        title, summary = f"{_batch(event)}: credits came back", "Credits came back"
    else:
        back = counted(credit.refunded, "credit")
        title = f"{_batch(event)}: {back} came back"
        of = f" of {figures(credit.reserved)} held" if credit.reserved else ""
        summary = f"{back}{of} came back"
    summary += f" {why}" if why else ""
    if credit.settled is not None:
        summary += f"; {figures(credit.settled)} stay charged"
    return title, f"{summary}.", event.state


Telling = Callable[[Event, Body, Counts, Credit], tuple[str, str, State]]

TYPES: Mapping[str, Telling] = {
    "batch.created": _created,
    "batch.running": _running,
    "batch.completed": _finished,
    "batch.failed": _finished,
    "batch.refunded": _refunded,
}


def _batch(event: Event) -> str:
    subject = clean(event.subject, 80)
    return f"Batch {subject}" if subject else "A batch"


def _videos(count: Number) -> str:
    return f"{counted(count, 'video')} {'is' if count == 1 else 'are'}"


def _result(counts: Counts) -> str:
    total, good, bad = counts.total, counts.succeeded, counts.failed
    if total is None:
        total = None if good is None or bad is None else good + bad
    if not total or (good is None and bad is None):
        return "The provider does not say what became of the videos"
    if good == total and not bad:
        return "The video succeeded" if total == 1 else f"All {_all(total)} succeeded"
    if bad == total and not good:
        return "The video failed" if total == 1 else f"All {_all(total)} failed"
    parts = [f"{figures(good)} succeeded"] if good is not None else []
    parts += [f"{figures(bad)} failed"] if bad is not None else []
    return f"Of {counted(total, 'video')}, {' and '.join(parts)}"


def _all(total: Number) -> str:
    return counted(total, "video")


def _charged(credit: Credit) -> str:
    charged = credit.settled if credit.settled is not None else credit.spent
    if charged is None:
        return ""
    back = f", {figures(credit.refunded)} came back" if credit.refunded else ""
    return f"; {counted(charged, 'credit')} charged{back}"


def _reason(data: Body) -> str:
    code = shown(data.get("error"), 100)
    words = shown(data.get("error_message"), 300).rstrip(".")
    if words and code and words != code:
        return f"{words} ({code})."
    return f"{words or code}." if words or code else ""


def _details(data: Body) -> tuple[Fact, ...]:
    took = number(data.get("duration_ms"))
    found = (
        ("Request", shown(data.get("request_id"), 128)),
        ("Took", lasting(took) if took is not None else ""),
    )
    return tuple(Fact(label, value) for label, value in found if value)


def _counts(data: Body) -> Counts:
    summary = table(data.get("summary"))
    return Counts(
        total=_count(summary.get("total"), data.get("total_count")),
        succeeded=_count(summary.get("succeeded"), data.get("success_count")),
        failed=_count(summary.get("failed"), data.get("failed_count")),
        running=_count(summary.get("running")),
        pending=_count(summary.get("pending")),
    )


def _credit(data: Body) -> Credit:
    ledger = table(data.get("ledger"))
    return Credit(
        reserved=_count(ledger.get("reserved")),
        settled=_count(ledger.get("settled")),
        refunded=_count(ledger.get("refunded")),
        spent=_count(data.get("credits_spent")),
    )


def _count(*candidates: object) -> Number | None:
    found = (number(value) for value in candidates)
    return next((n for n in found if n is not None and n >= 0), None)


def _facts(*pairs: tuple[str, Number | None]) -> tuple[Fact, ...]:
    return tuple(Fact(k, figures(v)) for k, v in pairs if v is not None)


def _failures(data: Body) -> tuple[tuple[Failure, ...], int]:
    """The first failed items, and how many more there are."""
    items = enumerate(map(table, rows(data.get("items"))))
    refunds = enumerate(map(table, rows(data.get("refund_details"))))
    found = [(_failure, i, row) for i, row in items if _has_failed(row)]
    found += [(_refund, i, row) for i, row in refunds if row]
    kept: Iterable[Failure] = (
        make(i, row) for make, i, row in islice(found, MAX_FAILURES)
    )
    return tuple(kept), max(0, len(found) - MAX_FAILURES)


def _has_failed(row: Body) -> bool:
    status = row.get("status")
    return status == "failed" or (status is None and bool(row.get("error")))


def _failure(position: int, row: Body) -> Failure:
    metadata = islice(table(row.get("metadata")).items(), 3)
    notes = [f"{clean(k, 40)}: {shown(v, 60)}" for k, v in metadata if shown(v, 60)]
    return Failure(
        item=_item(position, row),
        error=shown(row.get("error"), 300) or "no error given",
        kind=shown(row.get("failure_type"), 40),
        note=", ".join(notes),
    )


def _refund(position: int, row: Body) -> Failure:
    credits_ = _count(row.get("credits"))
    return Failure(
        item=_item(position, row),
        error=shown(row.get("reason"), 300) or "no reason given",
        kind="" if credits_ is None else f"{counted(credits_, 'credit')} came back",
    )


def _item(position: int, row: Body) -> str:
    return shown(row.get("item_id"), 80) or f"item {position + 1}"
