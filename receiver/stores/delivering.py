"""Delivering: who attempts what is due, what came of it, and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from receiver.models import Attempt, Claim, OnDead, Step


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was due, and when the next delivery will be (None: nothing waits)."""

    claims: Sequence[Claim]
    next_due_at: datetime | None


class Taker(Protocol):
    """
    Who attempts a destination's deliveries, and would rather be given what is accepted
    than look for it.  The methods return at once.

    What is handed over is claimed for `owner`, for `lease_s` seconds.
    """

    owner: str
    lease_s: float

    def has_room(self, size: int) -> bool:
        """
        Whether a delivery with so large a body may be claimed for it now: it could
        begin soon, and nothing that is due longer waits unclaimed.
        """
        ...

    def take(self, claim: Claim) -> None:
        """A delivery it had room for, committed and claimed."""
        ...

    def look(self) -> None:
        """A delivery is due, or was added, that is not handed over."""
        ...


class DeliveringStore(Protocol):
    """Gives what is due to one at a time, and keeps what came of it."""

    async def claim(
        self,
        destination: str,
        *,
        owner: str,
        now: datetime,
        limit: int,
        max_bytes: int,
        lease_s: float,
        by_hand: bool = False,
    ) -> Claimed:
        """
        Take what is due, oldest due first, so that nobody else does.

        At most `limit`, and after the first no more bodies than fit in `max_bytes`.
        `by_hand` takes only what somebody asked to retry.  A claim that is neither
        recorded nor released ends after `lease_s` seconds.
        """
        ...

    def hand_to(self, destination: str, taker: Taker | None) -> None:
        """
        From now on tell this one, in place of any earlier, of each delivery that is
        accepted for a destination, and hand it over claimed where that is possible;
        None: nobody.  Replays and what is due again must be claimed.
        """
        ...

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        """
        Write down an attempt and what follows, and end the claim.

        False: the claim is not the holder's any more, and nothing was written.  A
        delivery cancelled meanwhile keeps that status; the attempt is still recorded.
        """
        ...

    async def record_all(
        self, outcomes: Sequence[tuple[Claim, Attempt, Step]]
    ) -> Sequence[bool]:
        """`record` for each, with one result for each; all are written, or none."""
        ...

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back untouched; others may take them at once."""
        ...

    async def bring_forward(
        self, destination: str, waits: Sequence[timedelta], now: datetime
    ) -> int:
        """
        Make due `now` what is due later than it can be, for the clock was ahead when
        that was decided; returns how many it was.

        After the nth attempt of a round that is `waits[n - 1]` from now, or the last of
        them; after a 429 or 503, which may ask for more, a day.  What was just accepted,
        or asked for by hand, is never due in the future.  What is to be due later for
        another reason stays: a replay with a rate, an event that is held.
        """
        ...

    async def forget_claims(self, owner: str) -> None:
        """Free whatever a process of this name had claimed before it ended."""
        ...

    async def keep_order(self, wanted: Mapping[str, OnDead | None]) -> None:
        """
        Which destinations get each subject in order from now on, also after a restart,
        and what a dead delivery does there; None: in no order.  What is not named stays
        as it is.

        There a source's subject has two lines: what was accepted, in that order, and
        replays and retried dead deliveries, in the order they were asked for.  A claim
        gives only the first of a line, and none of a subject of which another delivery
        is claimed.  Who is first stays so until it is delivered, cancelled or dead;
        with "block" one that is dead stays in its line, and in front of those behind
        it, until it is delivered after a retry, or cancelled.

        What is pending when order begins is put in line as if it had always been kept;
        what is dead by then holds nobody back.

        Raises:
            StoreError: nothing was changed.
        """
        ...
