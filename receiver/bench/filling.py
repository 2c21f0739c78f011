"""
A store with a past, made in seconds: many finished events and deliveries.

One event is accepted and delivered the way the server does it; then SQL multiplies
its rows, whatever columns they have, with ids and times of their own.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
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
_LEASE_S = 60.0
_CACHE_KB = 512 * 1024
_KEYS = (
    "INSERT INTO event_keys (hash, event_id, body_hash)"
    " SELECT key_hash(e.key) AS hash, e.id, body_hash(e.body)"
    " FROM made JOIN events e ON e.id = made.id ORDER BY hash"
)
"""In order: a page of the tree is then touched once for all of its keys."""


async def fill(
    path: Path, count: int, destinations: Sequence[str]
) -> AsyncGenerator[int, None]:
    """
    Put `count` finished events with a delivery to each destination into a new store,
    spread over the last 90 days; yields how many there are after each step.
    """
    now = clock.now()
    await _one(path, destinations, now - SPAN)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        copying = _Copying(connection, now - SPAN, SPAN / max(1, count))
        for first in range(1, count, CHUNK):
            several = range(first, min(first + CHUNK, count))
            await asyncio.to_thread(copying.copy, several)
            yield several.stop
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


async def _one(path: Path, destinations: Sequence[str], at: datetime) -> None:
    """One event, number 0, accepted and delivered."""
    store = await SqliteStore.open(path)
    try:
        provider = Place("", (Secret("a secret"),)).sender()
        sent = outgoing(provider, body(0, RUN), at)
        request = Request(sent.headers, {}, sent.body, at)
        reading = provider.read(request, parse(sent.body))
        event = event_of("sora2", "sora2", request, reading, origin="webhook")
        routes = tuple((name, "matched") for name in destinations)
        await store.add(
            event,
            Decision(routes, tuple(destinations)),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            reading.facts,
        )
        for name in destinations:
            claimed = await store.claim(
                name, owner="bench", now=at, limit=1, max_bytes=2**20, lease_s=_LEASE_S
            )
            outcome = Outcome(Result.OK, status_code=200, response="ok")
            attempt = Attempt(1, Trigger.SCHEDULED, at, 3.0, outcome)
            await store.record(claimed.claims[0], attempt, Step(Status.DELIVERED, at))
    finally:
        await store.close()


class _Copying:
    """Copies the first event's rows."""

    def __init__(
        self, connection: sqlite3.Connection, start: datetime, apart: timedelta
    ) -> None:
        self._connection = connection
        self._start = start
        self._apart = apart
        connection.create_function("key_hash", 1, _key_hash, deterministic=True)
        connection.create_function("body_hash", 1, _body_hash, deterministic=True)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        connection.execute(
            "CREATE TEMP TABLE made (id INTEGER, at INTEGER, batch TEXT)"
        )
        row = connection.execute("SELECT id, subject FROM events").fetchone()
        self._first_id, self._batch = row
        new_text = f"replace(CAST(%s AS TEXT), '{self._batch}', made.batch)"
        moved = f"made.id + old.%s - {self._first_id}"
        self._statements = [
            self._copy(
                "events",
                {
                    "id": "made.id",
                    "received_at": "made.at",
                    "occurred_at": "made.at",
                    "subject": "made.batch",
                    "key": new_text % "old.key",
                    "headers": "old.headers",
                    "body": f"CAST({new_text % 'old.body'} AS BLOB)",
                },
            ),
            self._copy(
                "deliveries",
                {
                    "id": moved % "id",
                    "event_id": "made.id",
                    "due_at": "made.at",
                    "settled_at": "made.at",
                },
            ),
            self._copy(
                "attempts",
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
        self._connection.executemany("INSERT INTO made VALUES (?, ?, ?)", rows)
        for statement in self._statements:
            execute(statement)
        execute("COMMIT")

    def _made(self, number: int) -> tuple[int, int, str]:
        at = self._start + self._apart * number
        batch = f"bat_{RUN}_{number:012}"
        return ids.floor(at), clock.to_ms(at), batch

    def _copy(self, table: str, changed: Mapping[str, str]) -> str:
        """All rows of a table that belong to the first event, for all of `made`."""
        info = self._connection.execute(f"PRAGMA table_info({table})").fetchall()
        names = [column[1] for column in info]
        values = [changed.get(name, f"old.{name}") for name in names]
        key = {"events": "id", "deliveries": "event_id", "attempts": "delivery_id"}
        last = self._first_id + (16 if table == "attempts" else 0)
        return (
            f"INSERT INTO {table} ({', '.join(names)})"
            f" SELECT {', '.join(values)} FROM made JOIN {table} old"
            f" ON old.{key[table]} BETWEEN {self._first_id} AND {last}"
        )


def _key_hash(key: str) -> bytes:
    return blake2b(f"sora2\0{key}".encode(), digest_size=16).digest()


def _body_hash(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()
