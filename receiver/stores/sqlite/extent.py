"""How large the store is, how far back it goes, and what pruning would remove."""

from collections.abc import Sequence
from datetime import datetime

import aiosqlite

from receiver import ids
from receiver.stores.pruning import Cutoffs, Extent, Pruned
from receiver.stores.sqlite.bodies import PRUNED
from receiver.stores.sqlite.retention import FOLLOWED_TO, KEPT_BYTES, WAITING

LOOKED_AT = 5_000
"""Events in one look at what would go."""


async def extent(db: aiosqlite.Connection) -> Extent:
    """By a few look-ups, however large the store is."""
    [[page_bytes]] = await db.execute_fetchall("PRAGMA page_size")
    [[pages]] = await db.execute_fetchall("PRAGMA page_count")
    [[free]] = await db.execute_fetchall("PRAGMA freelist_count")
    [[body, held, bodies_to, events_to, pruned]] = await db.execute_fetchall(
        "SELECT (SELECT min(id) FROM events WHERE id > bodies_to),"
        " (SELECT min(event_id) FROM held_events), bodies_to, events_to,"
        " (SELECT coalesce(sum(events), 0) FROM pruned_events) FROM pruning"
    )
    oldest = min((n for n in (body, held) if n is not None), default=None)
    return Extent(
        pages * page_bytes,
        free * page_bytes,
        _moment(oldest),
        _moment(bodies_to),
        _moment(events_to),
        pruned,
    )


def _moment(number: int | None) -> datetime | None:
    return ids.made_at(number) if number else None


async def pruned_to(db: aiosqlite.Connection) -> int:
    """The last id that may have been given to what is not there any more."""
    [[number]] = await db.execute_fetchall(
        "SELECT max(bodies_to, events_to) FROM pruning"
    )
    return int(number)


async def old(db: aiosqlite.Connection, cutoffs: Cutoffs) -> bool:
    """Whether there is anything old that was not looked at yet."""
    bodies, events, rejections = await _followed(db, cutoffs)
    [[found]] = await db.execute_fetchall(
        "SELECT EXISTS (SELECT 1 FROM events WHERE id > events_to AND id < ?)"
        " OR EXISTS (SELECT 1 FROM events WHERE id > bodies_to AND id < ?)"
        " OR EXISTS (SELECT 1 FROM rejections WHERE id < ?) FROM pruning",
        (events, bodies, rejections),
    )
    return bool(found)


async def would_go(
    db: aiosqlite.Connection, cutoffs: Cutoffs, after: int
) -> tuple[Pruned, int]:
    """
    Of the next events after an id what would go, and the last one's id.

    Rejections are counted in the first look, after 0.
    """
    bodies, events, rejections = await _followed(db, cutoffs)
    rows: Sequence[Sequence[int | None]] = list(
        await db.execute_fetchall(
            "SELECT count(*) FILTER (WHERE NOT waits AND id < ?1),"
            f" count(*) FILTER (WHERE NOT waits AND id >= ?1 AND codec <> {PRUNED}),"
            " sum(deliveries) FILTER (WHERE NOT waits AND id < ?1),"
            f" sum(bytes) FILTER (WHERE NOT waits AND codec <> {PRUNED}),"
            " count(*) FILTER (WHERE waits), max(id), count(*)"
            f" FROM (SELECT e.id, e.codec, {KEPT_BYTES} AS bytes, {WAITING} AS waits,"
            " e.fan_out + (SELECT count(*) FROM deliveries d"
            " INDEXED BY deliveries_replayed"
            " WHERE d.event_id = e.id AND d.replay_id IS NOT NULL) AS deliveries"
            " FROM events e WHERE e.id > ?3 AND e.id < max(?1, ?2)"
            " ORDER BY e.id LIMIT ?4)",
            (events, bodies, after, LOOKED_AT),
        )
    )
    [row] = [[value or 0 for value in row] for row in rows]
    refused = 0
    if after == 0:
        sql = "SELECT count(*) FROM rejections WHERE id < ?"
        [[refused]] = await db.execute_fetchall(sql, (rejections,))
    pruned = Pruned(
        events=row[0],
        bodies=row[1],
        deliveries=row[2],
        bytes=row[3],
        held=row[4],
        rejections=refused,
        reached=ids.made_at(row[5]) if row[5] else None,
        done=row[6] < LOOKED_AT,
    )
    return pruned, row[5]


async def _followed(db: aiosqlite.Connection, cutoffs: Cutoffs) -> tuple[int, int, int]:
    """The same, but what was not followed yet is not old."""
    bodies, events, rejections = numbers(cutoffs)
    [[cursor]] = await db.execute_fetchall(FOLLOWED_TO)
    most = 2**63 - 1 if cursor is None else cursor + 1
    return min(bodies, most), min(events, most), rejections


def numbers(cutoffs: Cutoffs) -> tuple[int, int, int]:
    """The ids before which bodies, events and rejections are old."""
    bodies, events, rejections = (
        0 if moment is None else ids.floor(moment)
        for moment in (cutoffs.bodies, cutoffs.events, cutoffs.rejections)
    )
    return bodies, events, rejections
