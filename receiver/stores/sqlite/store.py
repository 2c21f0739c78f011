"""
The store in one SQLite file, owned by one process.

WAL with `synchronous=FULL`: a commit is on the disk before anybody is told of it.
One connection writes, in groups (`group`); one reads what is due, one everything
else.  Claims are in memory (`claims`): they must not outlive the process anyway.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import aiosqlite

from receiver import clock
from receiver.clock import to_ms
from receiver.errors import StoreUnusable
from receiver.models import OnDead
from receiver.stores.counting import Queue
from receiver.stores.sqlite import extent, following, lines, reads, writes
from receiver.stores.sqlite.accepting import Accepting
from receiver.stores.sqlite.deciding import Deciding
from receiver.stores.sqlite.delivering import Delivering
from receiver.stores.sqlite.errors import translated
from receiver.stores.sqlite.group import GroupCommit
from receiver.stores.sqlite.guard import FileGuard, create_privately
from receiver.stores.sqlite.keeping import Keeping
from receiver.stores.sqlite.lock import FileLock
from receiver.stores.sqlite.mending import Mending
from receiver.stores.sqlite.migrate import migrate
from receiver.stores.sqlite.pending import Pending
from receiver.stores.sqlite.pruning import Pruning
from receiver.stores.sqlite.reader import connect, open_file

MAX_WAITING_BYTES = 128 * 1024 * 1024
LOG_BYTES = 64 * 1024 * 1024
"""To which the log is cut when it begins anew: while somebody reads everything it only
grows."""
CHECKPOINT_PAGES = 4_000  # 16 MB of log: fewer, larger checkpoints write less


class SqliteStore(Accepting, Delivering, Mending, Keeping, Deciding, Pruning):
    """Implements `receiver.stores.Store`; make it with `SqliteStore.open`."""

    def __init__(
        self,
        path: Path,
        connections: Sequence[aiosqlite.Connection],
        group: GroupCommit,
        guard: FileGuard,
        pending: Pending,
    ) -> None:
        super().__init__(connections, group, guard, pending)
        self.path = path
        self._life = AsyncExitStack()

    @classmethod
    async def open(cls, path: Path, min_free_bytes: int = 0) -> "SqliteStore":
        """See `receiver.stores.open_store`."""
        if not path.parent.is_dir():
            raise StoreUnusable(f"the folder {path.parent} does not exist")
        if path.is_dir():
            raise StoreUnusable(f"{path} is a folder; name a file in it")
        async with AsyncExitStack() as life, translated():
            life.callback(FileLock(path).release)
            writer = await asyncio.to_thread(_open_to_write, path)
            # Last of the connections: only then it can empty the log into the file.
            life.push_async_callback(asyncio.to_thread, writer.close)
            order = await asyncio.to_thread(lines.ordered, writer)
            connections: list[aiosqlite.Connection] = []
            for _ in range(2):
                connections.append(connection := await connect(path))
                life.push_async_callback(connection.close)
            pending = await Pending.begin(path)
            life.push_async_callback(pending.close)
            guard = FileGuard(path, min_free_bytes)
            group = GroupCommit(
                writer, max_bytes=MAX_WAITING_BYTES, before_commit=guard.check_file
            )
            life.push_async_callback(group.close)
            store = cls(path, connections, group, guard, pending)
            await store._start(order)
            store._life = life.pop_all()
        return store

    async def _start(self, order: dict[int, OnDead]) -> None:
        await self._names.load(self._reader)
        self._order = order
        self._due_now.ordered.update(order)
        for table in ("events", "deliveries", "replays", "rejections", "subjects"):
            rows = await self._due.execute_fetchall(f"SELECT max(id) FROM {table}")
            self._ids.advance(next(iter(rows))[0] or 0)
        # What is beyond a cursor is new, also if all events were pruned since.
        self._ids.advance(await following.furthest(self._due))
        self._ids.advance(await extent.pruned_to(self._due))

    async def close(self) -> None:
        await self._life.aclose()

    @property
    def commits(self) -> int:
        return self._group.commits

    async def remember(self, name: str, text: str, now: datetime) -> None:
        await self._write(writes.remember, (name, text, to_ms(now)), len(text))

    async def ping(self) -> None:
        self._guard.check_room()
        await self._write(writes.beat, to_ms(clock.now()))

    async def queues(self) -> Sequence[Queue]:
        async with translated():
            return await reads.queues(
                self._reader, self._known, await self._pending.now()
            )


def _open_to_write(path: Path) -> sqlite3.Connection:
    create_privately(path)
    writer = open_file(path, "rw")
    try:
        migrate(writer)
        lines.teach(writer)
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("PRAGMA secure_delete = FAST").fetchall()
        writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}").fetchall()
        writer.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}").fetchall()
    except BaseException:
        writer.close()
        raise
    return writer
