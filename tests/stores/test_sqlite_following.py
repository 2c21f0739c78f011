"""What only the SQLite store has to promise to who follows it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from receiver.batches import Batches
from receiver.providers.senders import Senders
from receiver.settings import Server, Settings, StoreSettings
from receiver.stores.sqlite import by_subject, reads, subjects
from receiver.stores.sqlite.reader import SqliteReader
from receiver.stores.sqlite.store import SqliteStore
from receiver.subjects import SubjectFilter, Trouble
from tests.stores.making import NOW, accepted
from tests.stores.subjects import change

SMALL = ("subjects_open", "subjects_troubled", "subjects_wrong")
"""Indexes that have only what goes on, or is wrong."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "receiver.db")
    yield opened
    await opened.close()


def plan(path: Path, where: SubjectFilter) -> list[str]:
    clause, values = reads.where_sql(subjects.conditions(where))
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM subjects {clause} ORDER BY id DESC LIMIT 9"
    with closing(sqlite3.connect(path)) as connection:
        return [row[3] for row in connection.execute(sql, values)]


@pytest.mark.parametrize(
    "where",
    [
        SubjectFilter(subject="bat_1"),
        SubjectFilter(source="sora2", subject="bat_1"),
        SubjectFilter(request_id="order-1"),
        SubjectFilter(source="sora2", request_id="order-1"),
        SubjectFilter(trouble=Trouble.LEDGER),
        SubjectFilter(final=False, silent_since=NOW),
        SubjectFilter(source="sora2", final=False),
        SubjectFilter(source="sora2", since=NOW),
    ],
)
async def test_finding_subjects_does_not_read_all_of_them(
    store: SqliteStore, where: SubjectFilter
):
    steps = plan(store.path, where)

    whole = [step for step in steps if step.startswith("SCAN subjects")]
    assert all(step.endswith(SMALL) for step in whole), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_another_process_sees_subjects_whose_names_are_new_to_it(
    store: SqliteStore,
):
    reader = await SqliteReader.open(store.path)
    event_id = await accepted(store)

    await store.advance("f", event_id, [change(event_id=event_id)])

    try:
        [found] = await reader.subjects(SubjectFilter(), limit=10)
        assert found.source == "sora2"
    finally:
        await reader.close()


@pytest.mark.parametrize(
    "script",
    sorted((Path(__file__).parent / "released").glob("*.sql")),
    ids=lambda script: script.stem,
)
async def test_what_an_earlier_version_stored_is_followed_from_the_beginning(
    tmp_path: Path, script: Path
):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text())
        events = connection.execute(
            "SELECT DISTINCT subject FROM events WHERE subject <> ''"
        ).fetchall()
    opened = await SqliteStore.open(path)
    try:
        assert await opened.cursor("events") is None
        settings = Settings("t", Server(), StoreSettings(), {}, {}, ())
        batches = Batches(settings, opened, Senders(()))
        stretch = await opened.follow(None, 10_000)

        folded = await batches.fold(stretch.events, NOW + timedelta(days=400))
        await opened.advance("events", stretch.upto, folded.changes)

        found = await opened.subjects(SubjectFilter(), limit=10_000)
        assert {one.subject for one in found} == {row[0] for row in events}
        assert (await opened.follow(stretch.upto, 10)).upto is None
    finally:
        await opened.close()


async def test_finding_events_by_subject_does_not_read_all_of_them(store: SqliteStore):
    [(condition, values)] = by_subject.conditions("bat_1")
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM events e WHERE {condition} ORDER BY e.id"

    with closing(sqlite3.connect(store.path)) as connection:
        steps = [row[3] for row in connection.execute(sql, values)]

    assert any("SEARCH subject_events USING PRIMARY KEY" in step for step in steps)
    assert not any("SCAN" in step and "names" not in step for step in steps), steps


@pytest.mark.parametrize(("since", "source"), [(None, None), (NOW, "sora2")])
async def test_credits_are_added_up_from_an_index_alone(
    store: SqliteStore, since: datetime | None, source: str | None
):
    sql, values = subjects.credits_query(since, None, source)

    with closing(sqlite3.connect(store.path)) as connection:
        steps = [
            row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        ]

    assert any("USING COVERING INDEX subjects_ended" in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps
