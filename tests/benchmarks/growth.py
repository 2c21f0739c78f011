"""
A store that has become large, next to an empty one.

    .venv/bin/python -m tests.benchmarks.growth --events 1000000

Writes so many events of about 1.1 KB, three delivered deliveries and three attempts
each, with random keys and subjects over thirty days, as they would lie after all that
time.  Then, alternating with a new store in the same run: events accepted a second
(64 at a time, `synchronous=FULL`, the store alone), a claim and its record, what
/metrics asks; and once what opening it, the quick status, the proof and a step of
pruning take.  Shown with the bytes an event takes, by table.  The ratios are what counts; the
figures themselves belong to the machine.  With `--keep` the folder stays, and is used
again; it is changed by being measured.
"""

import argparse
import asyncio
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import uvloop

from receiver import clock, ids
from receiver.clock import to_ms
from receiver.retention import PAGES, STEP
from receiver.stores import Store, open_reader, open_store
from receiver.stores.pruning import Cutoffs, Pruned
from tests.stores.making import MUCH, claim, decision, event, record

DESTINATIONS = ("crm", "ops", "archive")
BODY = b'{"event":"batch.completed","note":"' + b"x" * 1_060 + b'"}'
HEADERS = "\n".join(
    [
        "content-type: application/json",
        "user-agent: sora2-webhooks/1.4",
        "x-sora2-timestamp: 1769248925",
        "x-sora2-signature: v1=" + "0" * 64,
    ]
)
FACTS = '{"total":10,"succeeded":9,"failed":1,"reserved":100,"settled":90}'
SPAN = timedelta(days=30)
CHUNK = 10_000
AT_A_TIME = 64
ADDED = 6_400

Rows = list[tuple[Any, ...]]


async def make(path: Path, count: int) -> None:
    """A store with so many events, all delivered, oldest first."""
    store = await open_store(f"sqlite:///{path}")
    await store.add(event(at=clock.now() - SPAN * 2), decision(*DESTINATIONS), {})
    await store.close()
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -2000000"):
        db.execute(f"PRAGMA {pragma}").fetchall()
    db.execute("UPDATE deliveries SET status = 1, settled_at = due_at")
    numbers = dict(db.execute("SELECT name, id FROM names"))
    with click.progressbar(length=count, label="writing", file=sys.stderr) as bar:
        for first in range(0, count, CHUNK):
            several = range(first, min(first + CHUNK, count))
            _write(db, list(_moments(several, count)), numbers)
            bar.update(len(several))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.close()


def _moments(several: range, count: int) -> Iterator[tuple[int, int]]:
    """Each event's id and time."""
    start = clock.now() - SPAN
    for number in several:
        at = start + SPAN * (number / count)
        yield ids.floor(at) + (number % 500) * 8, to_ms(at)


def _write(
    db: sqlite3.Connection, made: Sequence[tuple[int, int]], numbers: dict[str, int]
) -> None:
    destinations = [numbers[name] for name in DESTINATIONS]
    events: Rows = [
        (
            number, numbers["sora2"], numbers["sora2"], numbers["batch.completed"],
            3, 1, 1, 3, at, at, f"batch_{random.getrandbits(64):016x}",
            f"batch_{number:016x}:batch.completed", "webhook", FACTS, "{}", HEADERS,
            len(BODY), 0, BODY,
        )
        for number, at in made
    ]  # fmt: skip
    deliveries: Rows = [
        (number + 1 + i, number, to, 1, 1, at, 1, at + 40)
        for number, at in made
        for i, to in enumerate(destinations)
    ]
    marks = ", ".join("?" * 19)
    db.execute("BEGIN")
    db.executemany(f"INSERT INTO events VALUES ({marks})", events)
    db.executemany(
        "INSERT INTO event_keys VALUES (?, ?, ?)",
        [(os.urandom(16), number, os.urandom(16)) for number, _ in made],
    )
    db.executemany(
        "INSERT INTO deliveries (id, event_id, destination_id, status, attempts, due_at,"
        " round_attempts, settled_at, manual) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
        deliveries,
    )
    db.executemany(
        "INSERT INTO attempts VALUES (?, 1, 0, ?, 12500, 0, 200, NULL, 'ok')",
        [(row[0], row[5] + 2) for row in deliveries],
    )
    db.execute("COMMIT")


async def accept(store: Store) -> float:
    """Events accepted in a second of wall time, many at a time."""
    started = time.perf_counter()
    await _add(store)
    return ADDED / (time.perf_counter() - started)


async def accept_cpu(store: Store) -> float:
    """Microseconds of CPU time for an event, of all threads."""
    started = time.process_time()
    await _add(store)
    return (time.process_time() - started) * 1e6 / ADDED


async def _add(store: Store) -> None:
    to = decision(*DESTINATIONS)

    async def one_after_the_other() -> None:
        for _ in range(ADDED // AT_A_TIME):
            name = f"batch_{random.getrandbits(64):016x}"
            given = event(name, body=BODY, subject=name, at=clock.now())
            await store.add(given, to, {"total": 10})

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_A_TIME)))


