"""Counting: what waits, and whether everything that was decided is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from receiver.models import Status


@dataclass(frozen=True, slots=True)
class Queue:
    """
    What waits for one destination.

    `failing` is the oldest pending delivery that was attempted before, in vain;
    `blocking` the oldest dead one that holds back its subject.
    """

    destination: str
    pending: int
    oldest_at: datetime | None
    failing: str | None = None
    blocking: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """
    One line of the ledger: deliveries from one source to one destination.

    `decided` comes from the events and the replays, the others from the deliveries;
    each has with it what pruning removed of its kind.
    """

    source: str
    destination: str
    decided: int
    by_status: Mapping[Status, int]

    @property
    def difference(self) -> int:
        return self.decided - sum(self.by_status.values())


@dataclass(frozen=True, slots=True)
class Totals:
    """
    Counts of what was ever kept, and how the events' own fan-outs add up.

    What pruning carried over is in `events`, `fan_out` and `routed_deliveries`.
    """

    events: int
    keys: int
    fan_out: int
    variants: int
    rejections: int
    routed_deliveries: int


class CountingReader(Protocol):
    """Looks, and changes nothing."""

    async def queues(self) -> Sequence[Queue]:
        """What waits, per destination, without reading what was delivered."""
        ...

    async def ledger(self) -> Sequence[Tally]:
        """Everything ever decided against everything there is.  Reads all of it."""
        ...

    async def totals(self) -> Totals: ...
