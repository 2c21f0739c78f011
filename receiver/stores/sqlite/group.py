"""
Group commit: all that queued while the last commit ran goes into one transaction.

One thread, one connection, one transaction at a time.  The event loop collects what
is to be written; the thread writes a group and hands all of its results back at once.
Each caller awaits its own result.  If one row cannot be written its group is rolled
back and everybody in it is tried alone, so that only the bad one fails; if the disk or
a lock fails, all do.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from receiver.errors import StoreBusy, StoreError
from receiver.stores.sqlite.errors import concerns_all, translate

Then = Callable[[Any], None]
"""Called with the result once it is committed, even if nobody waits any more."""

Operation = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""
Writes many items of one kind inside the open transaction; one result for each.

It runs in the writer's thread, so it touches nothing but the connection and the items.
"""


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    item: Any
    size: int
    then: Then | None
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.error is not None:
            if not self.future.done():
                self.future.set_exception(translate(self.error))
            return
        if not self.future.done():
            self.future.set_result(self.result)
        if self.then is not None:
            self.then(self.result)


class GroupCommit:
    """
    The only writer of a database; nobody else uses the connection while it is open.

    `before_commit` may refuse a transaction by raising a StoreError.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        max_bytes: int,
        before_commit: Callable[[], None],
    ) -> None:
        self.commits = 0
        self._connection = connection
        self._max_bytes = max_bytes
        self._before_commit = before_commit
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._busy = False  # a group is being written, or about to be
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._groups: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    # -- in the loop

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
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(_Waiting(operation, item, size, then, future))
        self._bytes += size
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._hand_over)  # with all that this turn brings
        return await future

    async def close(self) -> None:
        """Commit what waits, then end the thread."""
        self._closing = True
        await self._idle.wait()
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        group, self._waiting = self._waiting, []
        self._groups.put(group)

    def _take_back(self, group: list[_Waiting]) -> None:
        self._bytes -= sum(waiting.size for waiting in group)
        if self._waiting:
            self._hand_over()
        else:
            self._busy = False
            self._idle.set()
        for waiting in group:
            with suppress(Exception):  # it is committed; the others must hear of theirs
                waiting.tell()

    # -- in the thread

    def _run(self) -> None:
        while group := self._groups.get():
            self._write(group)
            try:
                self._loop.call_soon_threadsafe(self._take_back, group)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                return

    def _write(self, group: list[_Waiting]) -> None:
        try:
            self._transaction(group)
        except Exception as error:  # noqa: BLE001 (every waiting caller gets it)
            self._undo()
            if len(group) == 1 or concerns_all(error):
                for waiting in group:
                    waiting.error = error
            else:
                for waiting in group:
                    self._write([waiting])
        else:
            self.commits += 1

    def _transaction(self, group: list[_Waiting]) -> None:
        by_operation: dict[Operation, list[_Waiting]] = {}
        for waiting in group:
            by_operation.setdefault(waiting.operation, []).append(waiting)
        self._connection.execute("BEGIN IMMEDIATE")
        for operation, several in by_operation.items():
            results = operation(self._connection, [w.item for w in several])
            for waiting, result in zip(several, results, strict=True):
                waiting.result = result
        self._before_commit()
        self._connection.execute("COMMIT")

    def _undo(self) -> None:
        with suppress(Exception):  # there may be no transaction left to undo
            self._connection.rollback()
