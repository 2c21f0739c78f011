"""
A start with very much to do, next to a start with nothing.

    .venv/bin/python -m tests.benchmarks.starting [--pending 1000000] [--keep DIR]

Makes a store in which so many deliveries wait for three destinations, all due, then
starts servers on it and on an empty one, in turn: from the start of the process until
`/readyz` says yes, the CPU time it took until then, and memory then and while it delivers
(ten seconds, to an endpoint that takes everything).  With `--keep` the store stays, and
is used again; what was delivered by then is.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop

from receiver import clock
from receiver.bench.events import body
from receiver.bench.filling import RUN, Past, Pattern, fill
from receiver.bench.machine import resident_mb, usage
from receiver.bench.server import STORE, Setup, serving
from receiver.models import Status
from tests.sinks import Seen, sink

NAMES = ("a", "b", "c")
SECRET = "nobody needs to know"
LIMIT_S = 2.0
WATCHED_S = 10


async def start(setup: Setup, folder: Path) -> "Start":
    """Seconds until it was ready, CPU seconds of it, and megabytes from then on."""
    began = clock.monotonic()
    async with serving(setup, SECRET, folder, None) as server:
        ready_s, cpu_s = clock.monotonic() - began, usage(server.pid).cpu_s or 0.0
        memory = [resident_mb(server.pid) or 0.0]
        for _ in range(WATCHED_S):
            await asyncio.sleep(1)
            memory.append(resident_mb(server.pid) or 0.0)
    return ready_s, cpu_s, memory


async def run(pending: int, rounds: int, folder: Path) -> bool:
    """Whether it was ready in time."""
    waiting = dict.fromkeys(NAMES, Status.PENDING)
    past = Past([Pattern(_body, fates=waiting)], lambda number: (0, number))
    full, empty = folder / "full", folder / "empty"
    full.mkdir(parents=True, exist_ok=True)
    if not (full / STORE).exists():
        async for done in fill(full / STORE, pending // len(NAMES), NAMES, past):
            sys.stderr.write(f"\rwriting events: {done:,}")
        sys.stderr.write("\n")
    found: dict[str, list[Start]] = {"empty": [], "full": []}
    async with sink() as taking:
        taking.seen = _Forgetful()
        http = f'type = "http"\nurl = "{taking.url}/"'
        setup = Setup(dict.fromkeys(NAMES, http))
        for _ in range(rounds):
            found["empty"].append(await start(setup, empty))
            found["full"].append(await start(setup, full))
    print(f"{'':<8}{'READY S':>9}{'CPU S':>8}{'MB':>8}{'MOST MB':>9}")
    for name, rows in found.items():
        ready_s = _median(rows, lambda row: row[0])
        cpu_s = _median(rows, lambda row: row[1])
        first = _median(rows, lambda row: row[2][0])
        most = _median(rows, lambda row: max(row[2]))
        print(f"{name:<8}{ready_s:>9.2f}{cpu_s:>8.2f}{first:>8.0f}{most:>9.0f}")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return _median(found["full"], lambda row: row[0]) < LIMIT_S


def _body(batch: int) -> bytes:
    return body(batch, RUN)


Start = tuple[float, float, list[float]]


def _median(rows: list[Start], of: Callable[[Start], float]) -> float:
    return statistics.median(map(of, rows))


class _Forgetful(list[Seen]):
    def append(self, _: Seen) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        folder = chosen.keep or Path(name)
        ok = runner.run(run(chosen.pending, chosen.rounds, folder))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
