"""
Subjects in SQLite: keeping what became of them, and finding them again.

What a follower keeps and what asking their providers needs (`registered_at`, `asked`,
`next_ask_at`) are different columns of one row; neither writes the other's.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import aiosqlite

from receiver import ids, lifecycle
from receiver.clock import from_ms, to_ms
from receiver.errors import NotFound
from receiver.models import State
from receiver.stores import following
from receiver.stores.sqlite import by_subject, reads
from receiver.stores.sqlite.names import Names
from receiver.stores.sqlite.rows import STANDINGS, STATE_NUMBERS, STATES, Row, moment
from receiver.subjects import (
    Credits,
    CreditsBy,
    CreditsLine,
    Subject,
    SubjectChange,
    SubjectFilter,
    SubjectStep,
    Trouble,
)

_TROUBLES = (
    Trouble.NO_START,
    Trouble.NO_RUNNING,
    Trouble.LATE,
    Trouble.OUT_OF_ORDER,
    Trouble.CONTRADICTORY,
    Trouble.LEDGER,
    Trouble.STALLED,
    Trouble.UNCONFIRMED,
)
"""Bits, by position: only append."""

WRONG = (Trouble.LEDGER, Trouble.STALLED)
"""Rare, and what somebody has to look at: these have an index of their own."""

_WRONG = sum(1 << _TROUBLES.index(trouble) for trouble in WRONG)
GOING_ON = (State.PENDING, State.RUNNING)
"""States of what has not ended."""

_COLUMNS = """
    id, source_id, provider_id, subject, kind, state, final, begun_at, heard_at,
    ended_at, events, troubles, request_id, reserved, settled, refunded, memory,
    stalled_at, registered_at, asked, next_ask_at, ask_note
"""
_KEEP = (
    "INSERT INTO subjects (id, source_id, provider_id, subject, kind, state, final,"
    " begun_at, heard_at, ended_at, events, troubles, request_id, reserved, settled,"
    " refunded, memory, check_at, stalled_at)"
    f" VALUES ({', '.join(f'?{i}' for i in range(1, 20))})"
    " ON CONFLICT (source_id, subject) DO UPDATE SET"
    " provider_id = ?3, kind = ?5, state = ?6, final = ?7, begun_at = ?8, heard_at = ?9,"
    " ended_at = ?10, events = ?11, troubles = ?12, request_id = ?13, reserved = ?14,"
    " settled = ?15, refunded = ?16, memory = ?17, check_at = ?18,"
    " stalled_at = ?19"
)
_KEEP_STEP = (
    "INSERT OR IGNORE INTO subject_steps SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10"
    " FROM subjects WHERE source_id = ?1 AND subject = ?2"
)
_DECIDE_STEP = (
    "UPDATE subject_steps SET standing = ?10 WHERE event_id = ?3 AND subject_id ="
    " (SELECT id FROM subjects WHERE source_id = ?1 AND subject = ?2)"
)
_REGISTER = (
    "INSERT INTO subjects (id, source_id, provider_id, subject, kind, state, final,"
    " begun_at, heard_at, events, troubles, memory, registered_at)"
    f" VALUES (?1, ?2, ?3, ?4, '', {STATE_NUMBERS[State.UNKNOWN]}, 0, ?5, ?5, 0, 0,"
    " ?6, ?5) ON CONFLICT (source_id, subject) DO UPDATE SET"
    " registered_at = coalesce(registered_at, excluded.registered_at) RETURNING id"
)
_DAY_MS = 86_400_000
_DAY = f"ended_at / {_DAY_MS}"
_MANY = 50
"""Subjects looked up in one statement."""


Registered = tuple[int, int, int, str, datetime]
"""A subject to register: its id, its source, its provider, its name, and now."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A change as it is written."""

    subject: tuple[Any, ...]
    steps: Sequence[tuple[Any, ...]]
    decided: Sequence[tuple[Any, ...]]