async def deliver(store: Store) -> float:
    """Milliseconds to claim 64 and record them."""
    times: list[float] = []
    for name in DESTINATIONS:
        for _ in range(10):
            started = time.perf_counter()
            found = await claim(store, name, now=clock.now(), limit=64, max_bytes=MUCH)
            await asyncio.gather(*(record(store, one) for one in found.claims))
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def ask(store: Store) -> float:
    """Milliseconds for what /metrics asks of the store."""
    times: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        await store.queues()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


MEASURES: dict[str, Callable[[Store], Awaitable[float]]] = {
    "accepted a second": accept,
    "CPU us an event": accept_cpu,
    "claim and record 64, ms": deliver,
    "what /metrics asks, ms": ask,
}


async def compare(path: Path, folder: Path, rounds: int) -> None:
    """Large and empty in turn, in one run."""
    found: dict[str, tuple[list[float], list[float]]] = {
        name: ([], []) for name in MEASURES
    }
    started = time.perf_counter()
    large = await open_store(f"sqlite:///{path}")
    print(f"{'opened in, ms':<28}{(time.perf_counter() - started) * 1000:>10,.1f}")
    for number in range(rounds):
        empty = await open_store(f"sqlite:///{folder / f'empty-{number}.db'}")
        await accept(empty)  # its tables and names are there now
        for name, measure in MEASURES.items():
            found[name][0].append(await measure(empty))
            found[name][1].append(await measure(large))
        await empty.close()
        sys.stderr.write(f"\rround {number + 1} of {rounds}")
    sys.stderr.write("\n")
    await large.close()
    print(
        f"{'':<28}{'empty':>10}{'large':>10}{'ratio':>8}   load {os.getloadavg()[0]:.1f}"
    )
    for name, (first, second) in found.items():
        one, other = statistics.median(first), statistics.median(second)
        print(f"{name:<28}{one:>10,.2f}{other:>10,.2f}{other / one:>8.2f}")


def sizes(path: Path) -> None:
    """Bytes an event takes, by table and index."""
    with sqlite3.connect(path) as db:
        [[events]] = db.execute("SELECT count(*) FROM event_keys")
        rows = db.execute(
            "SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name"
            " HAVING sum(pgsize) > 100000 ORDER BY 2 DESC"
        ).fetchall()
    total = path.stat().st_size
    print(
        f"{events:,} events in {total / 1e6:,.0f} MB: {total / events:,.0f} bytes each"
    )
    for name, size, unused in rows:
        print(f"  {name:<24}{size / events:>8,.1f} bytes, {unused / size:.0%} unused")


async def once(path: Path) -> None:
    """What the proof takes; it reads everything."""
    reader = await open_reader(f"sqlite:///{path}")
    for name, look in {"ledger": reader.ledger, "totals": reader.totals}.items():
        started = time.perf_counter()
        await look()
        print(f"{name + ', s':<28}{time.perf_counter() - started:>10,.1f}")
    await reader.close()


async def prune(path: Path) -> None:
    """A tenth of the bodies, then all of the events they were of: a step at a time."""
    store = await open_store(f"sqlite:///{path}")
    before = clock.now() - SPAN * 0.9
    for name, cutoffs in {
        "bodies": Cutoffs(bodies=before),
        "events": Cutoffs(bodies=before, events=before),
    }.items():
        times: list[float] = []
        used, going, cpu = (await store.extent()).used_bytes, True, time.process_time()
        found = Pruned()
        while going:
            started = time.perf_counter()
            step = await store.prune(cutoffs, limit=STEP, now=clock.now())
            times.append((time.perf_counter() - started) * 1000)
            found, going = found.and_then(step), not step.done
        cpu = time.process_time() - cpu
        count = found.bodies if name == "bodies" else found.events
        freed = used - (await store.extent()).used_bytes
        cuts = statistics.quantiles(times, n=100)
        print(
            f"{name} of {count:,}: a step {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
            f" {cpu / count * 1e6:.0f} us of CPU each;"
            f" {freed / count:,.0f} bytes each free now"
        )
    times, free = [], 1
    while free and len(times) < 500:
        started = time.perf_counter()
        free = await store.give_back(PAGES)
        times.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(times, n=100)
    print(f"give back {PAGES} pages: {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    await store.close()


async def run(count: int, rounds: int, keep: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = (keep or folder) / "large.db"
        if not large.exists():
            large.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(large.parent).free
            if free < count * 2_500:
                sys.exit(
                    f"that takes {count * 2_500 / 1e9:.0f} GB; {free / 1e9:.0f} are free"
                )
            await make(large, count)
        await compare(large, folder, rounds)
        await once(large)
        sizes(large)
        await prune(large)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(chosen.events, chosen.rounds, chosen.keep))


if __name__ == "__main__":
    main()
