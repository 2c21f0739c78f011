"""
What arrived within a while, as one message: what went wrong comes first.

Everything is bounded; what is not named is counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from receiver.messages import batches
from receiver.messages.message import Fact, Failure, Link, Message, Severity
from receiver.messages.words import clean, counted, figures, moment, table
from receiver.models import Event

MAX_FAILURES = 30
MAX_ENTRIES = 30
MAX_LINKS = 30
MAX_COUNTERS = 6
MAX_NAMES = 5
MAX_STEPS = 2

Told = tuple[Event, object, Message]
"""An event, its parsed body, and the message it would have made alone."""

_ORDER = (Severity.BAD, Severity.WARNING, Severity.INFO, Severity.GOOD)


def compose(told: Sequence[Told]) -> Message:
    """One message of several, at least one, in the order in which they came."""
    messages = [message for _, _, message in told]
    by_severity = Counter(message.severity for message in messages)
    worst = next(severity for severity in _ORDER if by_severity[severity])
    wrong = [one for one in told if one[2].severity in _ORDER[:2]]
    wrong.sort(key=lambda one: _ORDER.index(one[2].severity))
    others = [one for one in told if one[2].severity not in _ORDER[:2]]
    links = _links(messages)
    hidden_links = sum(message.more_links for message in messages)
    credit = batches.totals((event, table(data)) for event, data, _ in told)
    return Message(
        title=_title(messages),
        summary=_summary(told),
        status=next(m.status for m in messages if m.severity is worst),
        severity=worst,
        counters=_counters(told),
        credits=credit.facts(),
        failures=tuple(map(_failure, wrong[:MAX_FAILURES])),
        more_failures=max(0, len(wrong) - MAX_FAILURES),
        links=tuple(links[:MAX_LINKS]),
        more_links=max(0, len(links) - MAX_LINKS) + hidden_links,
        facts=_facts([event for event, _, _ in told]),
        links_until=_links_until([event for event, _, _ in told]),
        entries=tuple(
            Fact(message.title, moment(event.received_at) or "at no known time")
            for event, _, message in others[:MAX_ENTRIES]
        ),
        more_entries=max(0, len(others) - MAX_ENTRIES),
        steps=tuple(dict.fromkeys(s for m in messages for s in m.steps))[:MAX_STEPS],
    )


def _title(messages: Sequence[Message]) -> str:
    """`12 events: 1 failed, 2 partly succeeded, 9 succeeded`, the worst first."""
    ranked = sorted(messages, key=lambda message: _ORDER.index(message.severity))
    by_status = Counter(message.status.lower() for message in ranked)
    parts = [f"{figures(count)} {status}" for status, count in by_status.items()]
    return clean(f"{counted(len(messages), 'event')}: {', '.join(parts)}", 140)


def _summary(told: Sequence[Told]) -> str:
    first, last = moment(told[0][0].received_at), moment(told[-1][0].received_at)
    came = f"at {first}" if first == last else f"from {first} to {last}"
    sources = sorted({clean(event.source, 60) for event, _, _ in told})
    more = len(sources) - MAX_NAMES
    names = ", ".join(sources[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
    return clean(f"They came {came}, from {names}.", 500)


def _counters(told: Iterable[Told]) -> tuple[Fact, ...]:
    """How many there were of each type and state, the most frequent first."""
    kinds = Counter(
        f"{clean(event.type, 80) or 'no type'}, {event.state}" for event, _, _ in told
    )
    common = kinds.most_common()
    if len(common) > MAX_COUNTERS:
        rest = sum(count for _, count in common[MAX_COUNTERS - 1 :])
        common = [*common[: MAX_COUNTERS - 1], ("others", rest)]
    return tuple(Fact(kind, figures(count)) for kind, count in common)


def _failure(told: Told) -> Failure:
    event, _, message = told
    return Failure(
        item=clean(event.subject, 80) or message.title,
        error=message.summary,
        kind=message.status.lower(),
    )


def _links(messages: Iterable[Message]) -> list[Link]:
    """Each address once, under the name it had first."""
    named: dict[str, Link] = {}
    for message in messages:
        for link in message.links:
            named.setdefault(link.url, link)
    return list(named.values())


def _links_until(events: Iterable[Event]) -> str:
    """When the first of them ends: what is not taken by then may be gone."""
    ends = [event.expires_at for event in events if event.expires_at is not None]
    return moment(min(ends)) if ends else ""


def _facts(events: Sequence[Event]) -> tuple[Fact, ...]:
    first, last = clean(events[0].id, 80), clean(events[-1].id, 80)
    pairs = (("First event", first), ("Last event", last))
    return tuple(Fact(label, value) for label, value in pairs if value)
