"""
What to say about receiver's own events: what is wrong, and what to type next.

Bodies are those of `receiver.internal`.  One may have been stored by another version,
so whatever is missing is left out here as well.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from receiver.internal import SOURCE
from receiver.messages.message import Account, Fact, Failure, Severity
from receiver.messages.words import (
    Number,
    counted,
    lasting,
    moment_in,
    number,
    rows,
    shown,
    table,
)
from receiver.models import Event

Body = Mapping[str, object]

ATTENTION = ("Needs attention", Severity.BAD)
LOOK = ("Worth a look", Severity.WARNING)
DONE = ("All there", Severity.GOOD)
MENDED = ("All right again", Severity.GOOD)

MAX_DIFFERENCES = 20


def account(event: Event, data: Body) -> Account:
    """What an event of one of `INTERNAL_TYPES` has to tell."""
    found = TYPES[event.type](data)
    label = STEPS[event.type]
    command = shown(data.get("command"), 600)
    event_id = shown(data.get("event_id"), 80)
    return replace(
        found,
        steps=(Fact(label, command),) if command else (),
        facts=(Fact("About", event_id),) if event_id else (),
    )


def is_alert(event: Event) -> bool:
    """Whether it is ours: no other sender's words become a command to type."""
    return event.provider == SOURCE and event.type in TYPES


def _dead(data: Body) -> Account:
    name = _name(data, "destination", "A destination")
    count = _number(data, "count") or 1
    what = counted(count, "delivery", "deliveries")
    kind, subject = _text(data, "event_type"), _text(data, "event_subject")
    example = " ".join(part for part in (kind, subject) if part)
    outcome = _text(data, "outcome")
    have = "was" if count == 1 else "were"
    failures = (Failure(example or "the last one", outcome),) if outcome else ()
    return _account(
        f"{name}: {what} given up",
        f"{what} to {name} {have} given up; nothing is lost, and they can be retried.",
        ATTENTION,
        failures=failures,
    )


def _paused(data: Body) -> Account:
    name = _name(data, "destination", "A destination")
    reason = _text(data, "reason")
    why = f": {reason.rstrip('.')}" if reason else ""
    return _account(
        f"{name} is paused",
        f"{name} is given nothing more until it is mended{why}. What is for it waits.",
        ATTENTION,
    )


def _resumed(data: Body) -> Account:
    name = _name(data, "destination", "A destination")
    since = moment_in(data.get("paused_at"))
    was = f" It was paused since {since}." if since else ""
    return _account(
        f"{name} is delivered to again",
        f"What waited for {name} goes out now.{was}",
        MENDED,
    )


def _conflict(data: Body) -> Account:
    subject = _name(data, "event_subject", "an event")
    kind, source = _text(data, "event_type"), _text(data, "event_source")
    found = [table(row) for row in rows(data.get("differences"))]
    failures = tuple(
        Failure(
            shown(row.get("name"), 80) or "a fact",
            f"first {shown(row.get('first'), 80) or 'nothing'}, "
            f"later {shown(row.get('later'), 80) or 'nothing'}",
        )
        for row in found[:MAX_DIFFERENCES]
    )
    return _account(
        f"{subject}: two accounts of one event",
        f"{source or 'The sender'} repeated {kind or 'an event'} about {subject} with "
        "other facts. The first ones stay; the later body is kept beside them.",
        LOOK,
        failures=failures,
        more_failures=max(0, len(found) - MAX_DIFFERENCES),
    )


def _supplemented(data: Body) -> Account:
    subject = _name(data, "event_subject", "an event")
    kind, source = _text(data, "event_type"), _text(data, "event_source")
    facts = [shown(name, 80) for name in _texts(data.get("facts"))]
    links = _number(data, "links")
    news = [*facts, *([counted(links, "link")] if links else [])]
    more = max(0, len(news) - MAX_DIFFERENCES)
    return _account(
        f"{subject}: more is known of an event",
        f"{source or 'The sender'} repeated {kind or 'an event'} about {subject} and "
        "said more. The first body was delivered; the later one is kept beside it.",
        LOOK,
        failures=tuple(Failure(one, "is new") for one in news[:MAX_DIFFERENCES]),
        more_failures=more,
    )


def _unconfirmed(data: Body) -> Account:
    subject = _name(data, "event_subject", "an event")
    kind, source = _text(data, "event_type"), _text(data, "event_source")
    delivered = data.get("delivered") is True
    count = _number(data, "count") or 1
    others = f" So it was with {counted(count, 'event')} by now." if count > 1 else ""
    then = "was delivered all the same" if delivered else "is not delivered"
    reason = _text(data, "reason")
    return _account(
        f"{subject}: not confirmed by the API",
        f"{source or 'The sender'} does not sign {kind or 'its events'} whole, and its "
        f"API did not say the same. It {then}.{others}",
        LOOK if delivered else ATTENTION,
        failures=(Failure("API", reason),) if reason else (),
    )


def _route(data: Body) -> Account:
    name = _name(data, "route", "A route")
    count = _number(data, "count") or 1
    error = _text(data, "error")
    return _account(
        f"Route {name} fails",
        f"Its condition failed on {counted(count, 'event')}, which is no match: "
        "they were stored, and not sent on by it.",
        ATTENTION,
        failures=(Failure("condition", error),) if error else (),
    )


