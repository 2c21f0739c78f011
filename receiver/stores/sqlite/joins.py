"""
Joins in SQLite.

A join is one row and each of its parts one more; both are written with the follower's
cursor.  That there is one outcome is decided by the key of the event that tells of it.
"""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import aiosqlite

from receiver import ids
from receiver.clock import from_ms, to_ms
from receiver.errors import NotFound
from receiver.stores.joining import (
    JoinChange,
    Joined,
    JoinName,
    JoinState,
    ListedJoin,
    Part,
)
from receiver.stores.sqlite.rows import Row

_STATES = (
    JoinState.OPEN,
    JoinState.COMPLETED,
    JoinState.TIMED_OUT,
    JoinState.FAILED,
)
"""Positions are on disk: only append."""

_COLUMNS = "id, name, key, begun_at, due_at, state, expected"
_LISTED = (
    f"SELECT {_COLUMNS},"
    " (SELECT count(*) FROM join_parts WHERE join_id = joins.id),"
    " (SELECT count(*) FROM join_parts WHERE join_id = joins.id AND failed)"
    " FROM joins"
)


class Prepared(NamedTuple):
    """A change as it is written."""

    join: tuple[str, str, int, int, int, int | None]
    parts: Sequence[tuple[str, str, int, int, str, bool]]


def prepared(change: JoinChange, numbers: Mapping[str, int]) -> Prepared:
    joined = change.joined
    return Prepared(
        (
            joined.name,
            joined.key,
            to_ms(joined.begun_at),
            to_ms(joined.due_at),
            _STATES.index(joined.state),
            joined.expected,
        ),
        [
            (
                joined.name,
                joined.key,
                ids.number("evt", part.event_id),
                numbers[part.source],
                part.subject,
                part.failed,
            )
            for part in change.added
        ],
    )


def keep(connection: sqlite3.Connection, rows: Sequence[Prepared]) -> None:
    connection.executemany(
        "INSERT INTO joins (name, key, begun_at, due_at, state, expected)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (name, key) DO UPDATE SET state = ?5, expected = ?6",
        [row.join for row in rows],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO join_parts SELECT id, ?4, ?5, ?3, ?6 FROM joins"
        " WHERE name = ?1 AND key = ?2",
        [part for row in rows for part in row.parts],
    )


def prune(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[int]:
    """Items are (how many to look at, begun before)."""
    results: list[int] = []
    for item in items:
        old = connection.execute(
            "SELECT id FROM (SELECT id, begun_at, state FROM joins ORDER BY id LIMIT ?)"
            " WHERE begun_at < ? AND state <> 0",
            item,
        ).fetchall()
        connection.executemany("DELETE FROM join_parts WHERE join_id = ?", old)
        connection.executemany("DELETE FROM joins WHERE id = ?", old)
        results.append(len(old))
    return results


async def joins(
    db: aiosqlite.Connection, sources: Mapping[int, str], names: Sequence[JoinName]
) -> dict[JoinName, Joined]:
    found: dict[JoinName, Joined] = {}
    for name in names:
        rows = await db.execute_fetchall(
            f"SELECT {_COLUMNS} FROM joins WHERE name = ? AND key = ?", name
        )
        for row in rows:
            found[name] = await _joined(db, sources, row)
    return found


async def overdue(
    db: aiosqlite.Connection, sources: Mapping[int, str], now: datetime, limit: int
) -> list[Joined]:
    rows = await db.execute_fetchall(
        f"SELECT {_COLUMNS} FROM joins INDEXED BY joins_due"
        " WHERE state = 0 AND due_at <= ? ORDER BY due_at LIMIT ?",
        (to_ms(now), limit),
    )
    return [await _joined(db, sources, row) for row in rows]


async def listed(
    db: aiosqlite.Connection,
    states: Collection[JoinState],
    limit: int,
    after: str | None,
) -> list[ListedJoin]:
    """Each state has its place in the index, so each is looked at by itself."""
    before = ids.LARGEST if after is None else ids.number("jon", after)
    found: list[Row] = []
    for state in states:
        found += await db.execute_fetchall(
            f"{_LISTED} WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?",
            (_STATES.index(state), before, limit),
        )
    return _newest_first(found)[:limit]


async def found(
    db: aiosqlite.Connection, names: Collection[JoinName]
) -> list[ListedJoin]:
    rows: list[Row] = []
    for name in names:
        rows += await db.execute_fetchall(f"{_LISTED} WHERE name = ? AND key = ?", name)
    return _newest_first(rows)


async def parts(
    db: aiosqlite.Connection, sources: Mapping[int, str], join_id: str
) -> tuple[ListedJoin, list[Part]]:
    number = ids.number("jon", join_id)
    for row in await db.execute_fetchall(f"{_LISTED} WHERE id = ?", (number,)):
        return _entry(row), await _parts(db, sources, number)
    raise NotFound(f"there is no join {join_id}, or not any more")


def _newest_first(rows: Iterable[Row]) -> list[ListedJoin]:
    return [_entry(row) for row in sorted(rows, key=lambda row: -row[0])]


def _entry(row: Row) -> ListedJoin:
    return ListedJoin(
        id=ids.public("jon", row[0]),
        name=row[1],
        key=row[2],
        begun_at=from_ms(row[3]),
        due_at=from_ms(row[4]),
        state=_STATES[row[5]],
        expected=row[6],
        parts=row[7],
        failed=row[8],
    )


async def _joined(
    db: aiosqlite.Connection, sources: Mapping[int, str], row: Row
) -> Joined:
    return Joined(
        name=row[1],
        key=row[2],
        begun_at=from_ms(row[3]),
        due_at=from_ms(row[4]),
        state=_STATES[row[5]],
        expected=row[6],
        parts=await _parts(db, sources, row[0]),
    )


async def _parts(
    db: aiosqlite.Connection, sources: Mapping[int, str], number: int
) -> list[Part]:
    rows = await db.execute_fetchall(
        "SELECT source_id, subject, event_id, failed FROM join_parts"
        " WHERE join_id = ? ORDER BY event_id",
        (number,),
    )
    return [
        Part(sources[source], subject, ids.public("evt", event), bool(failed))
        for source, subject, event, failed in rows
    ]