def prepared(change: SubjectChange, numbers: Mapping[str, int]) -> Rows:
    """The rows of a change; its names have numbers, for its events are kept."""
    subject = change.subject
    source = numbers[subject.source]
    row = (
        ids.number("sub", subject.id),
        source,
        numbers[subject.provider],
        subject.subject,
        subject.kind,
        STATE_NUMBERS[subject.state],
        subject.final,
        to_ms(subject.begun_at),
        to_ms(subject.heard_at),
        _ms(subject.ended_at),
        subject.events,
        sum(1 << _TROUBLES.index(trouble) for trouble in subject.troubles),
        subject.request_id,
        subject.credits.reserved,
        subject.credits.settled,
        subject.credits.refunded,
        change.memory,
        _ms(change.check_at),
        _ms(subject.stalled_at),
    )
    name = (source, subject.subject)
    steps, decided = (
        [(*name, *_step_row(step, numbers)) for step in several]
        for several in (change.steps, change.decided)
    )
    return Rows(row, steps, decided)


def _step_row(step: SubjectStep, numbers: Mapping[str, int]) -> tuple[Any, ...]:
    return (
        ids.number("evt", step.event_id),
        numbers[step.type],
        STATE_NUMBERS[step.state],
        step.final,
        _ms(step.occurred_at),
        to_ms(step.received_at),
        step.origin,
        STANDINGS.index(step.standing),
    )


def keep(connection: sqlite3.Connection, changes: Sequence[Rows]) -> None:
    connection.executemany(_KEEP, [change.subject for change in changes])
    connection.executemany(
        _KEEP_STEP, [step for change in changes for step in change.steps]
    )
    connection.executemany(
        _DECIDE_STEP, [step for change in changes for step in change.decided]
    )


def register(
    connection: sqlite3.Connection, items: Sequence[Sequence[Registered]]
) -> Sequence[int]:
    """For each list, how many of them nothing was known of."""
    results: list[int] = []
    for item in items:
        new = 0
        for number, source, provider, subject, now in item:
            life = lifecycle.dump(lifecycle.registered(now))
            cursor = connection.execute(
                _REGISTER, (number, source, provider, subject, to_ms(now), life)
            )
            new += cursor.fetchall()[0][0] == number
        results.append(new)
    return results


def prune(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int, int]]
) -> Sequence[int]:
    """Items are (the first id to keep, heard since, at most)."""
    results: list[int] = []
    for item in items:
        old = connection.execute(
            "SELECT id FROM subjects WHERE id < ? AND heard_at < ? ORDER BY id LIMIT ?",
            item,
        ).fetchall()
        by_subject.outlive(connection, old)
        connection.executemany("DELETE FROM subject_steps WHERE subject_id = ?", old)
        connection.executemany("DELETE FROM subjects WHERE id = ?", old)
        results.append(len(old))
    return results


# -- for the follower


async def known_subjects(
    db: aiosqlite.Connection, names: Names, those: Sequence[following.Name]
) -> dict[following.Name, following.Known]:
    if not {source for source, _ in those} <= names.numbers.keys():
        await names.load(db)
    wanted = {
        (names.numbers[source], subject): (source, subject)
        for source, subject in those
        if source in names.numbers
    }
    found: dict[following.Name, following.Known] = {}
    pairs = list(wanted)
    for start in range(0, len(pairs), _MANY):
        chunk = pairs[start : start + _MANY]
        chunk += [(0, "")] * (_MANY - len(chunk))  # so that it stays prepared
        marks = ", ".join(["(?, ?)"] * _MANY)
        rows = await db.execute_fetchall(
            f"WITH wanted (source, subject) AS (VALUES {marks})"
            " SELECT s.source_id, s.subject, s.id, s.provider_id, s.memory FROM wanted w"
            " CROSS JOIN subjects s"
            " ON s.source_id = w.source AND s.subject = w.subject",
            [value for pair in chunk for value in pair],
        )
        rows = list(rows)
        await names.know(db, {row[3] for row in rows})
        for source, subject, number, provider, memory in rows:
            name = wanted[source, subject]
            kept = (ids.public("sub", number), names.names[provider], memory)
            found[name] = following.Known(*kept)
    return found


