"""
Claims, held in memory.

One process owns a SQLite file, so a claim never needs to outlive it: a crash frees
all of them at once, and claiming writes nothing.  Only a claim's token can end it.
"""

from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from receiver import clock
from receiver.models import Event
from receiver.stores.sqlite.rows import Row

About = tuple[int, str]
"""The source and subject of an event."""


@dataclass(slots=True)
class Held:
    """`manual` is how often the delivery had been asked for by hand by then."""

    destination: int
    delivery: int
    owner: str
    until: float
    manual: int
    about: About


class Claims:
    """Which deliveries are being attempted, by destination; times are monotonic."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, int]] = {}
        self._by_token: dict[int, Held] = {}
        self._taken: dict[int, set[int]] = {}
        self._last_token = 0

    def held(self, destination: int) -> dict[int, About]:
        """
        The deliveries of a destination that are claimed, and what they are about;
        ended ones are dropped.
        """
        now = clock.monotonic()
        tokens = self._held.get(destination, {}).values()
        for token in [t for t in tokens if self._by_token[t].until <= now]:
            self.end(token)
        claims = (self._by_token[token] for token in tokens)
        return {claim.delivery: claim.about for claim in claims}

    def is_held(self, destination: int, delivery: int) -> bool:
        return delivery in self._held.get(destination, ())

    def take(
        self,
        destination: int,
        delivery: int,
        owner: str,
        lease_s: float,
        *,
        manual: int,
        about: About,
    ) -> int:
        """Claim a delivery that is not held; returns the token."""
        self._last_token += 1
        token, until = self._last_token, clock.monotonic() + lease_s
        self._by_token[token] = Held(destination, delivery, owner, until, manual, about)
        self._held.setdefault(destination, {})[delivery] = token
        if destination in self._taken:
            self._taken[destination].add(delivery)
        return token

    def find(self, token: int) -> Held | None:
        """The claim, if the token still holds it.  Its `until` may be changed."""
        return self._by_token.get(token)

    def end(self, token: int) -> None:
        claim = self._by_token.pop(token, None)
        if claim is not None:
            del self._held[claim.destination][claim.delivery]

    def forget(self, owner: str) -> None:
        for token in [t for t, held in self._by_token.items() if held.owner == owner]:
            self.end(token)

    @contextmanager
    def noting(self, destination: int) -> Generator[set[int], None, None]:
        """
        All of the destination's deliveries that are claimed while the block runs, also
        those that are done with by its end.  One block at a time.
        """
        self._taken[destination] = set()
        try:
            yield self._taken[destination]
        finally:
            del self._taken[destination]


class RecentEvents:
    """Events as they were accepted or last read, so that fan-out reads a body once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: OrderedDict[int, Event] = OrderedDict()

    def get(self, number: int) -> Event | None:
        return self._events.get(number)

    def put(self, number: int, event: Event) -> None:
        if number in self._events:
            return
        self._events[number] = event
        self._bytes += _size(event)
        while self._bytes > self._max_bytes:
            _, oldest = self._events.popitem(last=False)
            self._bytes -= _size(oldest)


def fitting(rows: Sequence[Row], max_bytes: int) -> list[Row]:
    """The first row, and the next while their bodies (the last column) fit."""
    chosen: list[Row] = []
    for row in rows:
        max_bytes -= row[-1]
        if chosen and max_bytes < 0:
            break
        chosen.append(row)
    return chosen


def _size(event: Event) -> int:
    return len(event.body) + 2_000  # the rest of an event, roughly
