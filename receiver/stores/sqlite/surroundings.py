"""
What lists say of deliveries beside themselves, for the deliveries of a page.

All of it is looked up by keys that the page's rows have, so it costs the same however
much is stored.
"""

from collections.abc import Sequence

import aiosqlite

from receiver import ids
from receiver.models import Delivery
from receiver.stores.searching import LastAttempt, Surroundings
from receiver.stores.sqlite.reads import Known
from receiver.stores.sqlite.rows import RESULTS, Row, moment

A_LOOK = 500

_FIRST = (
    "(SELECT min(id) FROM deliveries INDEXED BY deliveries_line"
    " WHERE destination_id = d.destination_id AND line = d.line AND turn "
)
_OF = (
    "SELECT d.id, e.type_id, e.subject, a.result, a.status_code, a.detail, c.until,"
    " CASE WHEN d.status = 0 AND d.line IS NOT NULL AND d.turn IS NULL"
    f" THEN coalesce({_FIRST} = 1), {_FIRST} IS NULL)) END"
    " FROM deliveries d LEFT JOIN events e ON e.id = d.event_id"
    " LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempts"
    " LEFT JOIN confirmations c ON c.event_id = d.event_id AND c.verdict IS NULL"
    " AND d.status = 0 AND d.attempts = 0 AND d.manual = 0 AND d.replay_id IS NULL"
    " WHERE d.id IN ({marks})"
)


async def surroundings(
    db: aiosqlite.Connection, known: Known, deliveries: Sequence[Delivery]
) -> dict[str, Surroundings]:
    """See `receiver.stores.Reader.surroundings`."""
    rows: list[Row] = []
    for start in range(0, len(deliveries), A_LOOK):
        some = [ids.number("dlv", one.id) for one in deliveries[start : start + A_LOOK]]
        marks = ", ".join("?" * len(some))
        rows += await db.execute_fetchall(_OF.format(marks=marks), some)
    names = (await known()).names
    return {
        ids.public("dlv", row[0]): Surroundings(
            type=None if row[1] is None else names[row[1]],
            subject=row[2],
            last=_last(row),
            held_until=moment(row[6]),
            behind=_ahead(row),
        )
        for row in rows
    }


def _last(row: Row) -> LastAttempt | None:
    if row[3] is None:
        return None
    return LastAttempt(RESULTS[row[3]], row[4], row[5] or "")


def _ahead(row: Row) -> str | None:
    """Who has the turn, or blocks the line; itself, should the turn just change."""
    found = row[7]
    return None if found in (None, row[0]) else ids.public("dlv", found)
