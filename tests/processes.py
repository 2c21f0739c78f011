"""Watching real processes: hearing from them, and seeing them end."""

import asyncio
import os
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Fifo:
    """Where a process tells the test something, or waits for it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path

    async def told(self) -> str:
        """All that the next one to write to it writes."""
        reader = asyncio.StreamReader(limit=2**24)
        loop = asyncio.get_running_loop()
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
        )
        try:
            return (await reader.read()).decode()
        finally:
            transport.close()

    async def told_by(self, doing: Coroutine[Any, Any, T]) -> tuple[str, T]:
        """What it tells, and what comes of it."""
        task = asyncio.create_task(doing)
        return await self.told(), await task

    def tell(self) -> None:
        """A line for whoever reads one, now or later."""
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        weakref.finalize(self, os.close, fd)  # what is unread is lost when it is closed
        os.write(fd, b"go on\n")


async def ended(pid: int) -> None:
    """Return when the process has ended, whosever child it is."""
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, over.set)
        try:
            async with asyncio.timeout(60):
                await over.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)
