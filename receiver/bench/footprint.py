"""
How heavy it is when it does nothing: how soon it starts, and how much memory it has.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from receiver import clock
from receiver.bench.machine import resident_mb
from receiver.bench.server import Setup, serving
from receiver.errors import ReceiverError

IDLE_S = 1.0
SECRET = "nobody needs to know"  # noqa: S105 (of a server that is asked nothing)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The best of several: what the machine does besides is not ours."""

    help_s: float
    ready_s: float
    idle_rss_mb: float | None


async def footprint(folder: Path, rounds: int) -> Footprint:
    """
    `receiver --help`; from the start of a server with three destinations of type http
    until it is ready; and its memory a second later.
    """
    helps: list[float] = []
    readies: list[float] = []
    sizes: list[float] = []
    for number in range(rounds):
        helps.append(await _help())
        ready_s, size = await _start(folder / f"footprint-{number}")
        readies.append(ready_s)
        sizes += [size] if size is not None else []
    return Footprint(
        round(min(helps), 3),
        round(min(readies), 3),
        round(min(sizes), 1) if sizes else None,
    )


async def _help() -> float:
    started = clock.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "--help", stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise ReceiverError("receiver --help failed")
    return clock.monotonic() - started


async def _start(folder: Path) -> tuple[float, float | None]:
    http = 'type = "http"\nurl = "http://127.0.0.1:9/"'
    setup = Setup(dict.fromkeys("abc", http), log_level="info")
    started = clock.monotonic()
    async with serving(setup, SECRET, folder, None) as server:
        ready_s = clock.monotonic() - started
        await asyncio.sleep(IDLE_S)
        return ready_s, resident_mb(server.pid)
