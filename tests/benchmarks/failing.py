"""
Order under failures at size: one attempt in five fails, and the endpoint is the oracle.

    .venv/bin/python -m tests.benchmarks.failing --count 50000

Every subject's events must be taken first in the order they were accepted, none may
overlap another of its subject, none may be lost, and the ledger must add up.  Exit
code 1 otherwise.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import uvloop
from aiohttp import web

from receiver import logs
from receiver.ledger import Ledger
from receiver.models import Status
from receiver.settings import RetryPolicy
from receiver.stores import DeliveryFilter
from tests.benchmarks.draining import Forgetful, resident_mb
from tests.dispatching import benching, to
from tests.sinks import Seen, sink

SUBJECTS = 2_000
FAILING = 0.2
RETRY = RetryPolicy(max_attempts=1_000, waits=(timedelta(milliseconds=100),))


class Oracle:
    """What was taken of each subject, and what went wrong."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._running: set[str] = set()
        self.taken: dict[str, list[int]] = defaultdict(list)
        self.attempts = self.overlaps = self.count = 0

    async def respond(self, seen: Seen) -> web.StreamResponse:
        subject, _, number = seen.body.decode().partition(" ")
        self.attempts += 1
        self.overlaps += subject in self._running
        self._running.add(subject)
        await asyncio.sleep(self._chance.uniform(0, 0.01))
        self._running.discard(subject)
        if self._chance.random() < FAILING:
            return web.Response(status=500)
        if int(number) not in self.taken[subject]:
            self.taken[subject].append(int(number))
            self.count += 1
        return web.Response(text="ok")


async def run(count: int, seed: int) -> bool:
    logs.configure("error")
    oracle, accepted = Oracle(seed), dict[str, list[int]]()
    with tempfile.TemporaryDirectory() as folder:
        async with sink() as there, benching(Path(folder)) as bench:
            there.respond, there.seen = oracle.respond, Forgetful()
            settings = to(there, ordering="subject", retry=RETRY, concurrency=32)
            await bench.start(settings)
            started, openings, was_open = time.monotonic(), 0, False
            for number in range(count):
                subject = f"s{number % SUBJECTS}"
                accepted.setdefault(subject, []).append(number)
                body = f"{subject} {number}".encode()
                await bench.accept("app", body=body, subject=subject)
            while await bench.store.deliveries(DeliveryFilter(Status.PENDING), limit=1):
                await asyncio.sleep(0.1)
                is_open = bool(bench.dispatcher.held_back())
                openings, was_open = openings + (is_open and not was_open), is_open
                sys.stderr.write(f"\rtaken {oracle.count:,}   ")
            took = time.monotonic() - started
            ledger = Ledger(await bench.store.ledger(), await bench.store.totals())
    in_order = oracle.taken == accepted
    print(f"\nseed {seed}: {count:,} deliveries of {SUBJECTS:,} subjects")
    print(
        f"{oracle.attempts:,} attempts in {took:.0f} s: {oracle.attempts / took:.0f}/s"
    )
    print(f"breaker seen open {openings} times, memory {resident_mb():.0f} MB")
    print(f"in order {in_order}, overlaps {oracle.overlaps}, taken {oracle.count:,}")
    print(f"ledger's difference {ledger.difference}")
    right = in_order and not oracle.overlaps and not ledger.difference
    return right and oracle.count == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(32)
    )
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(0 if runner.run(run(chosen.count, chosen.seed)) else 1)


if __name__ == "__main__":
    main()
