"""
Claims, held in memory.

One process owns a SQLite file, so a claim never needs to outlive it: a crash frees
all of them at once, and claiming writes nothing.  Only a claim's token can end it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from receiver import clock
from receiver.models import Event
from receiver.stores.sqlite.rows import Row

About = tuple[int, str]
"""The source and subject of an event."""


@dataclass(frozen=True, slots=True)
class Held:
    """`manual` is how often the delivery had been asked for by hand by then."""

    token: int
    owner: str
    until: float
    manual: int
    about: About


class Claims:
    """Which deliveries are being attempted, by destination; times are monotonic."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, Held]] = {}
        self._last_token = 0

    def held(self, destination: int) -> dict[int, About]:
        """
        The deliveries of a destination that are claimed, and what they are about;
        ended ones are dropped.
        """
        held = self._held.get(destination)
        if not held:
            return {}
        now = clock.monotonic()
        for delivery in [d for d, claim in held.items() if claim.until <= now]:
            del held[delivery]
        return {delivery: claim.about for delivery, claim in held.items()}

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
        until = clock.monotonic() + lease_s
        held = self._held.setdefault(destination, {})
        held[delivery] = Held(self._last_token, owner, until, manual, about)
        return self._last_token

    def find(self, destination: int, delivery: int, token: int) -> Held | None:
        """The claim, if the token still holds it."""
        claim = self._held.get(destination, {}).get(delivery)
        return claim if claim is not None and claim.token == token else None

    def extend(self, destination: int, delivery: int, claim: Held) -> None:
        """Replace a claim by one of the same token that ends at another time."""
        if self.find(destination, delivery, claim.token):
            self._held[destination][delivery] = claim

    def end(self, destination: int, delivery: int, token: int) -> None:
        if self.find(destination, delivery, token):
            del self._held[destination][delivery]

    def forget(self, owner: str) -> None:
        for held in self._held.values():
            for delivery in _of(held.items(), owner):
                del held[delivery]


def _of(held: Iterable[tuple[int, Held]], owner: str) -> list[int]:
    return [delivery for delivery, claim in held if claim.owner == owner]


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
