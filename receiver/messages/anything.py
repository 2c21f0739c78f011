"""What to say about an event that has no text of its own."""

import re
from collections import deque
from collections.abc import Container, Iterable, Mapping

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
_NOUNS = frozenset(
    {
        *("task", "job", "video", "batch", "prediction", "generation", "image"),
        *("audio", "song", "request", "run", "order", "asset", "upload", "render"),
    }
)
"""What a type may begin with that says what its subject is: `task.failed`."""

_REASONS = (
    *("error_message", "failMsg", "failure_reason", "task_status_msg", "failure"),
    *("error", "reason", "detail", "message", "msg"),
)
_CODES = ("failCode", "failureCode", "failure_code", "error_code", "code")
_PLACES = ("data", "error", "payload", "event_data", "failure", "task", "output")
_WENT_WRONG = frozenset({State.FAILED, State.PARTIAL, State.CANCELLED, State.UNKNOWN})
_CONFIDENTIAL = re.compile(
    r"token|secret|passw|signature|authori|api_?key", re.IGNORECASE
)
_MAX_FACTS = 10
_MAX_VISITED = 200
_MAX_DEPTH = 3


def account(event: Event, data: object) -> Account:
    """The type, the subject and the state, and what else lies near the surface."""
    kind = clean(event.type, 80) or "an event"
    noun, _, _ = kind.partition(".")
    subject = clean(event.subject, 80)
    source = clean(event.source, 60) or "The sender"
    verb = _VERBS.get(event.state)
    title = f"{kind}: {subject}" if subject else f"{source} sent {kind}"
    named = subject or "something"
    if verb and subject:
        known = noun.lower() in _NOUNS and noun != kind
        title = (
            f"{title} {verb}" if not known else f"{noun.capitalize()} {subject} {verb}"
        )
        named = f"{noun.lower()} {subject}" if known else subject
    what = f"that {named} {verb}" if verb else ""
    about = f" about {subject}" if subject else ""
    summary = f"{source} reports {what}" if verb else f"{source} sent {kind}{about}"
    said = _said(table(data)) if event.state in _WENT_WRONG else ""
    return Account(
        title=title,
        summary=f"{summary}: {said}" if said else f"{summary}.",
        state=event.state,
        facts=_facts(data, {event.type, event.subject, event.id}),
    )


def _said(data: Mapping[str, object]) -> str:
    """The sender's own words on it, and its code, where they are in a usual place."""
    places = [table(data.get(name)) for name in _PLACES]
    places += [table(place.get("error")) for place in places]
    places = [data, *filter(None, places)]
    words = _first(places, _REASONS)
    code = _first(places, _CODES)
    if not words or code.lower() in ("", "0", "200", words.lower()):
        return words
    return f"{words.rstrip('.')} ({code})."


def _first(places: Iterable[Mapping[str, object]], names: Iterable[str]) -> str:
    """The first of these names that has a short value somewhere."""
    values = (place.get(name) for name in names for place in places)
    return next((text for value in values if (text := _words(value))), "")


def _words(value: object) -> str:
    """A text, or a number as it is; empty for what is not meant to be read."""
    found = number(value)
    if isinstance(value, str) and value.lstrip()[:1] not in ("{", "["):
        return clean(value, 300)
    return "" if found is None else str(found)


def _facts(data: object, told: Container[str]) -> tuple[Fact, ...]:
    """Up to ten of the body's short values not `told` already, the surface first."""
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
            elif place and (text := _short(inner)) and text not in told:
                found.append(Fact(place, text))
    return tuple(found[:_MAX_FACTS])


def _short(value: object) -> str:
    """A value worth a line: not an address, and not JSON inside JSON."""
    if address(value) or (isinstance(value, str) and value.lstrip()[:1] in "{["):
        return ""
    found = number(value)
    return shown(value) if found is None else str(found)  # 1755597097000 is no amount
