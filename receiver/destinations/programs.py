"""
Runs a program once: what it is given to read, the end of what it says, how it ended.

Its standard input is a file in memory, so a program may read all of it, a part or
nothing.  What it writes is read as fast as it comes, and all but the end forgotten:
output without end costs neither memory nor makes the program wait.
"""

import asyncio
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from receiver.child import Child, Ending

GRACE_S = 2.0
"""Seconds between SIGTERM and SIGKILL, when a program is cut off."""

CHUNK = 65_536
CHUNKS_LEFT = 32
"""How many reads empty any pipe (2 MiB).  More than that is somebody still writing."""


async def run(
    argv: Sequence[str],
    given: bytes,
    output: "Output",
    environment: Mapping[str, str | bytes],
    folder: Path,
) -> Ending:
    """
    How the program ended; then nothing of its group runs any more.

    Cancelled, it asks the program to stop, and kills what remains after `GRACE_S`.

    Raises:
        OSError: it could not be started.
    """
    with _file(given) as stdin:
        child = Child.start(
            argv,
            stdin=stdin,
            stdout=output.out.fd,
            stderr=output.err.fd,
            environment=environment,
            folder=folder,
        )
    try:
        return await asyncio.shield(child.ending)
    finally:
        await child.stop(GRACE_S)


class Output:
    """The ends of what a program writes to `out` and `err`, `kept` bytes of each."""

    def __init__(self, kept: int) -> None:
        """
        Raises:
            OSError: too many files are open.
        """
        self.out = _Tail(kept)
        try:
            self.err = _Tail(kept)
        except OSError:
            self.out.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.out.close()
        self.err.close()


class _Tail:
    """A pipe that keeps the end of what is written to `fd`."""

    def __init__(self, kept: int) -> None:
        self._reader, self.fd = os.pipe()
        os.set_blocking(self._reader, False)
        self._kept = kept
        self._text = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._read)

    def text(self) -> bytes:
        """The end of what was written until now."""
        for _ in range(CHUNKS_LEFT):
            if not self._read():
                break
        return self._text

    def close(self) -> None:
        """Stop reading.  Whoever goes on writing gets SIGPIPE."""
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        os.close(self.fd)

    def _read(self) -> bool:
        try:
            chunk = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return False
        self._text = (self._text + chunk)[-self._kept :]
        return True


@contextmanager
def _file(content: bytes) -> Generator[int]:
    """A file in memory with this content, to be read from the beginning."""
    fd = os.memfd_create("event")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)
