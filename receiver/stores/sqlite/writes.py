"""
What the writer does inside its transactions: many items of one kind at a time.

Each function is an `Operation` of the group commit.  They are given numbers, not
names, and only ever run on the one writing connection, so what they read first
cannot change before they write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiosqlite

from receiver import ids
from receiver.clock import to_ms
from receiver.models import Attempt, Status, Step, Trigger
from receiver.stores import Added
from receiver.stores.sqlite.rows import RESULT_NUMBERS, STATUS_NUMBERS

T = TypeVar("T")

KEPT_REJECTIONS = (
    (300, 4 * 1024 * 1024),
    (1_000, 64 * 1024 * 1024),
    (1_000, 64 * 1024 * 1024),
)
"""How many of each kind, and how many bytes: unsigned rubbish cannot push out others."""

KEPT_VARIANTS = 10


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be added: its row, its key, and its deliveries' rows."""

    id: int
    key_hash: bytes
    body_hash: bytes
    row: tuple[Any, ...]
    deliveries: Sequence[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class NewRecord:
    """An attempt about to be recorded."""

    delivery: int
    manual: int  # how often it had been asked for by hand when it was claimed
    attempt: Attempt
    step: Step


@dataclass(frozen=True, slots=True)
class NewReplayed:
    """New deliveries of one replay: (id, event, destination, source, due) each."""

    replay: int
    as_new: bool
    rows: Sequence[tuple[int, int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Changed:
    """Deliveries as (id, destination, status before), or those there are not."""

    rows: Sequence[tuple[int, int, int]]
    missing: Sequence[int]


async def add_events(
    connection: aiosqlite.Connection, items: Sequence[NewEvent]
) -> Sequence[Added]:
    known = await _known_keys(connection, [item.key_hash for item in items])
    created: list[NewEvent] = []
    results: list[Added] = []
    for item in items:
        first = known.get(item.key_hash)
        if first is None:
            known[item.key_hash] = (item.id, item.body_hash)
            created.append(item)
            results.append(Added(ids.public("evt", item.id), created=True))
        else:
            same = first[1] == item.body_hash
            results.append(Added(ids.public("evt", first[0]), False, same_body=same))
    if created:
        await _insert_events(connection, created)
    return results


async def _known_keys(
    connection: aiosqlite.Connection, hashes: list[bytes]
) -> dict[bytes, tuple[int, bytes]]:
    found: dict[bytes, tuple[int, bytes]] = {}
    for start in range(0, len(hashes), 256):
        chunk = _padded(hashes[start : start + 256])
        sql = f"SELECT hash, event_id, body_hash FROM event_keys WHERE hash IN ({_marks(len(chunk))})"
        for key_hash, event, body_hash in await connection.execute_fetchall(sql, chunk):
            found[key_hash] = (event, body_hash)
    return found


async def _insert_events(
    connection: aiosqlite.Connection, created: Sequence[NewEvent]
) -> None:
    await connection.executemany(
        f"INSERT INTO events VALUES ({_marks(19)})",
        [item.row for item in created],
    )
    await connection.executemany(
        "INSERT INTO event_keys VALUES (?, ?, ?)",
        [(item.key_hash, item.id, item.body_hash) for item in created],
    )
    await connection.executemany(
        "INSERT INTO deliveries VALUES (?, ?, ?, 0, 0, ?, 0, NULL, 0, NULL, NULL, NULL, NULL)",
        [row for item in created for row in item.deliveries],
    )


async def add_variants(
    connection: aiosqlite.Connection, items: Sequence[tuple[Any, ...]]
) -> Sequence[None]:
    await connection.executemany(
        "INSERT INTO variants SELECT ?1, ?2, ?3, ?4, ?5"
        f" WHERE (SELECT count(*) FROM variants WHERE event_id = ?1) < {KEPT_VARIANTS}"
        " ON CONFLICT DO NOTHING",
        items,
    )
    return [None] * len(items)


async def add_rejections(
    connection: aiosqlite.Connection, items: Sequence[Sequence[tuple[Any, ...]]]
) -> Sequence[None]:
    rows = [row for item in items for row in item]
    await connection.executemany(
        "INSERT INTO rejections (id, source, code, message, received_at, query, headers,"
        f" body_bytes, body, kind, client) VALUES ({_marks(11)})",
        rows,
    )
    for kind in {row[9] for row in rows}:  # each makes room for its own kind only
        await connection.execute(
            "DELETE FROM rejections WHERE id IN (SELECT id FROM ("
            "  SELECT id, row_number() OVER newest AS place,"
            "  sum(length(body) + length(headers) + length(query)) OVER newest AS bytes"
            "  FROM rejections WHERE kind = ?"
            "  WINDOW newest AS (ORDER BY id DESC)) WHERE place > ? OR bytes > ?)",
            (kind, *KEPT_REJECTIONS[kind]),
        )
    return [None] * len(items)


async def rejections_accepted(
    connection: aiosqlite.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[None]:
    """Note which event a rejection became: (event, rejection) each."""
    await connection.executemany(
        "UPDATE rejections SET event_id = ? WHERE id = ?", items
    )
    return [None] * len(items)


async def record_attempts(
    connection: aiosqlite.Connection, items: Sequence[NewRecord]
) -> Sequence[bool]:
    """Results: whether the delivery stopped being pending by this."""
    await connection.executemany(
        f"INSERT INTO attempts VALUES ({_marks(9)})",
        [_attempt_row(item) for item in items],
    )
    now = {row[0]: row for row in await _standing(connection, items)}
    applied = [_applies(item, *now[item.delivery][1:]) for item in items]
    await connection.executemany(
        "UPDATE deliveries SET attempts = ?, progress = coalesce(?, progress),"
        " status = ?, due_at = ?, settled_at = ?, round_attempts = round_attempts + 1,"
        " manual = 0 WHERE id = ?",
        [_outcome_row(item) for item, yes in zip(items, applied, strict=True) if yes],
    )
    await connection.executemany(
        "UPDATE deliveries SET attempts = ?, progress = coalesce(?, progress) WHERE id = ?",
        [
            (item.attempt.number, item.attempt.outcome.progress or None, item.delivery)
            for item, yes in zip(items, applied, strict=True)
            if not yes
        ],
    )
    return [
        yes and item.step.status is not Status.PENDING
        for item, yes in zip(items, applied, strict=True)
    ]


async def _standing(
    connection: aiosqlite.Connection, items: Sequence[NewRecord]
) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(items), 256):
        chunk = _padded([item.delivery for item in items[start : start + 256]])
        rows = await connection.execute_fetchall(
            f"SELECT id, status, manual FROM deliveries WHERE id IN ({_marks(len(chunk))})",
            chunk,
        )
        found += [(row[0], row[1], row[2]) for row in rows]
    return found


def _applies(item: NewRecord, status: int, manual: int) -> bool:
    """
    Whether the step follows, or something else happened since the claim that wins.

    A cancelled delivery stays cancelled; a new round that was asked for by hand
    begins, unless the delivery succeeded.
    """
    delivered = item.step.status is Status.DELIVERED
    return status == 0 and (delivered or manual <= item.manual)


def _attempt_row(item: NewRecord) -> tuple[Any, ...]:
    attempt, outcome = item.attempt, item.attempt.outcome
    return (
        item.delivery,
        attempt.number,
        attempt.trigger is Trigger.MANUAL,
        to_ms(attempt.started_at),
        round(attempt.duration_ms * 1000),
        RESULT_NUMBERS[outcome.result],
        outcome.status_code,
        outcome.detail or None,
        outcome.response or None,
    )


def _outcome_row(item: NewRecord) -> tuple[Any, ...]:
    due_at = to_ms(item.step.due_at)
    pending = item.step.status is Status.PENDING
    return (
        item.attempt.number,
        item.attempt.outcome.progress or None,
        STATUS_NUMBERS[item.step.status],
        due_at,
        None if pending else due_at,
        item.delivery,
    )


async def retry(
    connection: aiosqlite.Connection, items: Sequence[tuple[Sequence[int], int]]
) -> Sequence[Changed]:
    """Items are (deliveries, now), each delivery once."""
    results: list[Changed] = []
    for deliveries, now in items:
        changed, missing = await _changeable(connection, deliveries)
        await connection.executemany(
            "UPDATE deliveries SET status = 0, due_at = ?, manual = manual + 1,"
            " round_attempts = 0, round_started = ?, settled_at = NULL WHERE id = ?",
            [(now, now, delivery) for delivery, _, _ in changed],
        )
        results.append(Changed(changed, missing))
    return results


async def cancel(
    connection: aiosqlite.Connection, items: Sequence[tuple[Sequence[int], int]]
) -> Sequence[Changed]:
    """Items are (deliveries, now), each delivery once."""
    results: list[Changed] = []
    for deliveries, now in items:
        changed, missing = await _changeable(connection, deliveries)
        await connection.executemany(
            "UPDATE deliveries SET status = 3, settled_at = ?, manual = 0 WHERE id = ?",
            [(now, delivery) for delivery, _, _ in changed],
        )
        results.append(Changed(changed, missing))
    return results


async def _changeable(
    connection: aiosqlite.Connection, deliveries: Sequence[int]
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Those pending or dead, and those that do not exist: then none may change."""
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(deliveries), 500):
        chunk = deliveries[start : start + 500]
        rows = await connection.execute_fetchall(
            "SELECT id, destination_id, status FROM deliveries"
            f" WHERE id IN ({_marks(len(chunk))})",
            chunk,
        )
        found += [(row[0], row[1], row[2]) for row in rows]
    there = {delivery for delivery, _, _ in found}
    missing = [delivery for delivery in deliveries if delivery not in there]
    if missing:
        return [], missing
    return [row for row in found if row[2] in (0, 2)], []


async def add_replays(
    connection: aiosqlite.Connection, items: Sequence[tuple[int, int, str]]
) -> Sequence[None]:
    await connection.executemany("INSERT INTO replays VALUES (?, ?, ?)", items)
    return [None] * len(items)


async def add_replayed(
    connection: aiosqlite.Connection, items: Sequence[NewReplayed]
) -> Sequence[int]:
    for item in items:
        await connection.executemany(
            "INSERT INTO deliveries"
            " VALUES (?, ?, ?, 0, 0, ?, 0, NULL, 0, NULL, ?, ?, NULL)",
            [
                (
                    delivery,
                    event,
                    destination,
                    due,
                    item.replay,
                    _sent_as(item, delivery),
                )
                for delivery, event, destination, _, due in item.rows
            ],
        )
        await connection.executemany(
            "INSERT INTO replayed VALUES (?, ?, ?, 1)"
            " ON CONFLICT DO UPDATE SET deliveries = deliveries + 1",
            [(item.replay, source, dest) for _, _, dest, source, _ in item.rows],
        )
    return [len(item.rows) for item in items]


def _sent_as(item: NewReplayed, delivery: int) -> int | None:
    return delivery if item.as_new else None


async def pause(
    connection: aiosqlite.Connection, items: Sequence[tuple[int, int, str]]
) -> Sequence[bool]:
    """Items are (destination, now, reason)."""
    return [
        await _changed(
            connection,
            "INSERT INTO pauses (destination_id, started_at, reason) SELECT ?1, ?2, ?3"
            " WHERE NOT EXISTS (SELECT 1 FROM pauses"
            " WHERE destination_id = ?1 AND ended_at IS NULL)",
            item,
        )
        for item in items
    ]


async def resume(
    connection: aiosqlite.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[bool]:
    """Items are (destination, now)."""
    return [
        await _changed(
            connection,
            "UPDATE pauses SET ended_at = ?2"
            " WHERE destination_id = ?1 AND ended_at IS NULL",
            item,
        )
        for item in items
    ]


async def remember(
    connection: aiosqlite.Connection, items: Sequence[tuple[str, str, int]]
) -> Sequence[None]:
    """Items are (name, text, now)."""
    await connection.executemany(
        "INSERT INTO remembered VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET text = ?2, at = ?3",
        items,
    )
    return [None] * len(items)


async def beat(
    connection: aiosqlite.Connection, items: Sequence[int]
) -> Sequence[None]:
    await connection.execute(
        "INSERT INTO heartbeat VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = ?1",
        (max(items),),
    )
    return [None] * len(items)


async def _changed(
    connection: aiosqlite.Connection, sql: str, values: Iterable[Any]
) -> bool:
    cursor = await connection.execute(sql, tuple(values))
    return cursor.rowcount > 0


def _padded(values: list[T]) -> list[T]:
    """Repeat the first until the length is one of few, so that statements stay prepared."""
    size = next(n for n in (1, 4, 16, 64, 256) if n >= len(values))
    return values + values[:1] * (size - len(values))


def _marks(count: int) -> str:
    return ", ".join("?" * count)
