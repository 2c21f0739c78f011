"""
Group commit: all that queued while the last commit ran goes into one transaction.

One task, one connection, one transaction at a time.  Each caller awaits its own
result.  If one row cannot be written its group is rolled back and everybody in it is
tried alone, so that only the bad one fails; if the disk or a lock fails, all do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiosqlite

from receiver.errors import StoreBusy, StoreError
from receiver.stores.sqlite.errors import concerns_all, translate

Then = Callable[[Any], None]
"""Called with the result once it is committed, even if nobody waits any more."""

Operation = Callable[[aiosqlite.Connection, Sequence[Any]], Awaitable[Sequence[Any]]]
"""Writes many items of one kind inside the open transaction; one result for each."""


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    item: Any
    size: int
    then: Then | None
    future: asyncio.Future[Any]

    def done(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)
        if self.then is not None:
            self.then(result)


class GroupCommit:
    """
    The only writer of a database.

    `before_commit` may refuse a transaction by raising a StoreError.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        *,
        max_bytes: int,
        before_commit: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._before_commit = before_commit
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self.commits = 0
        self._task = asyncio.create_task(self._run(), name="store-writer")

    async def submit(
        self,
        operation: Operation,
        item: Any,
        size: int = 0,
        then: Then | None = None,
    ) -> Any:
        """
        The operation's result for this item, once it is committed.

        Who is cancelled while waiting does not stop the commit: what must follow it
        belongs in `then`.

        Raises:
            StoreBusy: more than `max_bytes` wait already.
            StoreError: it was not written.
        """
        if self._closing:
            raise StoreError("the store is closed")
        if size and self._bytes + size > self._max_bytes:
            raise StoreBusy("too much is waiting to be written")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(operation, item, size, then, future))
        self._bytes += size
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._write(group)
                self._bytes -= sum(waiting.size for waiting in group)

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            results = await self._transaction(group)
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            await self._undo()
            if len(group) == 1 or concerns_all(error):
                for waiting in group:
                    _fail(waiting.future, error)
            else:
                for waiting in group:
                    await self._write([waiting])
        else:
            self.commits += 1
            for waiting, result in results:
                with suppress(Exception):  # it is committed; the writer must go on
                    waiting.done(result)

    async def _transaction(self, group: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        by_operation: dict[Operation, list[_Waiting]] = {}
        for waiting in group:
            by_operation.setdefault(waiting.operation, []).append(waiting)
        results: list[tuple[_Waiting, Any]] = []
        await self._connection.execute("BEGIN IMMEDIATE")
        for operation, several in by_operation.items():
            done = await operation(self._connection, [w.item for w in several])
            results += zip(several, done, strict=True)
        self._before_commit()
        await self._connection.commit()
        return results

    async def _undo(self) -> None:
        with suppress(Exception):  # there may be no transaction left to undo
            await self._connection.rollback()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(translate(error))
