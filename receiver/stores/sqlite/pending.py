"""
How many deliveries are pending, by destination, without holding up the start.

Counting reads the whole index of what waits, a second for some millions.  So it is done
once, beside everything else, as of the moment the store was opened; what changed since
is counted as it is committed.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiosqlite

from receiver.stores.sqlite import reads
from receiver.stores.sqlite.reader import connect


class Pending:
    """Make it with `begin`, before anybody writes."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._changes: Counter[int] = Counter()
        self._at_first = asyncio.create_task(self._count(), name="store-pending")

    @classmethod
    async def begin(cls, path: Path) -> "Pending":
        connection = await connect(path)
        try:
            await connection.execute("BEGIN")
            await connection.execute_fetchall("SELECT id FROM deliveries LIMIT 1")
        except BaseException:
            await connection.close()
            raise
        return cls(connection)  # which sees the file as it is now from here on

    def change(self, destination: int, change: int) -> None:
        """So many more are pending."""
        self._changes[destination] += change

    async def now(self) -> Mapping[int, int]:
        """Waits until they are counted."""
        counted = Counter(await asyncio.shield(self._at_first))
        counted.update(self._changes)
        return counted

    async def close(self) -> None:
        if not self._at_first.done():
            with suppress(ValueError):  # it has counted, and is about to be closed
                await self._connection.interrupt()
        with suppress(Exception):  # whoever asked was told
            await self._at_first

    async def _count(self) -> Mapping[int, int]:
        try:
            return await reads.pending(self._connection)
        finally:
            await self._connection.close()
