"""
How fast webhooks are delivered 64 at a time and signed, for longer than a second.

    .venv/bin/python -m tests.benchmarks.delivering [--only drain,both,soon,hanging]

The processes, the load and the table are those of `receiver bench`, which measures the
defaults (`receiver bench delivered drain dead`).

    drain     a backlog for one endpoint is delivered and recorded; next to plain
              aiohttp, on the same core, that posts the same bodies to the same endpoint
    both      events arrive at 0.08 of what bare uvicorn takes, open loop, and are
              delivered at the same time
    soon      500 events a second for three destinations: from being sent to us to
              being received there
    hanging   what two destinations get while a third accepts connections and never
              answers, next to the same while the third is paused

Where the machine is busy, look at the CPU time for each event; it is the server's
whole process, all threads.
"""

import argparse
import asyncio
import tempfile
from functools import partial
from pathlib import Path

from receiver.bench.delivering import drained, posted, to_each
from receiver.bench.measured import Row
from receiver.bench.report import HEADINGS, cells
from receiver.bench.running import Bench, Plan, bench
from receiver.bench.server import Setup
from receiver.bench.talk import helper
from receiver.cli.output import table

AT_ONCE = 64
LATENCY_RATE = 500
HANGING_RATE = 1_000
RATIO_OF_BARE = 0.08
MORE = f'concurrency = {AT_ONCE}\nsecrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]'


def setup(bench: Bench, *names: str, hanging: str = "", paused: str = "") -> Setup:
    """Everything to each of these, and to one that never answers."""
    found = {name: bench.destination(f"/{name}", MORE) for name in names}
    found |= {name: bench.destination("/hanging", MORE) for name in hanging}
    return Setup(found, taking=names, paused=paused)


async def drain(bench: Bench, _: float) -> list[Row]:
    async with (
        helper("poster", bench.cores.server) as poster,
        bench.receiver(setup(bench, "a")) as target,
    ):
        cases = {
            "aiohttp": partial(posted, bench, poster, AT_ONCE),
            "a backlog": partial(drained, bench, target),
        }
        return await bench.alternate("drain", "closed", cases)


async def both(bench: Bench, seconds: float) -> list[Row]:
    taken = await bench.loaded(bench.bare)
    rate = taken.per_second * RATIO_OF_BARE
    load = partial(bench.loaded, count=round(rate * seconds), rate=rate)
    async with bench.receiver(setup(bench, "a")) as target:
        cases = {
            "bare uvicorn": partial(load, bench.bare),
            "to one": partial(load, target, delivered=to_each("a")),
        }
        return await bench.alternate("both", f"{rate:.0f}/s", cases)


async def soon(bench: Bench, seconds: float) -> list[Row]:
    count = round(LATENCY_RATE * seconds)
    load = partial(bench.loaded, count=count, rate=LATENCY_RATE)
    async with bench.receiver(setup(bench, *"abc")) as target:
        cases = {"to three": partial(load, target, delivered=to_each(*"abc"))}
        return await bench.alternate("soon", f"{LATENCY_RATE}/s", cases)


async def hanging(bench: Bench, seconds: float) -> list[Row]:
    count = round(HANGING_RATE * seconds)
    load = partial(bench.loaded, count=count, rate=HANGING_RATE)
    async with (
        bench.receiver(setup(bench, *"ab", hanging="c", paused="c")) as paused,
        bench.receiver(setup(bench, *"ab", hanging="c")) as hangs,
    ):
        targets = {"a third is paused": paused, "a third hangs": hangs}
        cases = {
            name: partial(load, target, delivered=to_each(*"ab"))
            for name, target in targets.items()
        }
        return await bench.alternate("hanging", f"{HANGING_RATE}/s", cases)


SCENARIOS = {"drain": drain, "both": both, "soon": soon, "hanging": hanging}


async def run(chosen: argparse.Namespace) -> None:
    rows: list[Row] = []
    plan = Plan(rounds=chosen.rounds, count=chosen.count)
    with tempfile.TemporaryDirectory() as folder:
        async with bench(plan, Path(folder), print) as started:
            for name in chosen.only.split(","):
                rows += await SCENARIOS[name](started, chosen.seconds)
    table(HEADINGS, cells(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", default=",".join(SCENARIOS))
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