async def silent_subjects(
    db: aiosqlite.Connection,
    known: reads.Known,
    source: str,
    before: datetime,
    limit: int,
) -> list[following.Name]:
    rows = await db.execute_fetchall(
        "SELECT subject FROM subjects INDEXED BY subjects_silent"
        " WHERE source_id = ? AND final = 0 AND stalled_at IS NULL AND heard_at <= ?"
        " AND (events > 0 OR registered_at IS NOT NULL)"
        " ORDER BY heard_at LIMIT ?",
        ((await known()).numbers.get(source, -1), to_ms(before), limit),
    )
    return [(source, row[0]) for row in rows]


async def unchecked_subjects(
    db: aiosqlite.Connection, known: reads.Known, now: datetime, limit: int
) -> list[following.Name]:
    rows = await db.execute_fetchall(
        "SELECT source_id, subject FROM subjects INDEXED BY subjects_check"
        " WHERE check_at IS NOT NULL AND check_at <= ? ORDER BY check_at LIMIT ?",
        (to_ms(now), limit),
    )
    names = (await known()).names
    return [(names[row[0]], row[1]) for row in rows]


# -- for people


async def subjects(
    db: aiosqlite.Connection,
    known: reads.Known,
    where: SubjectFilter,
    limit: int,
    after: str | None,
) -> list[Subject]:
    found = conditions(where)
    if after is not None:
        found.append(("id < ?", (ids.number("sub", after),)))
    clause, values = reads.where_sql(found)
    rows = await db.execute_fetchall(
        f"SELECT {_COLUMNS} FROM subjects {clause} ORDER BY id DESC LIMIT ?",
        (*values, limit),
    )
    names = (await known()).names
    return [_subject(row, names) for row in rows]


def conditions(where: SubjectFilter) -> reads.Conditions:
    """What the filter says, so that only what is small or wanted is read."""
    found = reads.time_conditions("id", where.since, where.until)
    if where.source is not None:  # + keeps to the order of ids, or to a better index
        sql = "+source_id IN (SELECT id FROM names WHERE name = ?)"
        found.append((sql, (where.source,)))
    if where.subject is not None:
        sql = (
            "id IN (SELECT id FROM subjects WHERE source_id IN (SELECT id FROM names)"
            " AND subject = ?)"
        )  # by the index, for any source
        found.append((sql, (where.subject,)))
    if where.state is not None:
        found.append(("state = ?", (STATE_NUMBERS[where.state],)))
    if where.state in GOING_ON:
        found.append(("final = 0", ()))  # as all are then: a partial index
    if where.final is not None:
        found.append((f"final = {int(where.final)}", ()))  # a partial index
    if where.trouble is not None:
        bit = 1 << _TROUBLES.index(where.trouble)
        found.append((f"{among(where.trouble)} AND troubles & {bit}", ()))
    if where.request_id is not None:
        sql = "id IN (SELECT id FROM subjects WHERE request_id = ?)"
        found.append((sql, (where.request_id,)))
    if where.silent_since is not None:
        found.append(("heard_at < ?", (to_ms(where.silent_since),)))
    return found


def among(trouble: Trouble) -> str:
    """What is said of a partial index that has all with this trouble."""
    return f"troubles & {_WRONG}" if trouble in WRONG else "troubles <> 0"


async def by_number(
    db: aiosqlite.Connection, known: reads.Known, numbers: Sequence[int]
) -> list[Subject]:
    """In the order of the numbers; those that are gone are left out."""
    marks = ", ".join("?" * len(numbers))
    rows = await db.execute_fetchall(
        f"SELECT {_COLUMNS} FROM subjects WHERE id IN ({marks})", numbers
    )
    names = (await known()).names
    found = {row[0]: _subject(row, names) for row in rows}
    return [found[number] for number in numbers if number in found]


async def subject(
    db: aiosqlite.Connection, known: reads.Known, subject_id: str
) -> Subject:
    for found in await by_number(db, known, [ids.number("sub", subject_id)]):
        return found
    raise NotFound(f"there is no batch {subject_id} (any more)")


