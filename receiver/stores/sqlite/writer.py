"""What every part of the store that writes stands on."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiosqlite

from receiver import ids
from receiver.errors import StoreUnusable
from receiver.models import Decision, OnDead
from receiver.stores.sqlite.claims import RecentEvents
from receiver.stores.sqlite.due import DueNow
from receiver.stores.sqlite.group import GroupCommit, Operation, Then
from receiver.stores.sqlite.guard import FileGuard
from receiver.stores.sqlite.handover import HandOver
from receiver.stores.sqlite.names import add_decisions, add_names
from receiver.stores.sqlite.outcomes import record_attempts
from receiver.stores.sqlite.pending import Pending
from receiver.stores.sqlite.reader import SqliteReader
from receiver.stores.sqlite.recording import Recording

CACHED_EVENT_BYTES = 16 * 1024 * 1024


class SqliteWriter(SqliteReader):
    """
    One connection writes, in groups; one reads what is due, one everything else.

    Beside them is what is only in memory: what is claimed, who is handed what, how much
    is pending, and which numbers were given out.
    """

    def __init__(
        self,
        connections: Sequence[aiosqlite.Connection],
        group: GroupCommit,
        guard: FileGuard,
        pending: Pending,
    ) -> None:
        due, reader = connections
        super().__init__(reader)
        self._group = group
        self._guard = guard
        self._pending = pending
        self._due = due
        self._ids = ids.IdSource()
        self._recent = RecentEvents(CACHED_EVENT_BYTES)
        self._due_now = DueNow(due, self._recent, self._names, self._known)
        self._claims = self._due_now.claims
        self._hand_over = HandOver(self._claims, self._names)
        self._order: dict[int, OnDead] = {}
        self._recording = Recording(
            lambda records, then: self._write(record_attempts, records, then=then),
            self._due_now,
            self._hand_over,
            pending,
        )

    async def _write(
        self, operation: Operation, item: Any, size: int = 0, then: Then | None = None
    ) -> Any:
        try:
            return await self._group.submit(operation, item, size, then)
        except StoreUnusable as error:
            self._guard.damaged(error)
            raise

    async def _know_names(self, *names: str) -> None:
        """Give names their numbers before the rows that carry them: rare, so apart."""
        unknown = [name for name in names if name not in self._names.numbers]
        if unknown:
            await asyncio.gather(*(self._write(add_names, name) for name in unknown))
            await self._known()

    async def _know_decision(self, decision: Decision) -> int:
        await self._know_names(*decision.destinations)
        await self._write(add_decisions, decision)
        await self._known()
        return self._names.decision_numbers[decision]
