"""What to say about an event that has no text of its own."""

import re
from collections import deque
from collections.abc import Mapping

from receiver.messages.message import Account, Fact
from receiver.messages.words import address, clean, number, shown, table
from receiver.models import Event, State

_VERBS = {
    State.PENDING: "is waiting",
    State.RUNNING: "is running",
    State.SUCCEEDED: "has succeeded",
    State.PARTIAL: "has succeeded in part",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
}
_REASONS = (
    "error_message",
    "failMsg",
    "failure_reason",
    "error",
    "reason",
    "message",
    "msg",
)
_CONFIDENTIAL = re.compile(
    r"token|secret|passw|signature|authori|api_?key", re.IGNORECASE
)
_MAX_FACTS = 10
_MAX_VISITED = 200
_MAX_DEPTH = 3


def account(event: Event, data: object) -> Account:
    """The type, the subject and the state, and what else lies near the surface."""
    kind = clean(event.type, 80) or "an event"
    subject = clean(event.subject, 80)
    source = clean(event.source, 60) or "The sender"
    verb = _VERBS.get(event.state)
    title = f"{kind}: {subject}" if subject else f"{source} sent {kind}"
    if verb and subject:
        title = f"{title} {verb}"
    what = f"that {subject or 'something'} {verb}" if verb else ""
    about = f" about {subject}" if subject else ""
    summary = f"{source} reports {what}" if verb else f"{source} sent {kind}{about}"
    said = _said(table(data))
    return Account(
        title=title,
        summary=f"{summary}: {said}" if said else f"{summary}.",
        state=event.state,
        facts=_facts(data),
    )


def _said(data: Mapping[str, object]) -> str:
    """The sender's own words on it, where they are in a usual place."""
    places = (data, table(data.get("data")))
    for name in _REASONS:
        for place in places:
            value = place.get(name)
            if isinstance(value, str) and clean(value, 300):
                return clean(value, 300)
    return ""


def _facts(data: object) -> tuple[Fact, ...]:
    """Up to ten of the body's short values, those nearest the surface first."""
    found: list[Fact] = []
    waiting: deque[tuple[str, object, int]] = deque([("", data, 0)])
    visited = 0
    while waiting and len(found) < _MAX_FACTS and visited < _MAX_VISITED:
        path, value, depth = waiting.popleft()
        visited += 1
        for name, inner in list(table(value).items())[:_MAX_VISITED]:
            if _CONFIDENTIAL.search(name[:200]):
                continue
            place = clean(f"{path}{name}", 40)
            nested = table(inner)
            if nested and depth + 1 < _MAX_DEPTH:
                waiting.append((f"{place}.", nested, depth + 1))
            elif place and (text := _short(inner)):
                found.append(Fact(place, text))
    return tuple(found[:_MAX_FACTS])


def _short(value: object) -> str:
    """A value worth a line: not an address, and not JSON inside JSON."""
    if address(value) or (isinstance(value, str) and value.lstrip()[:1] in "{["):
        return ""
    found = number(value)
    return shown(value) if found is None else str(found)  # 1755597097000 is no amount
