"""
What all scenarios have in common: the processes, and one load measured.
"""

import asyncio
import secrets
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import count as counting
from pathlib import Path
from typing import Any

from receiver import clock
from receiver.bench.events import Place
from receiver.bench.machine import Cores, Usage, usage
from receiver.bench.measured import (
    Latency,
    Round,
    Row,
    answered_after,
    arrived_after,
    latency,
    row,
)
from receiver.bench.server import Server, Setup, listening, serving
from receiver.bench.talk import from_text, helper
from receiver.errors import ReceiverError
from receiver.models import Secret

PATIENCE_S = 30.0
"""How long nothing may arrive before it is given up."""
WARM_UP = 200
BASELINE_TIMES = 5

Once = Callable[[], Awaitable[Round]]


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    rounds: int = 3
    count: int = 2_000
    connections: int = 64
    rate: float = 500.0
    kept: int = 100_000
    """Events in the store that `growth` compares with an empty one."""

    @property
    def paced_count(self) -> int:
        """Requests of an open loop: a second's worth."""
        return max(1, min(self.count, round(self.rate)))


@dataclass(frozen=True)
class Target:
    """A server under load: its process, where it is posted to, what it counts."""

    place: Place
    pid: int | None = None
    server: Server | None = None
    times: int = 1
    """How often it is sent each request: what is done in no time is hard to measure."""

    async def counted(self) -> Mapping[str, float]:
        """Its metrics; nothing of what has none."""
        return await self.server.counted() if self.server else {}


@dataclass(frozen=True)
class Delivered:
    """Wait for these paths of the sink to get every event, and these names to rest."""

    paths: Sequence[str]
    names: Sequence[str]


class Bench:
    """The processes, and how far it is."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        stack: AsyncExitStack,
        step: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.step = step
        self.cores = Cores.choose()
        self.secret = Secret(secrets.token_hex(32))
        self.run = secrets.token_hex(4)
        self.numbers = 0
        self.sink_url = ""
        self._stack = stack
        self._folders = counting()

    async def start(self) -> None:
        """Start what every scenario needs."""
        self.load = await self._stack.enter_async_context(
            helper("load", self.cores.load)
        )
        self.sink = await self._stack.enter_async_context(
            helper("sink", self.cores.load)
        )
        self.sink_url = f"http://127.0.0.1:{await self.sink.ask('port')}"
        self.bare = await self._stack.enter_async_context(self.baseline("bare"))

    async def ceiling(self) -> float:
        """Requests a second of the load where the server next to does nothing."""
        async with self.baseline("raw") as target:
            found = [await self.loaded(target) for _ in range(2)]
        return max(one.per_second for one in found)

    @asynccontextmanager
    async def baseline(self, kind: str) -> AsyncGenerator[Target, None]:
        """A server that does nothing but answer, on the server's core."""
        with listening() as listener:
            port, fd = listener.getsockname()[1], listener.fileno()
            process = helper("baseline", self.cores.server, kind, str(fd), fds=[fd])
            async with process as one:
                await one.ask("ready")
                place = Place(f"http://127.0.0.1:{port}/", (self.secret,))
                target = Target(place, one.pid, times=BASELINE_TIMES)
                await self.warm(target)
                yield target

    @asynccontextmanager
    async def receiver(
        self, setup: Setup, folder: Path | None = None
    ) -> AsyncGenerator[Target, None]:
        """`receiver serve` with this setup, warm."""
        folder = folder or self.new_folder()
        async with serving(setup, self.secret, folder, self.cores.server) as server:
            place = Place(server.url, (self.secret,))
            target = Target(place, server.pid, server)
            await self.warm(target)
            for name in setup.taking:
                await at_rest(server, name)
            yield target

    def new_folder(self) -> Path:
        """An empty place for a store."""
        folder = self.folder / str(next(self._folders))
        folder.mkdir()
        return folder

    async def warm(self, target: Target) -> None:
        """What is done for the first time takes longer."""
        await self.loaded(target, count=WARM_UP)

    def destination(self, path: str, more: str = "") -> str:
        """The TOML of a destination at this path of the sink."""
        return f'type = "http"\nurl = "{self.sink_url}{path}"\n{more}'

    async def prepared(
        self, target: Target, count: int, times: int, *, same: bool
    ) -> int:
        """Have so many events signed, to be sent so often; the number of the first."""
        first, self.numbers = self.numbers, self.numbers + count
        await self.load.ask(
            "prepare",
            place=asdict(target.place),
            run=self.run,
            first=first,
            count=count,
            times=times,
            same=same,
        )
        return first

    async def loaded(
        self,
        target: Target,
        *,
        count: int | None = None,
        rate: float | None = None,
        same: bool = False,
        delivered: Delivered | None = None,
    ) -> Round:
        """
        One load on one server, until all is answered, and delivered if that is asked.

        Raises:
            ReceiverError: not everything was accepted, or delivered.
        """
        count = count or (self.plan.paced_count if rate else self.plan.count)
        times = 1 if rate else target.times
        first = await self.prepared(target, count, times, same=same)
        await self.sink.ask("forget")
        before, counted = usage(target.pid), await target.counted()
        connections = self.plan.connections
        sent = await self.load.ask("go", connections=connections, rate=rate)
        due, answered = from_text(sent["due"]), from_text(sent["answered"])
        arrived, last = None, max(answered)
        if delivered is not None and target.server is not None:
            arrived, last = await self._arrived(target.server, delivered, due, first)
        after, now = usage(target.pid), await target.counted()
        if target.server is not None:
            _check_all_accepted(counted, now, count)
        return Round(
            events=len(due),
            seconds=last - min(due),
            answer=latency(answered_after(due, answered)),
            arrival=arrived,
            late_ms=sent["late_s"] * 1000 if rate else None,
            generator_busy=sent["busy"],
            **per_event(before, after, counted, now, len(due)),
        )

    async def _arrived(
        self, server: Server, wanted: Delivered, due: "array[float]", first: int
    ) -> tuple[Latency | None, float]:
        """How long deliveries took, and when the last one was there."""
        await self.until_arrived(dict.fromkeys(wanted.paths, len(due)))
        for name in wanted.names:
            await at_rest(server, name)
        found = await self.sink.ask("arrived")
        took: list[float] = []
        last = 0.0
        for path in wanted.paths:
            numbers = from_text(found[path]["numbers"])
            times = from_text(found[path]["times"])
            if set(numbers) != set(range(first, first + len(due))):
                raise ReceiverError("what was delivered is not what was sent")
            took += arrived_after(due, first, numbers, times)
            last = max(last, *times)
        return latency(took), last

    async def until_arrived(self, counts: Mapping[str, int]) -> None:
        """
        Raises:
            ReceiverError: nothing arrived any more before all had.
        """
        if not await self.sink.ask("wait", counts=counts, patience_s=PATIENCE_S):
            raise ReceiverError(f"not everything was delivered within {PATIENCE_S:g} s")

    async def alternate(
        self,
        scenario: str,
        loop: str,
        cases: Mapping[str, Once],
        store_bytes: Mapping[str, float] | None = None,
    ) -> list[Row]:
        """Rounds of all cases in turn; the first one is the baseline."""
        found: dict[str, list[Round]] = {name: [] for name in cases}
        for _ in range(self.plan.rounds):
            for name, once in cases.items():
                self.step(f"{scenario}: {name}")
                found[name].append(await once())
        base = next(iter(found.values()))
        return [
            row(scenario, name, loop, rounds, base, (store_bytes or {}).get(name))
            for name, rounds in found.items()
        ]


