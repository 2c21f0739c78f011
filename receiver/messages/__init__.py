"""
The messages people read: events in words, for any channel.

`compose` is pure and never raises, whatever a body holds, and so is `compose_digest`,
which makes one message of several events.  `mail` turns a message into the two parts
of an email, `blocks` into what Slack takes.  `templating` is for texts of users' own.
"""

from collections.abc import Sequence

from receiver.messages import alerts, anything, batches, digest
from receiver.messages.message import (
    STATUS,
    Account,
    Fact,
    Failure,
    Link,
    Message,
    Severity,
)
from receiver.messages.words import address, clean, moment, rows, shown, table
from receiver.models import Event

__all__ = [
    "Fact",
    "Failure",
    "Link",
    "Message",
    "Severity",
    "compose",
    "compose_digest",
]

MAX_TITLE = 140
MAX_SUMMARY = 500
MAX_LINKS = 50


def compose(event: Event) -> Message:
    """The event in words."""
    data = _parsed(event)
    account = _account(event, data)
    status, severity = account.status or STATUS[account.state]
    links, more_links = _links(event, data)
    return Message(
        title=clean(account.title, MAX_TITLE),
        summary=clean(account.summary, MAX_SUMMARY),
        status=status,
        severity=severity,
        counters=account.counters,
        credits=account.credits,
        failures=account.failures,
        more_failures=account.more_failures,
        links=links,
        more_links=more_links,
        facts=_facts(event, account),
        links_until=moment(event.expires_at) if links else "",
        steps=account.steps,
    )


def compose_digest(events: Sequence[Event]) -> Message:
    """Several events, at least one, in the words of one message; failures first."""
    told = sorted(events, key=lambda event: (event.received_at, event.id))
    return digest.compose([(event, _parsed(event), compose(event)) for event in told])


def _parsed(event: Event) -> object:
    try:
        return event.data
    except RecursionError:
        return None  # a body of nothing but brackets


def _account(event: Event, data: object) -> Account:
    if alerts.is_alert(event):
        return alerts.account(event, table(data))
    if event.type in batches.TYPES and isinstance(data, dict):
        return batches.account(event, table(data))
    return anything.account(event, data)


def _facts(event: Event, account: Account) -> tuple[Fact, ...]:
    pairs = (
        ("Subject", clean(event.subject, 128)),
        *((fact.label, fact.value) for fact in account.facts),
        ("Happened", moment(event.occurred_at)),
        ("Received", moment(event.received_at)),
        ("Links expire", moment(event.expires_at)),
        ("Type", clean(event.type, 80)),
        ("Source", clean(event.source, 80)),
        ("Event", clean(event.id, 80)),
    )
    return tuple(Fact(label, value) for label, value in pairs if value)


def _links(event: Event, data: object) -> tuple[tuple[Link, ...], int]:
    """Where the results are, named after their items where the body has items."""
    named = _items(data)
    urls = dict.fromkeys(url for u in event.result_urls if (url := address(u)))
    found = list(urls or named)
    links = [
        Link(named.get(url) or f"Result {i}", url)
        for i, url in enumerate(found[:MAX_LINKS], 1)
    ]
    return tuple(links), len(found) - len(links)


def _items(data: object) -> dict[str, str]:
    """The name of each item that has a video, by its address."""
    items = map(table, rows(table(data).get("items")))
    return {
        url: shown(item.get("item_id"), 80)
        for item in items
        if (url := address(item.get("video_url")))
    }
