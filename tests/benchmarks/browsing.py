"""
Looking into a large store: how long every page and every read takes, and what that costs
those who send webhooks.

    .venv/bin/python -m tests.benchmarks.browsing [--events 1000000] [--keep DIR]

Makes the store that `past` describes (some minutes; with `--keep` it stays, and is used
again), starts a server on it, and asks twenty times for everything that `looks` has, one
after the other, and a few commands.  Then the intake, in rounds that alternate: alone;
with readers, which are two people who go to another page every second and two who leave
a page open that keeps itself up to date (the first page, and the list of events); with
somebody who has the ledger added up again and again.  A closed loop shows the rate, an
open one how long an answer takes.

`--only looks,commands,intake` leaves the others out.  Medians above 100 ms are marked.
Where the machine is busy look at the CPU time and the ratios.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import uvloop

from receiver import clock
from receiver.bench.machine import pin, usage
from receiver.bench.measured import Round, Row
from receiver.bench.running import Bench, Plan, Target, bench
from receiver.bench.server import STORE, Setup
from receiver.settings import Server
from receiver.stores import open_reader
from receiver.web.dashboard.session import begun
from tests.benchmarks.looks import READS_ALL, Look, looks
from tests.benchmarks.past import FOLLOWER, JOIN, NAMES, make

TOKEN = "the admin token of a benchmark"
LIMIT_MS = 100.0
COMMAND_LIMIT_MS = 1_000.0
PARTS = ("looks", "commands", "intake")
EVERY_S = 1.0
"""How often a person goes on, and a page looks again at most: as its script does."""

OPEN_PAGES = ("/", "/ui/events")
COMMANDS = (
    ("--help",),
    ("status", "--quick"),
    ("status",),
    ("events", "list"),
    ("events", "list", "--source", "seldom"),
    ("events", "list", "--subject", "nobody"),
    ("events", "list", "--type", "batch.completed", "--since", "1d"),
    ("deliveries", "list"),
    ("deliveries", "list", "--status", "dead"),
    ("deliveries", "list", "--status", "pending", "--destination", "b"),
    ("batches", "list"),
    ("batches", "list", "--source", "seldom"),
    ("batches", "credits"),
    ("batches", "credits", "--since", "90d"),
    ("rejections", "list"),
)
COMMAND_TIMES = 3
MORE = f"""\
[sources.seldom]
provider = "sora2"
secrets = ["a secret"]

[joins.{JOIN}]
source = "seldom"
key = "data.request_id"
count = 3
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds; `cpu` is the server's for one, all threads."""

    median: float
    p95: float
    worst: float
    cpu: float


def took(seconds: Sequence[float], cpu_s: float) -> Took:
    """Of so many times."""
    ordered = [1000 * s for s in sorted(seconds)]
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    cpu = cpu_s * 1000 / len(ordered)
    return Took(statistics.median(ordered), p95, ordered[-1], cpu)


class Person:
    """Somebody who is signed in, with the token for the API at hand."""

    def __init__(self, url: str) -> None:
        base, _, _ = url.partition("/webhooks")
        session = begun(Server(admin_token=TOKEN), TOKEN, clock.now())  # type: ignore[arg-type]
        assert session is not None
        self._http = httpx.AsyncClient(
            base_url=base,
            headers={"authorization": f"Bearer {TOKEN}"},
            cookies={"receiver": session.cookie},
            timeout=60,
            trust_env=False,
        )

    async def see(self, look: Look) -> None:
        """All of it; of a stream that it has begun."""
        if not look.is_stream:
            await self.get(look.url)
            return
        async with self._http.stream("GET", look.url) as answer:
            assert answer.status_code == 200, look.url
            async for _ in answer.aiter_raw():
                return

    async def get(self, url: str) -> None:
        answer = await self._http.get(url)
        assert answer.status_code < 400, f"{url}: {answer.status_code} {answer.text}"

    async def browse(self, found: Sequence[Look], seed: int) -> None:
        """Another page every second."""
        chosen = random.Random(seed)
        while True:
            pause = asyncio.create_task(asyncio.sleep(EVERY_S))
            await self.see(chosen.choice(found))
            await pause

    async def keep_open(self, page: str) -> None:
        """Look again when something has changed, as the page's script does."""
        changed = asyncio.Event()

        async def hear() -> None:
            async with self._http.stream("GET", "/ui/live") as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("event: changed"):
                        changed.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(hear())
            while True:
                await changed.wait()
                changed.clear()
                pause = asyncio.create_task(asyncio.sleep(EVERY_S))
                await self.get(page)
                await pause

    async def again_and_again(self, url: str) -> None:
        while True:
            await self.get(url)

    async def leave(self) -> None:
        await self._http.aclose()


async def measure_looks(target: Target, found: Sequence[Look], times: int) -> bool:
    """Each so often; whether all were in time."""
    person = Person(target.place.url)
    print(f"{'MEDIAN':>8}{'P95':>8}{'WORST':>8}{'CPU':>8}  ms")
    slow = 0
    for look in found:
        one = await _measured(person, target, look, times)
        slow += one.median > LIMIT_MS
        _show(one, LIMIT_MS, look.url)
    print("only on request:")
    for url in READS_ALL:
        _show(await _measured(person, target, Look(url, url), 3), 0, url)
    await person.leave()
    print(f"{len(found)} looks, {slow} with a median above {LIMIT_MS:g} ms; {_busy()}")
    return slow == 0


async def _measured(person: Person, target: Target, look: Look, times: int) -> Took:
    before, found = usage(target.pid).cpu_s or 0.0, []
    for _ in range(times):
        started = time.perf_counter()
        await person.see(look)
        found.append(time.perf_counter() - started)
    return took(found, (usage(target.pid).cpu_s or 0.0) - before)


