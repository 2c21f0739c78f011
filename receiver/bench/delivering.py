"""
The scenarios about delivering: how soon, how fast what waited, and beside what is down.
"""

import socket
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial

from receiver.bench.machine import usage
from receiver.bench.measured import Round, Row
from receiver.bench.running import (
    Bench,
    Delivered,
    Once,
    Target,
    at_rest,
    per_event,
)
from receiver.bench.server import Setup
from receiver.bench.talk import Helper, from_text, helper
from receiver.errors import ReceiverError

AT_ONCE = 8
"""A destination's `concurrency`, as it is by default."""


def to_all(bench: Bench, *names: str) -> Setup:
    """Everything to so many destinations that take it at once."""
    return Setup({name: bench.destination(f"/{name}") for name in names}, taking=names)


async def delivered(bench: Bench) -> list[Row]:
    """From a webhook that is due to its arrival where it is delivered to."""
    async with AsyncExitStack() as stack:
        three = await stack.enter_async_context(
            bench.receiver(to_all(bench, "a", "b", "c"))
        )
        one = await stack.enter_async_context(bench.receiver(to_all(bench, "a")))

        def cases(rate: float | None) -> Mapping[str, Once]:
            return {
                "baseline": partial(bench.loaded, bench.bare, rate=rate),
                "to three": partial(
                    bench.loaded, three, rate=rate, delivered=to_each("a", "b", "c")
                ),
                "to one": partial(bench.loaded, one, rate=rate, delivered=to_each("a")),
            }

        rate = bench.plan.rate
        return [
            *await bench.alternate("delivered", "closed", cases(None)),
            *await bench.alternate("delivered", f"{rate:g}/s", cases(rate)),
        ]


def to_each(*names: str) -> Delivered:
    """Until all of these destinations have every event."""
    return Delivered([f"/{name}" for name in names], names)


async def dead(bench: Bench) -> list[Row]:
    """What a dead and a hanging destination cost a third one, and the intake."""
    with _refusing() as refusing:
        setup = Setup(
            {
                "a": bench.destination("/a"),
                "b": f'type = "http"\nurl = "{refusing}"',
                "c": bench.destination("/hanging"),
            },
            taking="a",
        )
        paused = replace(setup, paused="bc")
        async with AsyncExitStack() as stack:
            alone = await stack.enter_async_context(bench.receiver(paused))
            beside = await stack.enter_async_context(bench.receiver(setup))

            def cases(rate: float | None) -> Mapping[str, Once]:
                targets = {"both paused": alone, "one dead, one hanging": beside}
                return {
                    name: partial(
                        bench.loaded, target, rate=rate, delivered=to_each("a")
                    )
                    for name, target in targets.items()
                }

            rate = bench.plan.rate
            return [
                *await bench.alternate("dead", "closed", cases(None)),
                *await bench.alternate("dead", f"{rate:g}/s", cases(rate)),
            ]


@contextmanager
def _refusing() -> Generator[str, None, None]:
    """An address that nobody listens at, and nobody else can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


async def drain(bench: Bench) -> list[Row]:
    """A backlog to one destination, against aiohttp that posts the same."""
    async with AsyncExitStack() as stack:
        poster = await stack.enter_async_context(helper("poster", bench.cores.server))
        target = await stack.enter_async_context(bench.receiver(to_all(bench, "a")))
        cases: Mapping[str, Once] = {
            "baseline": partial(posted, bench, poster, AT_ONCE),
            "a backlog": partial(drained, bench, target),
        }
        return await bench.alternate("drain", "closed", cases)


async def posted(bench: Bench, poster: Helper, at_once: int) -> Round:
    """As many bodies as a round has, posted to the sink, so many at a time."""
    count, first = bench.plan.count, bench.numbers
    bench.numbers += count
    await bench.sink.ask("forget")
    before = usage(poster.pid)
    seconds = await poster.ask(
        "go",
        url=f"{bench.sink_url}/a",
        run=bench.run,
        first=first,
        count=count,
        at_once=at_once,
    )
    return Round(count, seconds, **per_event(before, usage(poster.pid), {}, {}, count))


async def drained(bench: Bench, target: Target) -> Round:
    """From the moment the destination is resumed to its last delivery."""
    if target.server is None:
        raise ReceiverError("only a server of our own has a backlog to drain")
    count, server = bench.plan.count, target.server
    await server.pause("a")
    await bench.loaded(target, count=count)
    before, counted = usage(target.pid), await server.counted()
    await server.resume("a")
    await bench.until_arrived({"/a": count})
    await at_rest(server, "a")
    after, now = usage(target.pid), await server.counted()
    times = from_text((await bench.sink.ask("arrived"))["/a"]["times"])
    seconds = max(times) - min(times) or 1e-9
    return Round(count, seconds, **per_event(before, after, counted, now, count))
