"""What a lane holds: deliveries it has claimed, those that wait and those that run."""

from collections import deque
from collections.abc import Iterable, Sequence

from receiver.models import Claim


class Inbox:
    """Counts all that is held, and gives out what waits, first come first served."""

    def __init__(self) -> None:
        self._waiting: deque[Claim] = deque()
        self.held = 0
        """How many deliveries are held: those that wait, and those not done with."""

        self.bytes = 0
        """Of the bodies of all that is held."""

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