async def measure_commands(folder: Path) -> bool:
    """Whole commands, from their start to their end, beside the server."""
    print(f"\n{'MEDIAN':>8}{'P95':>8}{'WORST':>8}{'CPU':>8}  ms, commands")
    slow = 0
    for arguments in COMMANDS:
        found: list[float] = []
        before = _children_s()
        for _ in range(COMMAND_TIMES):
            started = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "receiver",
                "-c",
                str(folder / "receiver.toml"),
                *arguments,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert await process.wait() == 0, arguments
            found.append(time.perf_counter() - started)
        one = took(found, _children_s() - before)
        limit = 0.0 if arguments == ("status",) else COMMAND_LIMIT_MS
        slow += bool(limit) and one.median > limit
        _show(one, limit, " ".join(arguments))
    print(f"{slow} commands above {COMMAND_LIMIT_MS:g} ms; {_busy()}")
    return slow == 0


def _children_s() -> float:
    """CPU time of what was started here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _show(one: Took, limit: float, what: str) -> None:
    mark = "!" if limit and one.median > limit else " "
    times = f"{one.median:>8.1f}{one.p95:>8.1f}{one.worst:>8.1f}{one.cpu:>8.1f}"
    print(f"{times} {mark} {what}", flush=True)


def _busy() -> str:
    return f"load average {os.getloadavg()[0]:.1f}"


# -- what it costs the intake

Does = Callable[[Person], Awaitable[None]]


@asynccontextmanager
async def doing(target: Target, *what: Does) -> AsyncIterator[None]:
    """As many people, each of whom does one of these until the block ends."""
    people = [Person(target.place.url) for _ in what]
    pairs = zip(what, people, strict=True)
    tasks = [asyncio.ensure_future(one(person)) for one, person in pairs]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for person in people:
            await person.leave()


async def measure_intake(
    measuring: Bench, target: Target, found: Sequence[Look]
) -> None:
    """Rounds that alternate; the first case is the baseline."""
    pages = [look for look in found if not look.is_stream and look.is_page]
    seeds = iter(range(10_000))

    def readers() -> list[Does]:
        people = [partial(Person.browse, found=pages, seed=next(seeds)) for _ in "12"]
        return [*people, *(partial(Person.keep_open, page=page) for page in OPEN_PAGES)]

    def ledger() -> list[Does]:
        return [partial(Person.again_and_again, url=READS_ALL[1])]

    cases = {"alone": list, "with readers": readers, "with the ledger": ledger}
    for loop in ("closed", f"{measuring.plan.rate:g}/s"):
        rate = None if loop == "closed" else measuring.plan.rate
        rounds = {
            name: partial(_loaded, measuring, target, rate, who)
            for name, who in cases.items()
        }
        _show_rows(await measuring.alternate("intake", loop, rounds))


async def _loaded(
    measuring: Bench, target: Target, rate: float | None, who: Callable[[], list[Does]]
) -> Round:
    async with doing(target, *who()):
        count = measuring.plan.count
        return await measuring.loaded(target, rate=rate, count=count)


def _show_rows(rows: Sequence[Row]) -> None:
    head = f"{'EVENTS/S':>10}{'RATIO':>8}{'P50':>8}{'P99':>8}{'P99.9':>8}{'CPU US':>8}"
    print(f"\n{rows[0].loop:<18}{head}   {_busy()}")
    for row in rows:
        answer = row.answer
        assert answer is not None
        times = f"{answer.p50_ms:>8.1f}{answer.p99_ms:>8.1f}{answer.p999_ms:>8.1f}"
        figures = f"{row.per_second:>10,.0f}{row.ratio:>8.2f}"
        print(f"{row.case:<18}{figures}{times}{row.cpu_us or 0:>8.0f}", flush=True)


# -- all of it


async def run(chosen: argparse.Namespace) -> bool:
    """Whether everything was in time."""
    plan = Plan(rounds=chosen.rounds, count=chosen.count, rate=chosen.rate)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store" if chosen.keep is None else chosen.keep
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / STORE).exists():
            async for done in make(folder / STORE, chosen.events):
                sys.stderr.write(f"\r{done}        ")
            sys.stderr.write("\n")
        async with AsyncExitStack() as stack:
            measuring = await stack.enter_async_context(
                bench(plan, Path(name), lambda _: None)
            )
            pin(os.getpid(), measuring.cores.load)
            setup = Setup(
                {one: measuring.destination(f"/{one}") for one in NAMES},
                paused=NAMES,
                server=f'admin_token = "{TOKEN}"',
                more=MORE,
            )
            target = await stack.enter_async_context(measuring.receiver(setup, folder))
            return await _all(chosen, measuring, target, folder)


async def _all(
    chosen: argparse.Namespace, measuring: Bench, target: Target, folder: Path
) -> bool:
    reader = await open_reader(f"sqlite:///{folder / STORE}")
    while (await reader.follow(await reader.cursor(FOLLOWER), 1)).upto is not None:
        await asyncio.sleep(1)  # the server is folding what came before it was killed
    found = await looks(reader)
    await reader.close()
    ok = True
    if "looks" in chosen.only:
        ok &= await measure_looks(target, found, chosen.times)
    if "commands" in chosen.only:
        ok &= await measure_commands(folder)
    if "intake" in chosen.only:
        await measure_intake(measuring, target, found)
    return ok


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(0 if runner.run(run(chosen)) else 1)


if __name__ == "__main__":
    main()
