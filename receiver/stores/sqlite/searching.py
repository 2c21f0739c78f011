"""
Pages of what is stored, there in a moment however much that is.

What an index leads to is looked up.  Anything else is searched backwards in steps until
the page is full or the time is up; then the page says how far back it has looked, and
whoever asked may go on from there.  An index for every question would be paid for by
each webhook that comes.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import aiosqlite

from receiver import clock, ids
from receiver.models import Delivery, Status
from receiver.stores import DeliveryFilter, EventFilter, Page, StoredEvent
from receiver.stores.sqlite import by_subject, reads
from receiver.stores.sqlite.reads import Known
from receiver.stores.sqlite.rows import has_text, key_hash
from receiver.subjects import SubjectFilter

EVENTS_A_STEP = 1_000
DELIVERIES_A_STEP = 10_000
FEW = 5_000
"""So many deliveries in one state are fetched from its index and sorted."""

Step = Callable[[int], Awaitable[tuple[Sequence[int], int | None]]]
"""From below an id: what it found, and the last id it looked at (None: the end)."""


async def events(
    db: aiosqlite.Connection,
    known: Known,
    where: EventFilter,
    limit: int,
    after: str | None,
    longest_s: float,
) -> Page[StoredEvent]:
    """The newest first."""
    below = ids.number("evt", after) if after is not None else ids.LARGEST
    floor, top = bounds(where)
    conditions = reads.event_conditions(replace(where, since=None, until=None))
    if where.key is not None:
        numbers = await _by_key(db, where.key, where.source)
        marks = ", ".join("?" * len(numbers))
        conditions.append((f"e.id IN ({marks})", tuple(numbers)))
    clause, values = reads.where_sql([*conditions, ("1", ())])
    condition = clause.removeprefix("WHERE ")
    if where.key is not None:
        rows = await db.execute_fetchall(
            f"SELECT e.id FROM events e WHERE {condition} AND e.id < ? AND e.id >= ?"
            " ORDER BY e.id DESC LIMIT ?",
            (*values, min(below, top), floor, limit + 1),
        )
        looked_up = [row[0] for row in rows]
        items = await _matching(db, known, where, looked_up[:limit])
        last = looked_up[limit - 1] if len(looked_up) > limit else None
        return Page(items, _id("evt", last))

    # -1: nothing was followed, or nothing is looked for there
    followed_to = (where.subject and await by_subject.followed_to(db)) or -1

    async def step(from_id: int) -> tuple[Sequence[int], int | None]:
        if where.subject and from_id <= followed_to + 1:
            return await _followed(db, where.subject, condition, values, from_id, floor)
        rows = await db.execute_fetchall(
            f"SELECT e.id, {condition} FROM events e WHERE e.id < ? AND e.id >= ?"
            " ORDER BY e.id DESC LIMIT ?",
            (*values, from_id, max(floor, followed_to + 1), EVENTS_A_STEP),
        )
        found, last = split([(row[0], row[1]) for row in rows], EVENTS_A_STEP)
        if last is None and floor <= followed_to:
            last = followed_to + 1
        return found, last

    numbers, last = await search(step, min(below, top), limit, longest_s)
    items = await _matching(db, known, where, numbers)
    return Page(items, _id("evt", last), searched_to(last, len(items), limit))


async def _followed(
    db: aiosqlite.Connection,
    subject: str,
    condition: str,
    values: Sequence[object],
    below: int,
    floor: int,
) -> tuple[Sequence[int], int | None]:
    """A step through the events of a subject, as far as they are followed."""
    some = await by_subject.followed(db, subject, below)
    near = [number for number in some if number >= floor]
    rows = await db.execute_fetchall(
        f"SELECT e.id FROM events e WHERE {condition}"
        f" AND e.id IN ({', '.join('?' * len(near))}) ORDER BY e.id DESC",
        (*values, *near),
    )
    more = len(near) == by_subject.A_LOOK
    return [row[0] for row in rows], near[-1] if more else None


async def in_order(
    db: aiosqlite.Connection,
    known: Known,
    where: EventFilter,
    limit: int,
    after: str | None,
    newest_first: bool,
) -> list[StoredEvent]:
    """All that fit, however long that takes; `limit` of them if there are so many."""
    found: list[StoredEvent] = []
    while len(found) < limit:
        some = await reads.events(db, known, where, limit, after, newest_first)
        found += [s for s in some if where.text is None or has_text(s, where.text)]
        if len(some) < limit:
            break
        after = some[-1].event.id
    return found[:limit]


async def deliveries(
    db: aiosqlite.Connection,
    known: Known,
    where: DeliveryFilter,
    limit: int,
    after: str | None,
    longest_s: float,
) -> Page[Delivery]:
    """The newest first."""
    below = ids.number("dlv", after) if after is not None else ids.LARGEST
    conditions = reads.delivery_conditions(replace(where, since=None, until=None))
    clause, values = reads.where_sql([*conditions, ("1", ())])
    condition = clause.removeprefix("WHERE ")
    floor, top = bounds(where)
    index = _index(where)
    numbers: Sequence[int] | None = None
    last: int | None = None
    if where.status is Status.DEAD and where.event_id is None:
        numbers = await _dead(db, where.destination, floor, min(below, top), limit + 1)
    elif where.event_id is not None or index is not None:
        numbers = await _few(db, index or "", condition, values)
    if numbers is not None:
        fitting = sorted(n for n in numbers if floor <= n < min(below, top))[::-1]
        last = fitting[limit - 1] if len(fitting) > limit else None
        numbers = fitting[:limit]
    else:

        async def step(from_id: int) -> tuple[Sequence[int], int | None]:
            rows = await db.execute_fetchall(
                f"SELECT d.id, {condition} FROM deliveries d WHERE d.id < ?"
                " AND d.id >= ? ORDER BY d.id DESC LIMIT ?",
                (*values, from_id, floor, DELIVERIES_A_STEP),
            )
            return split([(row[0], row[1]) for row in rows], DELIVERIES_A_STEP)

        numbers, last = await search(step, min(below, top), limit, longest_s)
    items = await reads.deliveries_by_number(db, known, numbers)
    return Page(items, _id("dlv", last), searched_to(last, len(numbers), limit))


async def search(
    step: Step, below: int, limit: int, longest_s: float
) -> tuple[list[int], int | None]:
    """Up to `limit` ids, and after which to go on (None: there is no more)."""
    started = clock.monotonic()
    found: list[int] = []
    last: int | None = below
    while last is not None:
        some, last = await step(last)
        found += some
        if len(found) > limit or (len(found) == limit and last is not None):
            return found[:limit], found[limit - 1]
        if clock.monotonic() - started > longest_s:
            break
    return found, last


def split(
    rows: Sequence[tuple[int, int]], step: int
) -> tuple[Sequence[int], int | None]:
    """Of the ids a step looked at those that match, and after which to go on."""
    last = rows[-1][0] if len(rows) == step else None
    return [number for number, matches in rows if matches], last


async def _dead(
    db: aiosqlite.Connection,
    destination: str | None,
    floor: int,
    below: int,
    limit: int,
) -> list[int]:
    """From their index, which has them by destination and then by id."""
    if destination is None:
        sql = (
            "WITH RECURSIVE one(id) AS (SELECT min(destination_id) FROM deliveries"
            " WHERE status = 2 UNION ALL SELECT (SELECT min(destination_id)"
            " FROM deliveries WHERE status = 2 AND destination_id > one.id) FROM one"
            " WHERE one.id IS NOT NULL) SELECT id FROM one WHERE id IS NOT NULL"
        )  # without reading all that one destination has
        rows = await db.execute_fetchall(sql)
    else:
        sql = "SELECT id FROM names WHERE name = ?"
        rows = await db.execute_fetchall(sql, (destination,))
    found: list[int] = []
    for (number,) in rows:
        several = await db.execute_fetchall(
            "SELECT id FROM deliveries INDEXED BY deliveries_dead WHERE"
            " destination_id = ? AND status = 2 AND id < ? AND id >= ?"
            " ORDER BY id DESC LIMIT ?",
            (number, below, floor, limit),
        )
        found += [row[0] for row in several]
    return sorted(found, reverse=True)[:limit]


async def _few(
    db: aiosqlite.Connection, index: str, condition: str, values: Sequence[object]
) -> list[int] | None:
    """All of them, if they are few."""
    rows = await db.execute_fetchall(
        f"SELECT d.id FROM deliveries d {index} WHERE {condition} LIMIT ?",
        (*values, FEW + 1),
    )
    found = [row[0] for row in rows]
    return found if len(found) <= FEW else None


def _index(where: DeliveryFilter) -> str | None:
    """The index of those that wait, where the filter asks for them."""
    if where.event_id is not None or where.status is None:
        return None
    pending = where.status is Status.PENDING
    return "INDEXED BY deliveries_due" if pending else None


async def _by_key(db: aiosqlite.Connection, key: str, source: str | None) -> list[int]:
    """The events a key made, one for each source at most; the newest first."""
    if source is None:
        rows = await db.execute_fetchall("SELECT name FROM names")
        sources = [row[0] for row in rows]
    else:
        sources = [source]
    found: list[int] = []
    for name in sources:
        rows = await db.execute_fetchall(
            "SELECT event_id FROM event_keys WHERE hash = ?", (key_hash(name, key),)
        )
        found += [row[0] for row in rows]
    return sorted(found, reverse=True)


async def event_of(db: aiosqlite.Connection, source: str, key: str) -> str | None:
    """The event this key made; None if it has made none."""
    found = await _by_key(db, key, source)
    return _id("evt", found[0] if found else None)


async def _matching(
    db: aiosqlite.Connection, known: Known, where: EventFilter, numbers: Sequence[int]
) -> list[StoredEvent]:
    """These events as far as they are still there and the filter lets them through."""
    found = await reads.events_by_number(db, known, numbers)
    events = [found[number] for number in numbers if number in found]
    if where.text is None:
        return events
    return [stored for stored in events if has_text(stored, where.text)]


def bounds(where: EventFilter | DeliveryFilter | SubjectFilter) -> tuple[int, int]:
    """The least id there may be, and the one that all are below."""
    least = ids.floor(where.since) if where.since is not None else 0
    return least, ids.floor(where.until) if where.until is not None else ids.LARGEST


def _id(kind: ids.Kind, number: int | None) -> str | None:
    return None if number is None else ids.public(kind, number)


def searched_to(last: int | None, found: int, limit: int) -> datetime | None:
    """How far back was looked, where the page is not full for want of time."""
    return ids.made_at(last) if last is not None and found < limit else None
