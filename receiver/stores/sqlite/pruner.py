"""The part of the SQLite store that prunes."""

from datetime import datetime

from receiver.clock import to_ms
from receiver.stores.pruning import Cutoffs, Pruned
from receiver.stores.sqlite import extent, retention
from receiver.stores.sqlite.group import GroupCommit
from receiver.stores.sqlite.reader import SqliteReader


class SqlitePruner(SqliteReader):
    """See `receiver.stores.Store` for what each method promises."""

    _group: GroupCommit
    _changes = -1
    """How many the connection had made after the last step: has anybody else since?"""
    _held_after = 0

    async def prune(self, cutoffs: Cutoffs, *, limit: int, now: datetime) -> Pruned:
        bodies, events, rejections = extent.numbers(cutoffs)
        wanted = retention.Wanted(bodies, events, rejections, limit, to_ms(now))
        step: retention.Step = await self._group.submit(retention.prune, wanted)
        alone, self._changes = step.before == self._changes, step.after
        return step.pruned.and_then(
            Pruned(reached=None, done=step.pruned.done, alone=alone)
        )

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
