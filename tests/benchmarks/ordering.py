"""
What keeping order costs: deliveries per second with and without it.

    .venv/bin/python -m tests.benchmarks.ordering

A real store and a real lane, alternating in one process; the destination takes
everything at once, so that only receiver's own work is measured.  The ratio is what
counts; the figures belong to the machine.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import uvloop

from receiver import logs
from receiver.destinations import Parcel
from receiver.models import Outcome, Result, Status
from receiver.settings import DestinationSettings
from receiver.stores import DeliveryFilter
from tests.dispatching import Bench, benching


class AtOnce:
    """Takes everything, and says when it has had all."""

    needs_reading: ClassVar[bool] = False

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    async def send(self, parcel: Parcel) -> Outcome:
        await asyncio.sleep(0)
        self._left -= 1
        if not self._left:
            self.done.set()
        return Outcome(Result.OK)

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Case:
    name: str
    ordering: Literal["none", "subject"]
    subject: Callable[[int], str]


CASES = (
    Case("unordered", "none", lambda i: f"subject {i}"),
    Case("ordered, one each", "subject", lambda i: f"subject {i}"),
    Case("ordered, 1,000", "subject", lambda i: f"subject {i % 1_000}"),
    Case("ordered, 100", "subject", lambda i: f"subject {i % 100}"),
)


async def run(case: Case, count: int) -> tuple[float, float, float]:
    """Events accepted and deliveries made per second, and microseconds of CPU for each."""
    with tempfile.TemporaryDirectory() as folder:
        async with benching(Path(folder)) as bench:
            there = AtOnce(count)
            settings = DestinationSettings("app", type="bench", ordering=case.ordering)
            await bench.store.keep_order(
                {"app": "skip" if case.ordering == "subject" else None}
            )
            bench.dispatcher._make = lambda _: there
            started = time.perf_counter()
            await _accept(bench, case, count)
            accepted = time.perf_counter() - started
            started, cpu = time.perf_counter(), time.process_time()
            await bench.start(settings)
            await there.done.wait()
            await _settled(bench)
            took, cpu = time.perf_counter() - started, time.process_time() - cpu
            return count / accepted, count / took, cpu / count * 1e6


async def _accept(bench: Bench, case: Case, count: int) -> None:
    for first in range(0, count, 64):
        numbers = range(first, min(first + 64, count))
        await asyncio.gather(
            *(bench.accept("app", subject=case.subject(i)) for i in numbers)
        )


async def _settled(bench: Bench) -> None:
    pending = DeliveryFilter(Status.PENDING)
    while await bench.store.deliveries(pending, limit=1):
        pass


async def compare(rounds: int, count: int) -> None:
    logs.configure("error")
    found: dict[str, list[tuple[float, float, float]]] = {
        case.name: [] for case in CASES
    }
    for number in range(rounds):
        for case in CASES:
            found[case.name].append(await run(case, count))
            sys.stderr.write(f"\rround {number + 1} of {rounds}: {case.name:<20}")
    sys.stderr.write("\n")
    medians = {
        name: [statistics.median(column) for column in zip(*several, strict=True)]
        for name, several in found.items()
    }
    base = medians["unordered"]
    print(f"{count:,} deliveries, medians of {rounds} rounds, per second")
    print(
        f"{'':<20}{'accepted':>10}{'ratio':>7}{'delivered':>11}{'ratio':>7}"
        f"{'CPU us each':>13}{'ratio':>7}"
    )
    for name, (accepted, delivered, cpu) in medians.items():
        print(
            f"{name:<20}{accepted:>10,.0f}{accepted / base[0]:>7.2f}"
            f"{delivered:>11,.0f}{delivered / base[1]:>7.2f}"
            f"{cpu:>13,.0f}{cpu / base[2]:>7.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10_000)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(chosen.rounds, chosen.count))


if __name__ == "__main__":
    main()
