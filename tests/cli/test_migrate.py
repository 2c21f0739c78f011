"""Bringing a store up to date by hand, and being killed meanwhile."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest

from receiver import __version__
from receiver.errors import StoreUnusable
from receiver.stores import open_store
from receiver.stores.sqlite.migrate import (
    APPLICATION_ID,
    check,
    migrations,
    newest,
    outstanding,
)
from tests.stores.making import accepted

RELEASED = sorted((Path(__file__).parents[1] / "stores/released").glob("*.sql"))

KILLED = """
import os, signal, sys
from pathlib import Path
from receiver.stores.sqlite.migrate import migrate
from receiver.stores.sqlite.reader import open_file

def migrate_some(path, left):
    def statement(_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    connection = open_file(Path(path), "rw")
    connection.execute("PRAGMA cache_size = 1")  # what is changed goes to the log at once
    connection.set_trace_callback(statement)
    migrate(connection)
    connection.close()

for line in sys.stdin:
    statements, _, path = line.rstrip().partition(" ")
    if (child := os.fork()) == 0:
        migrate_some(path, int(statements))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Has each migration it is told of made by a process of its own, which it forks: to
start Python for each statement would take a minute."""


def release(path: Path, script: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text())


@pytest.fixture
def migrated_and_killed() -> Iterator[Callable[[Path, int], int]]:
    """How a process ended that was killed after so many statements of a migration."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def after(path: Path, statements: int) -> int:
            asked.write(f"{statements} {path}\n")
            return int(told.readline())

        yield after
        asked.close()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def schema_of(path: Path) -> int:
    [[number]] = query(path, "PRAGMA user_version")
    assert isinstance(number, int)
    return number


def tables(path: Path) -> Sequence[tuple[object, ...]]:
    return query(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY name")


def expected(path: Path, script: Path, schema: int) -> Sequence[tuple[object, ...]]:
    """The tables of the released file after the steps up to this schema."""
    path.unlink(missing_ok=True)
    release(path, script)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for step in outstanding(schema_of(path)):
            if step.number <= schema:
                connection.executescript(step.sql)
    return tables(path)


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
def test_a_migration_killed_at_any_statement_leaves_the_schema_before_or_after_a_step(
    tmp_path, script, migrated_and_killed
):
    wanted = cache(partial(expected, tmp_path / "expected.db", script))
    seen: list[int] = []
    for statements in count():
        path = tmp_path / f"{statements}.db"
        release(path, script)
        before = schema_of(path)

        ended = migrated_and_killed(path, statements)

        schema = schema_of(path)
        seen.append(schema)
        assert before <= schema <= newest()
        assert tables(path) == wanted(schema)
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
        assert query(path, "SELECT count(*) FROM events") == [(6,)]
        if ended == 0:
            break
        assert ended == -signal.SIGKILL

    assert set(seen) == set(range(before, newest() + 1))
    assert seen == sorted(seen)


async def test_a_killed_migration_is_finished_by_the_next(alone, migrated_and_killed):
    path = alone.folder / "receiver.db"
    release(path, RELEASED[0])
    assert migrated_and_killed(path, 12) == -signal.SIGKILL

    await alone.run("migrate")

    assert schema_of(path) == newest()
    assert (await alone.json("status"))["totals"]["events"] == 6


async def test_a_store_is_brought_up_to_date_without_a_server(alone):
    path = alone.folder / "receiver.db"
    release(path, RELEASED[0])

    _, refused = await alone.run("events", "list", code=2)
    would = await alone.json("migrate", "--dry-run")
    untouched = schema_of(path)
    said, _ = await alone.run("migrate")
    again, _ = await alone.run("migrate")

    assert "receiver migrate" in refused
    assert [step["schema"] for step in would["steps"]] == list(range(2, newest() + 1))
    assert (untouched, schema_of(path)) == (1, newest())
    assert all(step.name in said for step in migrations()[1:])
    assert f"schema {newest()} is what receiver {__version__} needs" in again
    assert len(await alone.json("events", "list")) == 6


async def test_a_store_that_a_server_owns_is_not_migrated(place):
    _, err = await place.run("migrate", code=2)

    assert f"(process {place.server.process.pid}): stop it first" in err
    await place.run("migrate", "--dry-run")


async def test_a_missing_store_is_not_made(alone):
    _, err = await alone.run("migrate", code=2)

    assert "start one with: receiver serve" in err
    assert not (alone.folder / "receiver.db").exists()


async def test_a_newer_store_names_the_version_that_wrote_it(alone):
    path = alone.folder / "receiver.db"
    store = await open_store(f"sqlite:///{path}")
    await accepted(store, "app")
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE remembered SET text = '7.8.9'")
        connection.execute("PRAGMA user_version = 9999")

    said = [
        await alone.run(*words, code=2)
        for words in (["serve"], ["migrate"], ["status"])
    ]

    for _, err in said:
        assert "the store has schema 9999, given to it by receiver 7.8.9" in err
        assert f"this is receiver {__version__}, which knows schema {newest()}" in err
        assert "receiver restore FILE" in err


def test_a_newer_file_without_a_name_is_refused_all_the_same(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 9999")

        with pytest.raises(StoreUnusable, match="given to it by a newer version"):
            check(connection)
