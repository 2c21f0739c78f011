"""
What a lane holds: deliveries it has claimed, those that wait and those that run; and
how many more it should claim.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from receiver.gate import Gate
from receiver.models import Claim
from receiver.settings import DestinationSettings

AHEAD = 16
"""How many times what may run at a time a lane holds, so that it never waits for a
read; it looks for more when half of that is left."""

ENOUGH = 256
"""No more than this is held, or twice what may run at a time if that is more."""

HORIZON_S = 2.0
"""What may not begin within this time is not claimed yet."""

MOST_TOGETHER = 100
"""Deliveries in one attempt, where a destination collects them."""

MAX_CLAIMED_BYTES = 16 * 1024 * 1024


class Inbox:
    """
    Counts all that is held, and gives out what waits, first come first served.

    Times are monotonic seconds.
    """

    def __init__(self, settings: DestinationSettings, gate: Gate) -> None:
        self._gate = gate
        self._collects = bool(settings.window)
        self._waiting: deque[Claim] = deque()
        self.held = 0
        """How many deliveries are held: those that wait, and those not done with."""

        self.bytes = 0
        """Of the bodies of all that is held."""

        self.few = 0
        """When no more than this is held it is worth a look for more."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self._waiting.append(claim)
            self.held += 1
            self.bytes += len(claim.event.body)

    def next(self) -> Claim:
        """The one that waits longest.  It stays held."""
        return self._waiting.popleft()

    def next_together(self) -> Sequence[Claim]:
        """All that wait and are as far as the one that waits longest."""
        as_far = self._waiting[0].delivery.progress
        together = [one for one in self._waiting if one.delivery.progress == as_far]
        others = [one for one in self._waiting if one.delivery.progress != as_far]
        self._waiting = deque(others)
        return together

    def done(self, claims: Sequence[Claim]) -> None:
        """These are held no more."""
        self.held -= len(claims)
        self.bytes -= sum([len(claim.event.body) for claim in claims])

    def empty(self) -> Sequence[Claim]:
        """All that wait; they are held no more."""
        claims = list(self._waiting)
        self._waiting.clear()
        self.done(claims)
        return claims

    # -- how many to hold

    def may_begin_soon(self, now: float) -> bool:
        """Whether anything may begin before long."""
        gate = self._gate
        return gate.limit(now) > 0 and gate.soon(now, HORIZON_S, 1) > 0

    def too_many(self, now: float) -> bool:
        """Whether what waits could wait for longer than its claim lasts."""
        if not self.may_begin_soon(now):
            return True
        return not self._collects and self.waiting > self._gate.limit(now) * AHEAD

    def takes(self, now: float, size: int, others: int) -> bool:
        """
        Whether one more, with so large a body, could begin soon after those that wait,
        and `others`.
        """
        most = self._most(now)
        return (
            self.held + others < most
            and self.bytes + size <= MAX_CLAIMED_BYTES
            and self.waiting + others < self._gate.soon(now, HORIZON_S, most)
        )

    def room(self, now: float) -> int:
        """How many to claim now; few at a time are not worth a look."""
        if self._collects:
            return MOST_TOGETHER if self.may_begin_soon(now) and not self.held else 0
        most = self._most(now)
        self.few = most // 2
        if self.held > self.few or self.bytes >= MAX_CLAIMED_BYTES:
            return 0
        soon = self._gate.soon(now, HORIZON_S, most)
        if self.waiting * 2 > soon:
            return 0
        return min(most - self.held, soon - self.waiting)

    def _most(self, now: float) -> int:
        at_a_time = self._gate.limit(now)
        if self._gate.probing:
            return at_a_time
        return min(at_a_time * AHEAD, max(at_a_time * 2, ENOUGH))
