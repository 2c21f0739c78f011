"""
The proof that nothing was lost, and what needs attention (pure).

Two counts that were written independently must agree: what each event's decision and
each replay said would be delivered, and the deliveries there are, by status.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from receiver import clock
from receiver.models import HeldBack, Pause
from receiver.stores import Queue, Tally, Totals


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it, per source and destination, and the sum of what does not add up."""

    tallies: Sequence[Tally]
    totals: Totals

    @property
    def difference(self) -> int:
        """0, or something was lost or made up."""
        rows = sum(abs(tally.difference) for tally in self.tallies)
        fan_out = abs(self.totals.fan_out - self.totals.routed_deliveries)
        return rows + fan_out + abs(self.totals.keys - self.totals.events)


@dataclass(frozen=True, slots=True)
class Standing:
    """One destination's queue, and why it stands still if it does."""

    queue: Queue
    pause: Pause | None
    orphaned: bool
    held_back: HeldBack | None = None

    @property
    def state(self) -> str:
        """In a word: orphaned, paused, breaker open, held back, retrying, active."""
        if self.orphaned:
            return "orphaned"
        if self.pause:
            return "paused"
        if self.held_back:
            return "breaker open" if self.held_back.by == "breaker" else "held back"
        return "retrying" if self.queue.failing else "active"

    @property
    def why(self) -> str | None:
        """Why it stands still, where it does."""
        if self.pause:
            return self.pause.reason
        held = self.held_back
        return f"until {clock.iso(held.until)}: {held.why}" if held else None


def standings(
    queues: Sequence[Queue],
    pauses: Sequence[Pause],
    configured: Collection[str],
    held_back: Mapping[str, HeldBack] | None = None,
) -> list[Standing]:
    """Every destination that is configured or still has something waiting."""
    paused = {pause.destination: pause for pause in pauses if pause.ended_at is None}
    waiting = {queue.destination: queue for queue in queues}
    names = [*configured, *sorted(waiting.keys() - set(configured))]
    return [
        Standing(
            waiting.get(name, Queue(name, 0, None)),
            paused.get(name),
            orphaned=name not in configured,
            held_back=(held_back or {}).get(name),
        )
        for name in names
        if name in configured or waiting[name].pending
    ]


def orphan_advice(standing: Standing) -> str:
    """What to do with deliveries whose destination is not configured any more."""
    name, count = standing.queue.destination, standing.queue.pending
    return (
        f"{count} deliveries wait for {name!r}, which is not configured: "
        f"receiver deliveries move --destination {name} --to OTHER, "
        f"or receiver deliveries cancel --destination {name}"
    )
