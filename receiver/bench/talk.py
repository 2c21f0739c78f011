"""
Helpers in processes of their own: a line of JSON asks, a line of JSON answers.

A helper ends with its standard input, so none outlives the command that started it.
"""

import asyncio
import base64
import json
import sys
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import uvloop

from receiver.bench.machine import pin
from receiver.errors import ReceiverError

LONGEST_LINE = 2**30
END_S = 5.0

Answer = Callable[[dict[str, Any]], Awaitable[Any]]


class Helper:
    """The asking side."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.pid = process.pid
        self._process = process
        self._name = name
        self._turn = asyncio.Lock()

    async def ask(self, what: str, **more: object) -> Any:
        """
        What it answers.

        Raises:
            ReceiverError: it could not do it, and says why; or it has ended.
        """
        reader = cast("asyncio.StreamReader", self._process.stdout)
        writer = cast("asyncio.StreamWriter", self._process.stdin)
        async with self._turn:
            writer.write(json.dumps({"ask": what, **more}).encode() + b"\n")
            line = await reader.readline()
        if not line:
            raise ReceiverError(f"the {self._name} has ended; see what it printed")
        answer = json.loads(line)
        if "error" in answer:
            raise ReceiverError(answer["error"])
        return answer["answer"]

    async def end(self) -> None:
        """Close its standard input, and wait; kill it if that does not help."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def helper(
    module: str, core: int | None, *arguments: str, fds: Sequence[int] = ()
) -> AsyncGenerator[Helper, None]:
    """`receiver.bench.MODULE` as a process on this core, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"receiver.bench.{module}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        pass_fds=fds,
        start_new_session=True,  # Ctrl-C is for the command to act on
    )
    pin(process.pid, core)
    found = Helper(process, module)
    try:
        yield found
    finally:
        await found.end()


def answering(serve: Callable[[], AsyncGenerator[Answer, None]]) -> None:
    """
    The answering side: run `serve` up to its `yield`, which gives what answers, and
    the rest of it once standard input has ended.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_answer_all(serve))


async def _answer_all(serve: Callable[[], AsyncGenerator[Answer, None]]) -> None:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    async with asynccontextmanager(serve)() as answer:
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            try:
                said: dict[str, Any] = {"answer": await answer(json.loads(line))}
            except (ReceiverError, OSError) as error:
                said = {"error": str(error)}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


def to_text(numbers: "array[Any]") -> str:
    """An array as a line can carry it."""
    return numbers.typecode + base64.b64encode(numbers.tobytes()).decode()


def from_text(text: str) -> "array[Any]":
    """The reverse of `to_text`, on the same machine."""
    found = array(text[0])
    found.frombytes(base64.b64decode(text[1:]))
    return found
