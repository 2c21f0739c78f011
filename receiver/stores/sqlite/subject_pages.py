"""
Pages of subjects, there in a moment however many there are: see `searching`.

Where an index has only what goes on, or what is wrong, only that is looked through.
"""

from collections.abc import Sequence
from dataclasses import replace

import aiosqlite

from receiver import ids
from receiver.stores import Page
from receiver.stores.sqlite import reads, searching, subjects
from receiver.subjects import Subject, SubjectFilter

A_STEP = 5_000


async def search(
    db: aiosqlite.Connection,
    known: reads.Known,
    where: SubjectFilter,
    limit: int,
    after: str | None,
    longest_s: float,
) -> Page[Subject]:
    """The newest first."""
    if where.subject is not None or where.request_id is not None:
        found = await subjects.subjects(db, known, where, limit + 1, after)
        more = found[limit - 1].id if len(found) > limit else None
        return Page(found[:limit], more)
    below = ids.number("sub", after) if after is not None else ids.LARGEST
    floor, top = searching.bounds(where)
    plain = replace(where, since=None, until=None)
    clause, values = reads.where_sql([*subjects.conditions(plain), ("1", ())])
    condition = clause.removeprefix("WHERE ")
    among = " AND ".join(["1", *_among(where)])

    async def step(from_id: int) -> tuple[Sequence[int], int | None]:
        rows = await db.execute_fetchall(
            f"SELECT id, {condition} FROM subjects"
            f" WHERE {among} AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?",
            (*values, from_id, floor, A_STEP),
        )
        return searching.split([(row[0], row[1]) for row in rows], A_STEP)

    numbers, last = await searching.search(step, min(below, top), limit, longest_s)
    items = await subjects.by_number(db, known, numbers)
    last_id = None if last is None else ids.public("sub", last)
    return Page(items, last_id, searching.searched_to(last, len(numbers), limit))


def _among(where: SubjectFilter) -> list[str]:
    """What a partial index has; the words are its own."""
    found: list[str] = []
    if where.trouble is not None:
        found.append(subjects.among(where.trouble))
    if where.final is False or where.state in subjects.GOING_ON:
        found.append("final = 0")
    return found


async def count(db: aiosqlite.Connection, where: SubjectFilter, most: int) -> int:
    clause, values = reads.where_sql(subjects.conditions(where))
    sql = f"SELECT count(*) FROM (SELECT 1 FROM subjects {clause} LIMIT ?)"
    [[found]] = await db.execute_fetchall(sql, (*values, most))
    return int(found)
