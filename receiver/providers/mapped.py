"""
Senders whose bodies configuration describes: where the key, the type, the state are.

The settings name places (see `receiver.providers.places`); they are compiled when the
source is made, and reading is looking there.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any, Literal

from receiver.errors import Rejected
from receiver.expressions import ExpressionError
from receiver.models import Reading, Request, Scalar, State
from receiver.providers.base import Provider
from receiver.providers.places import Place, Seen, place
from receiver.providers.values import count, links, whole
from receiver.schemes import moment_from
from receiver.settings import Source, option

Written = str | tuple[str, ...]
"""One place, or several of which the first that is there counts."""

Word = Literal[
    "pending", "running", "succeeded", "partial", "failed", "cancelled", "unknown"
]

LONGEST_WORD = 200
LONGEST_FACT = 500
SECONDS_BELOW = 100_000_000_000
"""A time of at least this is in milliseconds; in seconds it would be the year 5138."""


@dataclass(frozen=True)
class MappedSource(Source):
    """What a body means, as places in it."""

    key: Written | None = option(
        None,
        help="what makes two requests the same event; by default subject, type and "
        "a hash of the body",
    )
    type: Written = option(("type", "'webhook.received'"), help="the event's type")
    subject: Written = option(
        ("data.id", "id", "''"), help="the id of what the event is about"
    )
    state: Written = option(
        ("status", "data.status"), help="the word for what has become of it"
    )
    states: Mapping[str, Word] = option(
        dict,
        help="the sender's words, and the state each means; * and ? are wild cards",
    )
    final: tuple[Word, ...] = option(
        ("succeeded", "partial", "failed", "cancelled"),
        help="states after which nothing about the subject will change",
    )
    occurred_at: Written = option(
        (), help="when it happened: ISO 8601, or seconds or milliseconds since 1970"
    )
    result_urls: Written = option(
        (), help="links to results; all of the places are used"
    )
    expires_after: timedelta | None = option(
        None, help="how long links hold", most=timedelta(days=3650)
    )
    facts: Mapping[str, Written] = option(
        dict, help="what repeats of an event have to agree on, beside type and state"
    )


class Mapped(Provider):
    """Reads by the places of its source."""

    def __init__(self, source: MappedSource) -> None:
        super().__init__(source)
        self._troubles: list[tuple[str, str, str]] = []
        self._keyed = source.key is not None
        self._key = self._places("key", source.key or (), apart=True)
        self._type = self._places("type", source.type)
        self._subject = self._places("subject", source.subject)
        self._state = self._places("state", source.state)
        self._occurred_at = self._places("occurred_at", source.occurred_at)
        self._result_urls = self._places("result_urls", source.result_urls)
        self._expires_after = source.expires_after
        self._facts = {
            name: self._places(f"facts.{name}", written)
            for name, written in source.facts.items()
        }
        words = {word: State(ours) for word, ours in source.states.items()}
        self._words = {str(state): state for state in State} | words
        self._patterns = {w: s for w, s in words.items() if "*" in w or "?" in w}
        self._final = frozenset(map(State, source.final))

    def read(self, request: Request, data: Any) -> Reading:
        seen = Seen(data, request)
        kind = _needed("type", self._type, seen)
        subject = _needed("subject", self._subject, seen, or_empty=True)
        if self._keyed:
            key = _needed("key", self._key, seen)
        else:
            key = f"{subject}:{kind}:{hashlib.sha256(request.body).hexdigest()[:32]}"
        state = self._meaning(_text(self._state, seen))
        occurred_at = _moment(self._occurred_at, seen)
        urls = _links(self._result_urls, seen)
        facts: dict[str, Scalar] = {"type": kind, "state": str(state)}
        for name, places in self._facts.items():
            found = next(_scalars(places, seen), None)
            if found is not None:
                facts[name] = found
        return Reading(
            key=key,
            type=kind,
            subject=subject,
            state=state,
            final=state in self._final,
            occurred_at=occurred_at,
            facts=facts,
            result_urls=urls,
            expires_at=self._expiry(occurred_at or request.received_at, urls),
        )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        yield from super().problems()
        yield from self._troubles

    def _places(
        self, name: str, written: Written, *, apart: bool = False
    ) -> tuple[Place, ...]:
        """Those that compile; what is wrong with the others is kept for `problems`."""
        found: list[Place] = []
        one = isinstance(written, str)
        for i, text in enumerate([written] if isinstance(written, str) else written):
            try:
                found.append(place(text, apart=apart))
            except ExpressionError as error:
                field = name if one else f"{name}[{i}]"
                self._troubles.append((field, str(error), error.hint))
        return tuple(found)

    def _meaning(self, word: str | None) -> State:
        if word is None or len(word) > LONGEST_WORD:
            return State.UNKNOWN
        known = self._words.get(word)
        if known is not None:
            return known
        fitting = (s for p, s in self._patterns.items() if fnmatchcase(word, p))
        return next(fitting, State.UNKNOWN)

    def _expiry(self, start: datetime, urls: Sequence[str]) -> datetime | None:
        return start + self._expires_after if self._expires_after and urls else None


def _text(places: Sequence[Place], seen: Seen) -> str | None:
    for one in places:
        found = one.text(seen)
        if found is not None:
            return found
    return None


def _needed(
    name: str, places: Sequence[Place], seen: Seen, *, or_empty: bool = False
) -> str:
    found = _text(places, seen)
    if found or (found is not None and or_empty):
        return found
    where = " nor ".join(one.written for one in places)
    lacks = f"neither {where} is" if len(places) > 1 else f"{where} is not"
    message = f"{name}: {lacks} there as a text or a number"
    raise Rejected(400, "malformed_body", message)


def _scalars(places: Sequence[Place], seen: Seen) -> Iterator[Scalar]:
    """What can be kept as a fact, and is told apart by any JSON reader."""
    for one in places:
        for value in one.find(seen):
            if isinstance(value, str):
                yield whole(value[:LONGEST_FACT])
            elif isinstance(value, bool):
                yield value
            elif isinstance(value, int):
                yield value if count(value) is not None else str(value)[:LONGEST_FACT]
            elif isinstance(value, float) and isfinite(value):
                yield value


def _links(places: Sequence[Place], seen: Seen) -> tuple[str, ...]:
    found: list[Any] = []
    for one in places:
        for value in one.find(seen):
            found.extend(value if isinstance(value, list) else [value])
    return links(found)


def _moment(places: Sequence[Place], seen: Seen) -> datetime | None:
    found = (_as_moment(value) for one in places for value in one.find(seen))
    return next((moment for moment in found if moment is not None), None)


def _as_moment(value: Any) -> datetime | None:
    """ISO 8601 text, a time out of CEL, or a number since 1970, by its size."""
    if isinstance(value, datetime):
        return moment_from(value.isoformat())
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return moment_from(value) if isinstance(value, str) else None
    if isinstance(value, float) and not isfinite(value):
        return None
    return moment_from(int(value if abs(value) >= SECONDS_BELOW else value * 1000))
