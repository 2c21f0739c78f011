"""Lives of a receiver with something in its way, and what is asked of it afterwards."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from receiver.crashtest.processes import RECEIVER, Failed, Life, Witnesses
from receiver.crashtest.verdict import Verdict

ROOT = Path(__file__).parents[2]
POINTS = (sys.executable, str(Path(__file__).with_name("points.py")))
"""In place of `python -m receiver`."""

LONG = int(os.environ.get("FAULTS_LONG", "1"))
"""How many times as much is done as in CI."""


def trapped(**environment: str) -> tuple[str, ...]:
    """A `receiver` in which what `points` offers comes about."""
    pairs = {"PYTHONPATH": str(ROOT), **environment}
    return ("env", *(f"{name}={value}" for name, value in pairs.items()), *POINTS)


@asynccontextmanager
async def alive(
    there: Witnesses, command: tuple[str, ...] = RECEIVER
) -> AsyncIterator[Life]:
    """A receiver that the sender knows of."""
    async with Life(there.folder, command) as life:
        there.receiver_is_at(await life.ready())
        yield life


async def death(there: Witnesses, command: tuple[str, ...]) -> int | None:
    """How a receiver ends that was not told to; some do before they are ready."""
    async with Life(there.folder, command) as life:
        with suppress(Failed):
            there.receiver_is_at(await life.ready())
        return await life.ended()


async def accepted(there: Witnesses, more: int, within_s: float = 30) -> None:
    """Until the sender was answered 2xx so many more times."""
    wanted = count_accepted(there) + more
    async with asyncio.timeout(within_s):
        while count_accepted(there) < wanted:  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.05)


async def logged(there: Witnesses, words: str, within_s: float = 30) -> None:
    """Until the receiver says this once more."""
    log = there.folder / "receiver.log"
    before = _times(log, words)
    async with asyncio.timeout(within_s):
        while _times(log, words) <= before:  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.05)


def _times(log: Path, words: str) -> int:
    return log.read_bytes().count(words.encode())


def count_accepted(there: Witnesses) -> int:
    return sum(note["status"] == 200 for note in there.sent())


async def still(count: Callable[[], int], for_s: float = 1.0) -> int:
    """What it counts, once that has not changed for so long; it must come about."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        found, since = count(), loop.time()
        while loop.time() - since < for_s:
            await asyncio.sleep(0.05)
            if (now := count()) != found:
                found, since = now, loop.time()
    return found


async def finished(there: Witnesses, life: Life, patience_s: float = 30) -> Verdict:
    """All is sent, delivered, and the receiver stopped: what is to be said of it."""
    await there.stop_sending()
    await there.drained(patience_s)
    return await there.judge(await life.stop())


def broken(verdict: Verdict) -> dict[str, list[str]]:
    """The promises that were, with the first few things that show it."""
    return {
        one.promise: list(one.broken[:5]) for one in verdict.promises if not one.kept
    }
