"""
What is read: pages of events and deliveries, queues, the ledger.

Each function is given a connection that never writes and the names it needs; in WAL
mode readers see the last commit and hold nobody up.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import aiosqlite

from receiver import ids
from receiver.clock import from_ms
from receiver.errors import NotFound
from receiver.models import Attempt, Delivery, Pause, Rejection, Status, Variant
from receiver.stores import (
    DeliveryFilter,
    EventFilter,
    Queue,
    StoredEvent,
    Tally,
    Totals,
)
from receiver.stores.sqlite import by_subject
from receiver.stores.sqlite.names import Names
from receiver.stores.sqlite.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    STATE_NUMBERS,
    STATUS_NUMBERS,
    STATUSES,
    attempt_from_row,
    delivery_from_row,
    event_from_row,
    moment,
    rejection_from_row,
)

_REJECTION_COLUMNS = (
    "id, source, code, message, received_at, query, headers, body_bytes, body, kind,"
    " client, event_id"
)
_OLDEST_SCAN = 1_000
"""Overdue retries looked at before the oldest fresh delivery is taken as not there."""

Known = Callable[[], Awaitable[Names]]
"""
Gives the names, with those that were added since.  It is called after the rows were
read: another process may have added a row and its name meanwhile.
"""

UNREADABLE = (ValueError, LookupError, OverflowError, zlib.error)
"""What reading a damaged row raises; it must not hide the others."""

_LIKE, _ESCAPED = re.compile(r"([%_\\])"), r"\\\1"

Conditions = list[tuple[str, tuple[Any, ...]]]


async def events_by_number(
    db: aiosqlite.Connection, known: Known, numbers: Sequence[int]
) -> dict[int, StoredEvent]:
    marks = ", ".join("?" * len(numbers))
    rows = await db.execute_fetchall(
        f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.id IN ({marks})",
        numbers,
    )
    names = await known()
    found: dict[int, StoredEvent] = {}
    for row in rows:
        with suppress(*UNREADABLE):
            found[row[0]] = event_from_row(row, names.names, names.decisions)
    return found


async def event(db: aiosqlite.Connection, known: Known, event_id: str) -> StoredEvent:
    number = ids.number("evt", event_id)
    found = await events_by_number(db, known, [number])
    if number not in found:
        raise NotFound(f"there is no event {event_id}{await _pruned(db, number)}")
    return found[number]


async def _pruned(db: aiosqlite.Connection, number: int) -> str:
    """What to add where something is not there that may have been."""
    [[events_to]] = await db.execute_fetchall("SELECT events_to FROM pruning")
    if ids.made_at(number) > ids.made_at(events_to):
        return ""
    until = f"{ids.made_at(events_to):%Y-%m-%d %H:%M}"
    return f" (any more: of what was accepted until {until} UTC only keys are kept)"


async def events(
    db: aiosqlite.Connection,
    known: Known,
    where: EventFilter,
    limit: int,
    after: str | None,
    newest_first: bool,
) -> list[StoredEvent]:
    conditions = event_conditions(where) + by_subject.conditions(where.subject)
    if after is not None:
        compare = "<" if newest_first else ">"
        conditions.append((f"e.id {compare} ?", (ids.number("evt", after),)))
    clause, values = where_sql(conditions)
    order = "DESC" if newest_first else "ASC"
    rows = await db.execute_fetchall(
        f"SELECT {EVENT_COLUMNS} FROM events e {clause} ORDER BY e.id {order} LIMIT ?",
        (*values, limit),
    )
    names = await known()
    return [event_from_row(row, names.names, names.decisions) for row in rows]


async def count_events(db: aiosqlite.Connection, where: EventFilter) -> int:
    conditions = event_conditions(where) + by_subject.conditions(where.subject)
    clause, values = where_sql(conditions)
    return await _number(db, f"SELECT count(*) FROM events e {clause}", values)


def event_conditions(where: EventFilter) -> Conditions:
    conditions: Conditions = []
    if where.source is not None:
        sql = "e.source_id IN (SELECT id FROM names WHERE name = ?)"
        conditions.append((sql, (where.source,)))
    if where.type is not None:
        sql = "e.type_id IN (SELECT id FROM names WHERE name GLOB ?)"
        conditions.append((sql, (where.type,)))
    if where.subject is not None:
        conditions.append(("e.subject = ?", (where.subject,)))
    if where.key is not None:
        conditions.append(("e.key = ?", (where.key,)))
    if where.state is not None:
        conditions.append(("e.state = ?", (STATE_NUMBERS[where.state],)))
    if where.text is not None:
        # A compressed body cannot be looked into here: whoever reads the rows does.
        sql = "(e.codec > 0 OR CAST(e.body AS TEXT) LIKE ? ESCAPE '\\')"
        conditions.append((sql, (f"%{_LIKE.sub(_ESCAPED, where.text)}%",)))
    return conditions + time_conditions("e.id", where.since, where.until)


def time_conditions(
    column: str, since: datetime | None, until: datetime | None
) -> Conditions:
    conditions: Conditions = []
    if since is not None:
        conditions.append((f"{column} >= ?", (ids.floor(since),)))
    if until is not None:
        conditions.append((f"{column} < ?", (ids.floor(until),)))
    return conditions


async def about(
    db: aiosqlite.Connection, numbers: Sequence[int]
) -> dict[int, tuple[int, str]]:
    """
    Each event's source and subject.

    Raises:
        NotFound: one is not there.
    """
    found: dict[int, tuple[int, str]] = {}
    for start in range(0, len(numbers), 500):
        chunk = numbers[start : start + 500]
        marks = ", ".join("?" * len(chunk))
        sql = f"SELECT id, source_id, subject FROM events WHERE id IN ({marks})"
        rows = await db.execute_fetchall(sql, chunk)
        found |= {row[0]: (row[1], row[2]) for row in rows}
    for number in numbers:
        if number not in found:
            raise NotFound(f"there is no event {ids.public('evt', number)}")
    return found


async def variants(db: aiosqlite.Connection, event_id: str) -> list[Variant]:
    rows = await db.execute_fetchall(
        "SELECT kind, received_at, body FROM variants WHERE event_id = ?"
        " ORDER BY received_at",
        (ids.number("evt", event_id),),
    )
    return [Variant(event_id, kind, from_ms(at), body) for kind, at, body in rows]


async def delivery(
    db: aiosqlite.Connection, known: Known, delivery_id: str
) -> Delivery:
    rows = list(
        await db.execute_fetchall(
            f"SELECT {DELIVERY_COLUMNS} FROM deliveries d WHERE d.id = ?",
            (ids.number("dlv", delivery_id),),
        )
    )
    if not rows:
        number = ids.number("dlv", delivery_id)
        raise NotFound(f"there is no delivery {delivery_id}{await _pruned(db, number)}")
    return delivery_from_row(rows[0], (await known()).names)


async def deliveries(
    db: aiosqlite.Connection,
    known: Known,
    where: DeliveryFilter,
    limit: int,
    after: str | None,
    newest_first: bool,
) -> list[Delivery]:
    conditions = delivery_conditions(where)
    if after is not None:
        compare = "<" if newest_first else ">"
        conditions.append((f"d.id {compare} ?", (ids.number("dlv", after),)))
    clause, values = where_sql(conditions)
    order = "DESC" if newest_first else "ASC"
    rows = await db.execute_fetchall(
        f"SELECT {DELIVERY_COLUMNS} FROM deliveries d {clause}"
        f" ORDER BY d.id {order} LIMIT ?",
        (*values, limit),
    )
    names = await known()
    return [delivery_from_row(row, names.names) for row in rows]


def delivery_conditions(where: DeliveryFilter) -> Conditions:
    conditions = time_conditions("d.id", where.since, where.until)
    if where.status is not None:  # written out, so that partial indexes apply
        conditions.append((f"d.status = {STATUS_NUMBERS[where.status]}", ()))
    if where.destination is not None:
        sql = "d.destination_id = (SELECT id FROM names WHERE name = ?)"
        conditions.append((sql, (where.destination,)))
    if where.event_id is not None:
        number = ids.number("evt", where.event_id)
        sql = (
            "d.id IN (SELECT id FROM deliveries WHERE id > ?1 AND id <= ?1 +"
            " (SELECT fan_out FROM events WHERE id = ?1) UNION ALL SELECT id"
            " FROM deliveries WHERE event_id = ?1 AND replay_id IS NOT NULL)"
        )
        conditions.append((sql.replace("?1", str(number)), ()))
    return conditions


async def deliveries_by_number(
    db: aiosqlite.Connection, known: Known, numbers: Sequence[int]
) -> list[Delivery]:
    """In the order of the numbers; those that are gone are left out."""
    marks = ", ".join("?" * len(numbers))
    rows = await db.execute_fetchall(
        f"SELECT {DELIVERY_COLUMNS} FROM deliveries d WHERE d.id IN ({marks})", numbers
    )
    names = await known()
    found = {row[0]: delivery_from_row(row, names.names) for row in rows}
    return [found[number] for number in numbers if number in found]


async def attempts(db: aiosqlite.Connection, delivery_id: str) -> list[Attempt]:
    rows = await db.execute_fetchall(
        "SELECT number, manual, started_at, duration_us, result, status_code, detail,"
        " response FROM attempts WHERE delivery_id = ? ORDER BY number",
        (ids.number("dlv", delivery_id),),
    )
    return [attempt_from_row(row) for row in rows]


async def rejections(
    db: aiosqlite.Connection,
    source: str | None,
    code: str | None,
    limit: int,
    after: str | None,
) -> list[Rejection]:
    conditions: Conditions = []
    if source is not None:
        conditions.append(("source = ?", (source,)))
    if code is not None:
        conditions.append(("code = ?", (code,)))
    if after is not None:
        conditions.append(("id < ?", (ids.number("rej", after),)))
    clause, values = where_sql(conditions)
    rows = await db.execute_fetchall(
        f"SELECT {_REJECTION_COLUMNS} FROM rejections {clause} ORDER BY id DESC LIMIT ?",
        (*values, limit),
    )
    return [rejection_from_row(row) for row in rows]


async def rejection(db: aiosqlite.Connection, rejection_id: str) -> Rejection:
    rows = list(
        await db.execute_fetchall(
            f"SELECT {_REJECTION_COLUMNS} FROM rejections WHERE id = ?",
            (ids.number("rej", rejection_id),),
        )
    )
    if not rows:
        raise NotFound(f"there is no rejection {rejection_id} (any more)")
    return rejection_from_row(rows[0])


async def pauses(db: aiosqlite.Connection, known: Known) -> list[Pause]:
    rows = await db.execute_fetchall(
        "SELECT destination_id, started_at, ended_at, reason FROM pauses ORDER BY id"
    )
    names = await known()
    return [
        Pause(names.names[number], from_ms(start), moment(end), reason)
        for number, start, end, reason in rows
    ]


async def remembered(
    db: aiosqlite.Connection, name: str
) -> tuple[str, datetime] | None:
    rows = await db.execute_fetchall(
        "SELECT text, at FROM remembered WHERE name = ?", (name,)
    )
    return next(((text, from_ms(at)) for text, at in rows), None)


async def pending(db: aiosqlite.Connection) -> dict[int, int]:
    """Pending deliveries by destination, counted in the index of what is due."""
    rows = await db.execute_fetchall(
        "SELECT destination_id, count(*) FROM deliveries INDEXED BY deliveries_due"
        " WHERE status = 0 GROUP BY destination_id"
    )
    return {row[0]: row[1] for row in rows}


async def queues(
    db: aiosqlite.Connection, known: Known, waiting: Mapping[int, int]
) -> list[Queue]:
    """By look-ups in the two indexes of what waits; no row of what is done is read."""
    names = await known()
    found: list[Queue] = []
    for destination, count in sorted(waiting.items()):
        name = names.names[destination]
        found.append(
            await _queue(db, destination, name, count)
            if count
            else Queue(name, 0, None)
        )
    return found


async def _queue(
    db: aiosqlite.Connection, destination: int, name: str, count: int
) -> Queue:
    [(failing,)] = await db.execute_fetchall(
        "SELECT min(id) FROM deliveries INDEXED BY deliveries_retrying"
        " WHERE destination_id = ? AND status = 0 AND attempts > 0",
        (destination,),
    )
    [(blocking,)] = await db.execute_fetchall(
        "SELECT min(id) FROM deliveries INDEXED BY deliveries_blocking"
        " WHERE destination_id = ? AND line IS NOT NULL AND status = 2",
        (destination,),
    )
    fresh = await _oldest_fresh(db, destination)
    oldest = min((n for n in (failing, fresh) if n is not None), default=None)
    return Queue(
        name,
        count,
        ids.made_at(oldest) if oldest is not None else None,
        _delivery_id(failing),
        _delivery_id(blocking),
    )


def _delivery_id(number: int | None) -> str | None:
    return None if number is None else ids.public("dlv", number)


async def _oldest_fresh(db: aiosqlite.Connection, destination: int) -> int | None:
    fresh = await db.execute_fetchall(
        "SELECT id FROM (SELECT id, attempts FROM deliveries INDEXED BY deliveries_due"
        " WHERE destination_id = ? AND status = 0 ORDER BY due_at LIMIT ?)"
        " WHERE attempts = 0 LIMIT 1",
        (destination, _OLDEST_SCAN),
    )
    return next((row[0] for row in fresh), None)


async def ledger(db: aiosqlite.Connection, known: Known) -> list[Tally]:
    """In one statement, so that what is being added meanwhile is in all of it or none."""
    rows = await db.execute_fetchall(
        "SELECT 'event', source_id, decision_id, count(*) FROM events GROUP BY 2, 3"
        " UNION ALL SELECT 'replayed', source_id, destination_id, sum(deliveries)"
        " FROM replayed GROUP BY 2, 3"
        " UNION ALL SELECT d.status, coalesce(e.source_id, 0), d.destination_id,"
        " count(*) FROM deliveries d LEFT JOIN events e ON e.id = d.event_id"
        " GROUP BY 1, 2, 3"
        " UNION ALL SELECT 'event', source_id, decision_id, events FROM pruned_events"
        " UNION ALL SELECT status, source_id, destination_id, deliveries"
        " FROM pruned_deliveries"
    )
    names = await known()
    decided: Counter[tuple[int, int]] = Counter()
    by_status: defaultdict[tuple[int, int], Counter[Status]] = defaultdict(Counter)
    for what, source, number, count in rows:
        if what == "event":
            for name in names.decisions[number].destinations:
                decided[source, names.numbers[name]] += count
        elif what == "replayed":
            decided[source, number] += count
        else:
            by_status[source, number][STATUSES[what]] += count
    return [
        Tally(
            names.names.get(source, "(no event)"),
            names.names[destination],
            decided[source, destination],
            by_status[source, destination],
        )
        for source, destination in sorted({*decided, *by_status})
    ]


async def totals(db: aiosqlite.Connection) -> Totals:
    """In one statement, for the same reason."""
    rows = await db.execute_fetchall(
        "SELECT (SELECT count(*) FROM events)"
        " + (SELECT coalesce(sum(events), 0) FROM pruned_events),"
        " (SELECT count(*) FROM event_keys),"
        " (SELECT coalesce(sum(fan_out), 0) FROM events)"
        " + (SELECT coalesce(sum(fan_out), 0) FROM pruned_events),"
        " (SELECT count(*) FROM variants),"
        " (SELECT count(*) FROM rejections),"
        " (SELECT count(*) FROM deliveries WHERE replay_id IS NULL)"
        " + (SELECT coalesce(sum(routed), 0) FROM pruned_deliveries)"
    )
    [row] = rows
    return Totals(*row)


def where_sql(conditions: Conditions) -> tuple[str, tuple[Any, ...]]:
    if not conditions:
        return "", ()
    values = tuple(value for _, several in conditions for value in several)
    return "WHERE " + " AND ".join(sql for sql, _ in conditions), values


async def _number(
    db: aiosqlite.Connection, sql: str, values: tuple[Any, ...] = ()
) -> int:
    rows = list(await db.execute_fetchall(sql, values))
    return int(rows[0][0])