async def at_rest(server: Server, name: str) -> None:
    """
    Return when a destination's deliveries are recorded as done, too.

    Raises:
        ReceiverError: some never are.
    """
    limit = clock.monotonic() + PATIENCE_S
    while await server.pending(name):
        if clock.monotonic() > limit:
            raise ReceiverError(f"deliveries to {name} are not done")
        await asyncio.sleep(0.02)


def per_event(
    before: Usage,
    after: Usage,
    counted: Mapping[str, float],
    now: Mapping[str, float],
    count: int,
) -> dict[str, Any]:
    """What a server's process used for each of `count` events."""
    cpu = written = commits = None
    if before.cpu_s is not None and after.cpu_s is not None:
        cpu = (after.cpu_s - before.cpu_s) * 1e6 / count
    if before.written_bytes is not None and after.written_bytes is not None:
        written = (after.written_bytes - before.written_bytes) / count
    name = "receiver_store_commits_total"
    if name in now:
        commits = (now[name] - counted[name]) / count
    return {"cpu_us": cpu, "written_bytes": written, "commits": commits}


def _check_all_accepted(
    before: Mapping[str, float], after: Mapping[str, float], count: int
) -> None:
    names = ("receiver_accepted_total", "receiver_duplicates_total")
    kept = sum(after.get(name, 0) - before.get(name, 0) for name in names)
    if kept != count:
        raise ReceiverError(f"{count} events were answered 200, {kept:.0f} counted")


@asynccontextmanager
async def bench(
    plan: Plan, folder: Path, step: Callable[[str], None]
) -> AsyncGenerator[Bench, None]:
    """All processes that every scenario needs, until the block ends."""
    async with AsyncExitStack() as stack:
        found = Bench(plan, folder, stack, step)
        await found.start()
        yield found
