"""
A destination that was down, and all that waited for it.

    .venv/bin/python -m tests.benchmarks.draining --count 100000 --rate 500/s

So many deliveries wait while a real endpoint refuses everything and the breaker is
open.  Then it is up, and they drain.  Shown: what it was asked while it was down, the
most it was given in any second and at a time, how long it took against what the rate
allows, and the memory.  Exit code 1 if the rate was exceeded or the memory grew.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import uvloop
from aiohttp import web

from receiver import logs
from receiver.models import Rate, Status
from receiver.settings import BreakerPolicy
from receiver.settings.fields import rate
from receiver.stores import DeliveryFilter
from tests.dispatching import Bench, benching, to
from tests.sinks import Seen, sink

DOWN_S = 10.0
GROWTH_MB = 40
BREAKER = BreakerPolicy(wait=timedelta(seconds=1), longest_wait=timedelta(seconds=2))


class Endpoint:
    """Refuses everything until it is up; counts by the second."""

    def __init__(self) -> None:
        self.up = False
        self.refused = 0
        self.by_second: Counter[int] = Counter()
        self.running = 0
        self.most = 0
        self.at: list[float] = []

    async def respond(self, _: Seen) -> web.StreamResponse:
        if not self.up:
            self.refused += 1
            return web.Response(status=503)
        now = time.monotonic()
        self.at.append(now)
        self.by_second[int(now)] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.005)
        self.running -= 1
        return web.Response(text="ok")


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def drain(count: int, allowed: Rate) -> bool:
    logs.configure("error")
    endpoint = Endpoint()
    with tempfile.TemporaryDirectory() as folder:
        async with sink() as there, benching(Path(folder)) as bench:
            there.respond = endpoint.respond
            there.seen = Forgetful()
            await _accept(bench, count)
            await bench.start(to(there, max_rate=allowed, breaker=BREAKER))
            await asyncio.sleep(DOWN_S)
            before_mb, refused = resident_mb(), endpoint.refused
            endpoint.up = True
            started = time.monotonic()
            most_mb = await _drained(bench, endpoint, count)
    took = endpoint.at[-1] - endpoint.at[0]
    longest = count / allowed.per_second
    busiest = max(endpoint.by_second.values())
    print(f"{count:,} deliveries waited; {allowed} allowed")
    print(f"while it was down for {DOWN_S:g} s   {refused} attempts")
    print(f"first taken after           {endpoint.at[0] - started:.1f} s")
    print(f"drained in                  {took:.1f} s; the rate allows {longest:.1f} s")
    print(f"busiest second              {busiest} taken")
    print(f"most at a time              {endpoint.most}")
    print(f"memory before, most         {before_mb:.0f} MB, {most_mb:.0f} MB")
    hasty = busiest > allowed.per_second * 1.15 + 2
    return not hasty and most_mb - before_mb < GROWTH_MB


class Forgetful(list[Seen]):
    """A sink's memory would be what grows."""

    def append(self, _: Seen) -> None: ...


async def _accept(bench: Bench, count: int) -> None:
    for first in range(0, count, 64):
        several = range(first, min(first + 64, count))
        await asyncio.gather(*(bench.accept("app", body=b"x" * 1_000) for _ in several))
        sys.stderr.write(f"\raccepted {first:,}")


async def _drained(bench: Bench, endpoint: Endpoint, count: int) -> float:
    """Wait until all is delivered; the most memory there was."""
    most = resident_mb()
    while len(endpoint.at) < count:
        await asyncio.sleep(1)
        most = max(most, resident_mb())
        sys.stderr.write(f"\rtaken {len(endpoint.at):,}, {most:.0f} MB   ")
    sys.stderr.write("\n")
    while await bench.store.deliveries(DeliveryFilter(Status.PENDING), limit=1):
        pass
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=rate, default="500/s")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(0 if runner.run(drain(chosen.count, chosen.rate)) else 1)


if __name__ == "__main__":
    main()
