"""
Replays: new deliveries of stored events, and how far each replay has come.

What one step adds and how far it reached are one transaction, so a replay that was
cut off goes on where it was.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import aiosqlite

from receiver import ids
from receiver.clock import from_ms, to_ms
from receiver.errors import NotFound
from receiver.models import Replay, ReplayState, ReplayStep
from receiver.stores.sqlite import lines
from receiver.stores.sqlite.retention import whole
from receiver.stores.sqlite.rows import Row, moment

STATES = (ReplayState.RUNNING, ReplayState.DONE, ReplayState.CANCELLED)
"""Positions are on disk: only append."""

_COLUMNS = (
    "r.id, r.created_at, r.asked, r.state, r.reached, r.progress, r.events, r.due_at,"
    " r.ended_at, (SELECT coalesce(sum(deliveries), 0) FROM replayed"
    " WHERE replay_id = r.id)"
)
_INSERT_REPLAYED = (
    "INSERT INTO deliveries VALUES (?1, ?2, ?3, 0, 0, ?4, 0, NULL, 0, NULL, ?6, ?7,"
    f" NULL, ?5, {lines.ITS_TURN.format(destination=3, line=5)})"
)

_CARRY_OVER = (
    "INSERT INTO replayed SELECT 0, source_id, destination_id, deliveries FROM replayed"
    " WHERE replay_id = ?"
    " ON CONFLICT DO UPDATE SET deliveries = deliveries + excluded.deliveries"
)
"""The ledger counts what was decided by replays that are gone as that of replay 0."""


class Replayed(NamedTuple):
    """A new delivery of a stored event."""

    id: int
    event: int
    destination: int
    source: int
    due_at: int
    line: int | None


class Reached(NamedTuple):
    """How far a running replay is after a step."""

    event: int
    events: int  # gone through in this step
    progress: float
    due_at: int
    ended_at: int | None


def reached(step: ReplayStep, now: datetime) -> Reached:
    return Reached(
        ids.number("evt", step.reached),
        step.events,
        step.progress,
        to_ms(step.due_at),
        to_ms(now) if step.done else None,
    )


@dataclass(frozen=True, slots=True)
class NewReplayed:
    """New deliveries of one replay; without `reached` it is one that is not running."""

    replay: int
    as_new: bool
    rows: Sequence[Replayed]
    reached: Reached | None


def add_replays(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int, str, bool]]
) -> Sequence[None]:
    """Items are (id, now, what was asked, whether it runs)."""
    connection.executemany(
        "INSERT INTO replays (id, created_at, asked, state, progress, ended_at)"
        " VALUES (?1, ?2, ?3, NOT ?4, NOT ?4, CASE WHEN ?4 THEN NULL ELSE ?2 END)",
        items,
    )
    return [None] * len(items)


def add_replayed(
    connection: sqlite3.Connection, items: Sequence[NewReplayed]
) -> Sequence[Sequence[Replayed] | None]:
    """
    What was added of each, without events whose body was pruned; None where the replay
    was cancelled meanwhile.
    """
    return [_add(connection, item) for item in items]


def _add(
    connection: sqlite3.Connection, item: NewReplayed
) -> Sequence[Replayed] | None:
    if item.reached is not None and not _reach(connection, item.replay, item.reached):
        return None
    there = whole(connection, sorted({row.event for row in item.rows}))
    rows = [row for row in item.rows if row.event in there]
    connection.executemany(
        _INSERT_REPLAYED,
        [
            (
                row.id,
                row.event,
                row.destination,
                row.due_at,
                row.line,
                item.replay,
                row.id if item.as_new else None,
            )
            for row in rows
        ],
    )
    connection.executemany(
        "INSERT INTO replayed VALUES (?, ?, ?, 1)"
        " ON CONFLICT DO UPDATE SET deliveries = deliveries + 1",
        [(item.replay, row.source, row.destination) for row in rows],
    )
    return rows


def _reach(connection: sqlite3.Connection, replay: int, reached: Reached) -> bool:
    state = 0 if reached.ended_at is None else 1
    changed = connection.execute(
        "UPDATE replays SET state = ?, reached = ?, events = events + ?, progress = ?,"
        " due_at = ?, ended_at = ? WHERE id = ? AND state = 0",
        (
            state,
            reached.event,
            reached.events,
            reached.progress,
            reached.due_at,
            reached.ended_at,
            replay,
        ),
    )
    return changed.rowcount > 0


def cancel(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[bool]:
    """Items are (now, replay); whether it was running."""
    sql = "UPDATE replays SET state = 2, ended_at = ? WHERE id = ? AND state = 0"
    return [connection.execute(sql, item).rowcount > 0 for item in items]


def prune(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[int]:
    """Items are (how many to look at, ended before); how many went."""
    results: list[int] = []
    for item in items:
        old = connection.execute(
            "SELECT id FROM (SELECT id, state, ended_at FROM replays ORDER BY id LIMIT ?)"
            " WHERE ended_at < ? AND state <> 0",
            item,
        ).fetchall()
        connection.executemany(_CARRY_OVER, old)
        connection.executemany("DELETE FROM replayed WHERE replay_id = ?", old)
        connection.executemany("DELETE FROM replays WHERE id = ?", old)
        results.append(len(old))
    return results


async def replays(
    db: aiosqlite.Connection, limit: int, after: str | None, *, running: bool
) -> list[Replay]:
    """The newest first."""
    below = ids.LARGEST if after is None else ids.number("rpl", after)
    rows = await db.execute_fetchall(
        f"SELECT {_COLUMNS} FROM replays r WHERE r.id < ?"
        f"{' AND r.state = 0' if running else ''} ORDER BY r.id DESC LIMIT ?",
        (below, limit),
    )
    return [_replay(row) for row in rows]


async def replay(db: aiosqlite.Connection, replay_id: str) -> Replay:
    rows: Iterable[Row] = await db.execute_fetchall(
        f"SELECT {_COLUMNS} FROM replays r WHERE r.id = ?",
        (ids.number("rpl", replay_id),),
    )
    for row in rows:
        return _replay(row)
    raise NotFound(f"there is no replay {replay_id}")


def _replay(row: Row) -> Replay:
    return Replay(
        id=ids.public("rpl", row[0]),
        created_at=from_ms(row[1]),
        asked=json.loads(row[2]),
        state=STATES[row[3]],
        reached=ids.public("evt", row[4]) if row[4] else None,
        progress=row[5],
        events=row[6],
        deliveries=row[9],
        due_at=moment(row[7]),
        ended_at=moment(row[8]),
    )