def _subject(row: Row, names: Mapping[int, str]) -> Subject:
    return Subject(
        id=ids.public("sub", row[0]),
        source=names[row[1]],
        provider=names[row[2]],
        subject=row[3],
        kind=row[4],
        state=STATES[row[5]],
        final=bool(row[6]),
        begun_at=from_ms(row[7]),
        heard_at=from_ms(row[8]),
        ended_at=moment(row[9]),
        events=row[10],
        troubles=tuple(t for i, t in enumerate(_TROUBLES) if row[11] >> i & 1),
        request_id=row[12],
        credits=Credits(row[13], row[14], row[15]),
        facts=lifecycle.load(row[16]).facts,
        stalled_at=moment(row[17]),
        registered_at=moment(row[18]),
        asked=row[19],
        next_ask_at=None if row[6] else moment(row[20]),  # what ended is not asked for
        ask_note=row[21],
    )


async def subject_steps(
    db: aiosqlite.Connection, known: reads.Known, subject_id: str
) -> list[SubjectStep]:
    rows = await db.execute_fetchall(
        "SELECT event_id, type_id, state, final, occurred_at, received_at, origin,"
        " standing FROM subject_steps WHERE subject_id = ? ORDER BY event_id",
        (ids.number("sub", subject_id),),
    )
    names = (await known()).names
    return [
        SubjectStep(
            ids.public("evt", row[0]),
            names[row[1]],
            STATES[row[2]],
            bool(row[3]),
            moment(row[4]),
            from_ms(row[5]),
            row[6],
            STANDINGS[row[7]],
        )
        for row in rows
    ]


async def credits_(
    db: aiosqlite.Connection,
    known: reads.Known,
    since: datetime | None,
    until: datetime | None,
    by: frozenset[CreditsBy],
    source: str | None,
) -> list[CreditsLine]:
    rows = await db.execute_fetchall(*credits_query(since, until, source))
    lines: dict[tuple[int | None, int | None], list[Any]] = {}
    for day, source_id, *numbers in rows:
        name = (day if "day" in by else None, source_id if "source" in by else None)
        before = lines.get(name, [0] * len(numbers))
        lines[name] = [one + other for one, other in zip(before, numbers, strict=True)]
    names = (await known()).names
    return [
        CreditsLine(
            None if day is None else _day(day),
            None if source_id is None else names[source_id],
            *numbers,
        )
        for (day, source_id), numbers in lines.items()
    ]


def credits_query(
    since: datetime | None, until: datetime | None, source: str | None
) -> tuple[str, tuple[Any, ...]]:
    """As its index has them: any other grouping would sort them all."""
    conditions: reads.Conditions = [
        ("final = 1", ()),
        ("(reserved IS NOT NULL OR settled IS NOT NULL OR refunded IS NOT NULL)", ()),
    ]
    for days, moments, at in ((">=", ">=", since), ("<=", "<", until)):
        if at is not None:
            sql = f"{_DAY} {days} ? AND ended_at {moments} ?"
            conditions.append((sql, (to_ms(at) // _DAY_MS, to_ms(at))))
    if source is not None:
        sql = "+source_id IN (SELECT id FROM names WHERE name = ?)"
        conditions.append((sql, (source,)))
    clause, values = reads.where_sql(conditions)
    ledger = 1 << _TROUBLES.index(Trouble.LEDGER)
    sql = (
        f"SELECT {_DAY}, source_id, count(*), coalesce(sum(reserved), 0),"
        " coalesce(sum(settled), 0), coalesce(sum(refunded), 0),"
        " coalesce(sum(max(reserved - settled - refunded, 0)), 0),"
        " coalesce(sum(max(settled + refunded - reserved, 0)), 0),"
        f" count(*) FILTER (WHERE troubles & {ledger})"
        f" FROM subjects INDEXED BY subjects_ended {clause}"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return sql, values


def _day(number: int) -> date:
    return datetime.fromtimestamp(number * 86_400, UTC).date()


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)
