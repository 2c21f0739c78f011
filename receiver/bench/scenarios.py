"""
The scenarios that `receiver bench` knows, and the two about taking webhooks.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from receiver.bench import delivering, growth
from receiver.bench.measured import Row
from receiver.bench.running import Bench, Once, Plan, Target
from receiver.bench.server import Setup


@dataclass(frozen=True)
class Scenario:
    """How it is run, and what that takes; `quick` ones are run if none is named."""

    run: Callable[[Bench], Awaitable[list[Row]]]
    cases: int
    quick: bool = False
    more_steps: Callable[[Plan], int] = lambda _: 0
    needed_bytes: Callable[[Plan], int] = lambda _: 0

    def steps(self, plan: Plan) -> int:
        """Of the progress bar."""
        return self.cases * plan.rounds + self.more_steps(plan)


def taking(log_level: str) -> Setup:
    """Three destinations and one condition, paused: what is measured is the intake."""
    nowhere = 'type = "http"\nurl = "http://127.0.0.1:9/"'
    return Setup(
        destinations=dict.fromkeys("abc", nowhere),
        conditions={"c": "data.summary.failed > 0"},
        paused="abc",
        log_level=log_level,
    )


async def intake(bench: Bench) -> list[Row]:
    """How fast webhooks are taken: without log lines, and with one for each."""
    async with AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(bench.receiver(taking("warning")))
        telling = await stack.enter_async_context(bench.receiver(taking("info")))
        targets = {
            "baseline": bench.bare,
            "log_level warning": quiet,
            "a log line each": telling,
        }
        rows = await bench.alternate("intake", "closed", closed(bench, targets))
        del targets["a log line each"]  # how long one waits is the same
        return [
            *rows,
            *await bench.alternate("intake", paced(bench), open_(bench, targets)),
        ]


async def duplicates(bench: Bench) -> list[Row]:
    """How fast copies of one event are answered."""
    async with bench.receiver(taking("warning")) as quiet:
        targets = {"baseline": bench.bare, "one event again": quiet}
        cases = closed(bench, targets, same=True)
        return await bench.alternate("duplicates", "closed", cases)


def at(place: Target) -> Mapping[str, Callable[[Bench], Awaitable[list[Row]]]]:
    """What can be measured at a server that runs somewhere, with its source's secret."""

    async def taken(bench: Bench) -> list[Row]:
        targets = {"baseline": bench.bare, "the server": place}
        return [
            *await bench.alternate("intake", "closed", closed(bench, targets)),
            *await bench.alternate("intake", paced(bench), open_(bench, targets)),
        ]

    async def again(bench: Bench) -> list[Row]:
        targets = {"baseline": bench.bare, "the server": place}
        cases = closed(bench, targets, same=True)
        return await bench.alternate("duplicates", "closed", cases)

    return {"intake": taken, "duplicates": again}


def closed(
    bench: Bench, targets: Mapping[str, Target], *, same: bool = False
) -> Mapping[str, Once]:
    """A closed loop on each."""
    return {
        name: partial(bench.loaded, target, same=same)
        for name, target in targets.items()
    }


def open_(bench: Bench, targets: Mapping[str, Target]) -> Mapping[str, Once]:
    """An open loop on each."""
    return {
        name: partial(bench.loaded, target, rate=bench.plan.rate)
        for name, target in targets.items()
    }


def paced(bench: Bench) -> str:
    """What rows say of an open loop."""
    return f"{bench.plan.rate:g}/s"


SCENARIOS: Mapping[str, Scenario] = {
    "intake": Scenario(intake, 5, quick=True),
    "delivered": Scenario(delivering.delivered, 6, quick=True),
    "drain": Scenario(delivering.drain, 2),
    "duplicates": Scenario(duplicates, 2),
    "dead": Scenario(delivering.dead, 4),
    "growth": Scenario(
        growth.growth,
        2,
        more_steps=growth.fill_steps,
        needed_bytes=growth.needed_bytes,
    ),
}
