"""The part of the SQLite store that prunes."""

from dataclasses import replace
from datetime import datetime

from receiver.clock import to_ms
from receiver.stores.pruning import Cutoffs, Pruned
from receiver.stores.sqlite import extent, retention
from receiver.stores.sqlite.writer import SqliteWriter


class Pruning(SqliteWriter):
    """Implements `Prunes`."""

    _changes = -1
    """How many the connection had made after the last step; -1: there was none."""
    _held_after = 0

    async def prune(self, cutoffs: Cutoffs, *, limit: int, now: datetime) -> Pruned:
        bodies, events, rejections = extent.numbers(cutoffs)
        wanted = retention.Wanted(bodies, events, rejections, limit, to_ms(now))
        step: retention.Step = await self._group.submit(retention.prune, wanted)
        others = step.before - (self._changes if self._changes >= 0 else step.before)
        self._changes = step.after
        return replace(step.pruned, changed=step.after - step.before, others=others)

    async def prune_held(self, *, limit: int, now: datetime) -> Pruned:
        item = (self._held_after, limit, to_ms(now))
        pruned, self._held_after = await self._group.submit(
            retention.look_at_held, item
        )
        found: Pruned = pruned
        return found

    async def give_back(self, pages: int) -> int:
        left: int = await self._group.submit(retention.give_back, pages)
        return left