def _rejecting(data: Body) -> Account:
    name = _name(data, "source", "A source")
    count = _number(data, "count") or 1
    reason, code = _text(data, "reason"), _text(data, "code")
    return _account(
        f"{name}: {counted(count, 'request')} refused",
        f"{counted(count, 'request')} to {name} {'was' if count == 1 else 'were'} "
        "refused; what a sender does not repeat is missing.",
        ATTENTION,
        failures=(Failure(code or "refused", reason or "no reason given"),),
    )


def _quiet(data: Body) -> Account:
    name = _name(data, "source", "A source")
    since, after = moment_in(data.get("since")), _number(data, "after_s")
    last = f" The last event came at {since}." if since else ""
    usual = f" for more than {lasting(1000 * after)}" if after else ""
    return _account(
        f"{name} is quiet",
        f"{name} has sent nothing{usual}.{last} "
        "See whether it still sends, and to the right address.",
        LOOK,
    )


def _expiring(data: Body) -> Account:
    subject = _name(data, "event_subject", "an event")
    name = _name(data, "destination", "a destination")
    until = moment_in(data.get("expires_at"))
    when = f" at {until}" if until else " soon"
    return _account(
        f"{subject}: links expire{when}",
        f"{name} has not got {subject} yet, and the links to its results expire{when}.",
        LOOK,
    )


def _stalled(data: Body) -> Account:
    name = _name(data, "batch", "A batch")
    state, since = _text(data, "state"), moment_in(data.get("since"))
    last = f" since {since}" if since else " for long"
    return _account(
        f"Batch {name} has stalled",
        f"Nothing was heard of it{last}"
        + (f"; it was {state} then." if state else ".")
        + " The provider may know more.",
        LOOK,
    )


def _mismatch(data: Body) -> Account:
    name = _name(data, "batch", "A batch")
    problem = _text(data, "problem")
    numbers = (
        ("Credits reserved", "reserved"),
        ("Credits settled", "settled"),
        ("Credits refunded", "refunded"),
    )
    return _account(
        f"Batch {name}: the credits do not add up",
        f"{problem.rstrip('.')}." if problem else "The provider's figures differ.",
        LOOK,
        credits_=tuple(
            Fact(label, shown(data.get(field)))
            for label, field in numbers
            if number(data.get(field)) is not None
        ),
    )


def _joined(data: Body) -> Account:
    key, join = _name(data, "key", "A join"), _text(data, "join")
    parts = [table(row) for row in rows(data.get("parts"))]
    failures = tuple(
        Failure(shown(part.get("subject"), 80) or "a part", "it failed")
        for part in parts
        if part.get("failed") is True
    )
    kind = _text(data, "type")
    expected = _number(data, "expected")
    there = counted(len(parts), "part")
    of = f" of {number(expected)}" if expected else ""
    status, said = {
        "join.completed": (ATTENTION if failures else DONE, "is complete"),
        "join.timed_out": (ATTENTION, "did not become complete in time"),
    }.get(kind, (ATTENTION, "has a part that failed"))
    return _account(
        f"{key} {said}",
        f"{there}{of} came for {join or 'it'}.",
        status,
        failures=failures[:MAX_DIFFERENCES],
        more_failures=max(0, len(failures) - MAX_DIFFERENCES),
    )


TYPES: Mapping[str, Callable[[Body], Account]] = {
    "delivery.dead": _dead,
    "destination.paused": _paused,
    "destination.resumed": _resumed,
    "event.conflict": _conflict,
    "event.supplemented": _supplemented,
    "event.unconfirmed": _unconfirmed,
    "route.failing": _route,
    "source.rejecting": _rejecting,
    "source.quiet": _quiet,
    "links.expiring": _expiring,
    "batch.stalled": _stalled,
    "batch.ledger_mismatch": _mismatch,
    "join.completed": _joined,
    "join.timed_out": _joined,
    "join.failed": _joined,
}

STEPS: Mapping[str, str] = {
    "delivery.dead": "To retry them, once it works again",
    "destination.paused": "Once it is mended",
    "destination.resumed": "To follow it",
    "event.conflict": "To see both bodies",
    "event.supplemented": "To see both bodies",
    "event.unconfirmed": "To see what waited, and why",
    "route.failing": "To see why",
    "source.rejecting": "To see what was refused",
    "source.quiet": "To see what came",
    "links.expiring": "To try it now",
    "batch.stalled": "To see what is known",
    "batch.ledger_mismatch": "To see its life and its credits",
    "join.completed": "To see its first part",
    "join.timed_out": "To see its first part",
    "join.failed": "To see its first part",
}


def _account(
    title: str,
    summary: str,
    status: tuple[str, Severity],
    *,
    failures: tuple[Failure, ...] = (),
    more_failures: int = 0,
    credits_: tuple[Fact, ...] = (),
) -> Account:
    return Account(
        title=title,
        summary=summary,
        status=status,
        failures=failures,
        more_failures=more_failures,
        credits=credits_,
    )


def _name(data: Body, field: str, otherwise: str) -> str:
    return shown(data.get(field), 80) or otherwise


def _text(data: Body, field: str) -> str:
    return shown(data.get(field), 300)


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, str)]


def _number(data: Body, field: str) -> Number | None:
    found = number(data.get(field))
    return found if found is not None and found > 0 else None
