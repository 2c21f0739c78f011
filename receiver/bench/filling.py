"""
A store with a past, made in seconds: many finished events and deliveries.

A few events are accepted and delivered the way the server does it; then SQL multiplies
their rows, whatever columns they have, with ids and times of their own.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from receiver import clock, ids
from receiver.bench.events import Place, body
from receiver.models import (
    Attempt,
    Decision,
    Outcome,
    Request,
    Result,
    Secret,
    Status,
    Step,
    Trigger,
    event_of,
)
from receiver.providers.body import parse
from receiver.providers.sending import outgoing
from receiver.stores.sqlite.store import SqliteStore

CHUNK = 20_000
"""Events in one transaction."""
SPAN = timedelta(days=90)
RUN = "00000000"
LAST = 10**12 - 1
"""The largest number of a batch."""
APART = timedelta(milliseconds=1)
"""The first events, so that their ids leave room for as many deliveries as anybody has."""
MOST_DESTINATIONS = 100
_LEASE_S = 60.0
_CACHE_KB = 512 * 1024
_KEYS = (
    "INSERT INTO event_keys (hash, event_id, body_hash)"
    " SELECT key_hash(n.name, e.key) AS hash, e.id, body_hash(e.body) FROM made"
    " JOIN events e ON e.id = made.id JOIN names n ON n.id = e.source_id ORDER BY hash"
)
"""In order: a page of the tree is then touched once for all of its keys."""


@dataclass(frozen=True, slots=True)
class Past:
    """
    What is multiplied, and how.

    `choose` gives for an event's number its pattern's and its batch's number.  No batch
    has two patterns of one type.
    """

    patterns: Sequence["Pattern"]
    choose: Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Pattern:
    """
    An event: its body for a batch, its source, and what became of its deliveries where
    they were not delivered, by destination.
    """

    body: Callable[[int], bytes]
    source: str = "sora2"
    fates: Mapping[str, Status] = field(default_factory=dict[str, Status])


def _completed(batch: int) -> bytes:
    return body(batch, RUN)


COMPLETED = Past([Pattern(_completed)], lambda number: (0, number))
"""Each event a batch of its own, all delivered."""


async def fill(
    path: Path, count: int, destinations: Sequence[str], past: Past = COMPLETED
) -> AsyncGenerator[int, None]:
    """
    Put `count` events with a delivery to each destination into a new store, spread over
    the last 90 days; yields how many there are after each step.

    The first events, one for each pattern, are batches that are numbered from the end.
    """
    now = clock.now()
    apart = SPAN / max(1, count)
    await _first(path, destinations, past, now - SPAN)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        copying = _Copying(connection, past, now - SPAN, apart)
        for first in range(len(past.patterns), count, CHUNK):
            several = range(first, min(first + CHUNK, count))
            await asyncio.to_thread(copying.copy, several)
            yield several.stop
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


async def _first(
    path: Path, destinations: Sequence[str], past: Past, at: datetime
) -> None:
    """An event of each pattern, accepted, and its deliveries brought to their ends."""
    store = await SqliteStore.open(path)
    try:
        for number, pattern in enumerate(past.patterns):
            then = at + APART * number
            text = pattern.body(LAST - number)
            await _accept(store, pattern.source, text, destinations, then)
            for name in destinations:
                await _deliver(store, name, pattern.fates.get(name), then)
    finally:
        await store.close()


async def _accept(
    store: SqliteStore,
    source: str,
    text: bytes,
    destinations: Sequence[str],
    at: datetime,
) -> None:
    provider = Place("", (Secret("a secret"),)).sender()
    sent = outgoing(provider, text, at)
    request = Request(sent.headers, {}, sent.body, at)
    reading = provider.read(request, parse(sent.body))
    event = event_of(source, "sora2", request, reading, origin="webhook")
    routes = tuple((name, "matched") for name in destinations)
    decision = Decision(routes, tuple(destinations))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await store.add(event, decision, reading.facts)


async def _deliver(
    store: SqliteStore, name: str, fate: Status | None, at: datetime
) -> None:
    if fate is Status.PENDING:
        return
    claimed = await store.claim(
        name, owner="bench", now=at, limit=2**10, max_bytes=2**20, lease_s=_LEASE_S
    )
    claim = claimed.claims[-1]
    await store.release(claimed.claims[:-1])
    outcome = Outcome(Result.OK, status_code=200, response="ok")
    if fate is Status.DEAD:
        outcome = Outcome(Result.HTTP_STATUS, status_code=503, response="not now")
    attempt = Attempt(1, Trigger.SCHEDULED, at, 3.0, outcome)
    await store.record(claim, attempt, Step(fate or Status.DELIVERED, at))


class _Copying:
    """Copies the first events' rows."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        past: Past,
        start: datetime,
        apart: timedelta,
    ) -> None:
        self._connection = connection
        self._choose = past.choose
        self._start = start
        self._apart = apart
        connection.create_function("key_hash", 2, _key_hash, deterministic=True)
        connection.create_function("body_hash", 1, _body_hash, deterministic=True)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        connection.execute(
            "CREATE TEMP TABLE made"
            " (id INTEGER, at INTEGER, batch TEXT, pattern INTEGER)"
        )
        rows = connection.execute("SELECT id FROM events ORDER BY id")
        self._patterns = [row[0] for row in rows]
        new_text = "replace(CAST(%s AS TEXT), old.subject, made.batch)"
        moved = "made.id + old.%s - made.pattern"
        self._statements = [
            self._copy(
                "events",
                "old.id = made.pattern",
                {
                    "id": "made.id",
                    "received_at": "made.at",
                    "occurred_at": "made.at",
                    "subject": "made.batch",
                    "key": new_text % "old.key",
                    "facts": new_text % "old.facts",
                    "headers": "old.headers",
                    "body": f"CAST({new_text % 'old.body'} AS BLOB)",
                },
            ),
            self._copy(
                "deliveries",
                f"old.id BETWEEN made.pattern AND made.pattern + {MOST_DESTINATIONS}",
                {
                    "id": moved % "id",
                    "event_id": "made.id",
                    "due_at": "made.at",
                    "settled_at": "iif(old.settled_at IS NULL, NULL, made.at)",
                },
            ),
            self._copy(
                "attempts",
                "old.delivery_id BETWEEN made.pattern"
                f" AND made.pattern + {MOST_DESTINATIONS}",
                {"delivery_id": moved % "delivery_id", "started_at": "made.at"},
            ),
            _KEYS,
        ]

    def copy(self, several: range) -> None:
        """Make the events of these numbers, in one transaction."""
        rows = [self._made(number) for number in several]
        execute = self._connection.execute
        execute("BEGIN")
        execute("DELETE FROM made")
        self._connection.executemany("INSERT INTO made VALUES (?, ?, ?, ?)", rows)
        for statement in self._statements:
            execute(statement)
        execute("COMMIT")

    def _made(self, number: int) -> tuple[int, int, str, int]:
        at = self._start + self._apart * number
        pattern, batch = self._choose(number)
        name = f"bat_{RUN}_{batch:012}"
        return ids.floor(at), clock.to_ms(at), name, self._patterns[pattern]

    def _copy(self, table: str, of: str, changed: Mapping[str, str]) -> str:
        """The rows of a table that belong to the patterns, for all of `made`."""
        info = self._connection.execute(f"PRAGMA table_info({table})").fetchall()
        names = [column[1] for column in info]
        values = [changed.get(name, f"old.{name}") for name in names]
        return (
            f"INSERT INTO {table} ({', '.join(names)})"
            f" SELECT {', '.join(values)} FROM made CROSS JOIN {table} old ON {of}"
        )


def _key_hash(source: str, key: str) -> bytes:
    return blake2b(f"{source}\0{key}".encode(), digest_size=16).digest()


def _body_hash(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()
