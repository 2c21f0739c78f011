"""The part of the SQLite store that keeps what following made of events."""

from collections.abc import Sequence
from datetime import datetime

from receiver import ids
from receiver.clock import to_ms
from receiver.stores.following import Change
from receiver.stores.sqlite import following, joins, subjects
from receiver.stores.sqlite.writer import SqliteWriter


class Keeping(SqliteWriter):
    """Implements `FollowingStore`."""

    async def advance(
        self,
        name: str,
        upto: str | None,
        changes: Sequence[Change],
        decided: Sequence[str] = (),
    ) -> None:
        item = following.prepared(name, upto, changes, decided, self._names.numbers)
        await self._write(following.advance, item)

    async def register_subjects(
        self, source: str, provider: str, names: Sequence[str], now: datetime
    ) -> int:
        await self._know_names(source, provider)
        first = self._ids.take(now, max(1, len(names)))
        numbers = (self._names.numbers[source], self._names.numbers[provider])
        item = [(first + i, *numbers, name, now) for i, name in enumerate(names)]
        added: int = await self._write(subjects.register, item)
        return added

    async def prune_subjects(self, before: datetime, limit: int) -> int:
        item = (ids.floor(before), to_ms(before), limit)
        pruned: int = await self._write(subjects.prune, item)
        return pruned

    async def prune_joins(self, before: datetime, limit: int) -> int:
        pruned: int = await self._write(joins.prune, (limit, to_ms(before)))
        return pruned
