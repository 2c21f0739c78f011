"""Watching real processes: hearing from them, and seeing them end."""

import asyncio
import os
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
        return await asyncio.to_thread(self.path.read_text)

    async def told_by(self, doing: Coroutine[Any, Any, T]) -> tuple[str, T]:
        """What it tells, and what comes of it."""
        task = asyncio.create_task(doing)
        return await self.told(), await task

    async def tell(self) -> None:
        await asyncio.to_thread(self.path.write_text, "go on")


async def ended(pid: int) -> None:
    """Return when the process has ended, whosever child it is."""
    with suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(fd, over.set)
        try:
            async with asyncio.timeout(20):
                await over.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)
