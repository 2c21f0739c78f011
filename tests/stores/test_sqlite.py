"""What only the SQLite store has: its file, its lock, its groups, its disk."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from pathlib import Path
from textwrap import dedent

import pytest

from receiver.errors import StoreBusy, StoreError, StoreLocked, StoreUnusable
from receiver.stores import open_reader, open_store, sqlite_path
from receiver.stores.sqlite.group import GroupCommit
from receiver.stores.sqlite.migrate import APPLICATION_ID, migrations, newest
from receiver.stores.sqlite.reader import YIELDS, connect, open_file
from receiver.stores.sqlite.store import LOG_BYTES, SqliteStore
from receiver.stores.sqlite.writer import CACHED_EVENT_BYTES
from tests.stores.making import (
    ALL_EVENTS,
    NOW,
    accepted,
    assert_adds_up,
    claim,
    decision,
    event,
    record,
    seconds,
)

NEWER = (
    r"schema 9999, given to it by receiver \d.*; this is receiver \d.*, which knows"
    r" schema \d+: run that version .* receiver restore FILE"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receiver.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(path)
    yield opened
    await opened.close()


async def opened_and_closed(path: Path) -> None:
    await (await SqliteStore.open(path)).close()


def pragma(path: Path, name: str) -> object:
    connection = sqlite3.connect(path)
    [[value]] = connection.execute(f"PRAGMA {name}").fetchall()
    connection.close()
    return value


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# -- the file


def test_migrations_are_numbered_without_a_gap_and_none_twice():
    numbers = [migration.number for migration in migrations()]

    assert numbers == list(range(1, newest() + 1))


async def test_the_file_is_ours_in_wal_mode_and_can_be_vacuumed_in_steps(path: Path):
    await opened_and_closed(path)

    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "auto_vacuum") == 2
    assert pragma(path, "user_version") == newest()
    assert pragma(path, "integrity_check") == "ok"


async def test_a_commit_is_synced_to_the_disk(store: SqliteStore):
    def ask(connection: sqlite3.Connection, items: Sequence[None]) -> Sequence[int]:
        return [connection.execute("PRAGMA synchronous").fetchone()[0] for _ in items]

    synchronous = await store._write(ask, None)

    assert synchronous == 2  # FULL


async def test_what_is_due_and_what_is_old_are_read_without_the_right_to_write(
    store: SqliteStore,
):
    for connection in (store._reader, store._due):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await connection.execute("INSERT INTO names (name) VALUES ('x')")


async def test_an_empty_file_becomes_a_store(path: Path):
    path.touch()

    await opened_and_closed(path)

    assert pragma(path, "application_id") == APPLICATION_ID


@pytest.mark.parametrize("opening", [open_store, open_reader])
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE notes (text TEXT)"],
        ["PRAGMA application_id = 77"],
        ["CREATE TABLE notes (text TEXT)", "PRAGMA user_version = 1"],
    ],
)
async def test_another_programs_database_is_refused_and_left_alone(
    path: Path, statements: list[str], opening: object
):
    execute(path, *statements)
    before = path.read_bytes()

    with pytest.raises(StoreUnusable, match="another program"):
        await (open_store if opening is open_store else open_reader)(
            f"sqlite:///{path}"
        )

    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", ["store", "reader"])
async def test_a_text_file_is_refused_and_left_alone(path: Path, opening: str):
    path.write_text("these are my notes, and I want to keep them\n" * 100)
    before = path.read_bytes()

    with pytest.raises(StoreUnusable, match="not a SQLite database"):
        await (open_store if opening == "store" else open_reader)(f"sqlite:///{path}")

    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", ["store", "reader"])
async def test_a_newer_schema_is_refused(path: Path, opening: str):
    await opened_and_closed(path)
    execute(path, "PRAGMA user_version = 9999")

    with pytest.raises(StoreUnusable, match=NEWER):
        await (open_store if opening == "store" else open_reader)(f"sqlite:///{path}")


async def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(StoreUnusable, match=r"the folder .*nowhere does not exist"):
        await open_store(f"sqlite:///{tmp_path}/nowhere/receiver.db")


async def test_a_folder_is_not_a_store(tmp_path: Path):
    with pytest.raises(StoreError):
        await open_store(f"sqlite:///{tmp_path}/.")


async def test_a_damaged_file_is_refused(path: Path):
    await opened_and_closed(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 4_000)

    with pytest.raises(StoreUnusable, match="damaged"):
        await open_store(f"sqlite:///{path}")


async def test_a_reader_refuses_what_is_not_there_or_empty(path: Path):
    with pytest.raises(StoreUnusable, match="no store at"):
        await open_reader(f"sqlite:///{path}")
    assert not path.exists()

    path.touch()
    with pytest.raises(StoreUnusable, match="is empty"):
        await open_reader(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url", ["", "receiver.db", "mysql:///x", "sqlite://x", "sqlite:///", ":///x"]
)
def test_a_url_of_no_known_kind_is_refused_with_an_example(url: str):
    with pytest.raises(StoreUnusable, match=r"expected sqlite:///receiver\.db"):
        sqlite_path(url)


async def test_a_refused_file_is_not_kept_locked(path: Path):
    execute(path, "CREATE TABLE notes (text TEXT)")
    with pytest.raises(StoreUnusable):
        await open_store(f"sqlite:///{path}")

    path.unlink()

    await opened_and_closed(path)


async def test_a_closed_store_is_one_file_that_can_be_copied(path: Path):
    store = await SqliteStore.open(path)
    event_id = await accepted(store, "crm")
    await store.close()

    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())

    assert not path.with_name("receiver.db-wal").exists()
    reader = await open_reader(f"sqlite:///{copy}")
    assert (await reader.event(event_id)).event.id == event_id
    await reader.close()


# -- migrations


def test_migrations_are_numbered_without_gaps_and_manage_no_transactions():
    numbers = [step.number for step in migrations()]

    assert numbers == list(range(1, len(numbers) + 1))
    for step in migrations():
        words = step.sql.upper().split()
        assert not {"COMMIT;", "BEGIN;", "ROLLBACK;", "VACUUM;"} & set(words)


async def test_a_migration_that_fails_leaves_nothing_of_itself(path: Path):
    """The first has many statements; one that cannot run is the last table's."""
    execute(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE heartbeat (something_else INTEGER)",
    )

    with pytest.raises(StoreError):
        await open_store(f"sqlite:///{path}")

    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    connection.close()
    assert tables == [("heartbeat",)]
    assert pragma(path, "user_version") == 0


def test_the_migrations_are_part_of_the_package():
    folder = resources.files("receiver") / "stores" / "migrations" / "sqlite"

    assert {file.name for file in folder.iterdir()} >= {"0001_initial.sql"}


RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))


def release(path: Path, script: Path) -> None:
    """A store's file as an earlier version left it."""
    connection = sqlite3.connect(path)
    connection.executescript(script.read_text())
    connection.close()


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
async def test_what_an_earlier_version_kept_is_all_there_and_is_delivered_in_order(
    path: Path, script: Path
):
    release(path, script)

    opened = await SqliteStore.open(path)
    before = await opened.ledger()
    await opened.keep_order({"crm": "skip", "ops": None})
    added = await opened.add(event(subject="bat_1"), decision("crm"), {})
    later = NOW + seconds(3_600)
    order: dict[str, list[str]] = {}
    while found := (await claim(opened, now=later)).claims:
        assert len({one.event.subject for one in found}) == len(found)
        for one in found:
            line = "beside" if one.delivery.replay_id else one.event.subject
            order.setdefault(line, []).append(one.event.key)
            assert await record(opened, one)

    assert sum(tally.decided for tally in before) == 13
    assert [tally.difference for tally in before] == [0, 0]
    assert (order["bat_1"][:2], order["bat_2"]) == (["k2", "k3"], ["k4", "k5"])
    assert len(order["bat_1"]) == 3
    assert order["beside"] == ["k0"]
    assert added.created
    assert not (await opened.add(event("k5"), decision("crm"), {})).created
    assert len((await claim(opened, "ops", now=later)).claims) == 6
    await assert_adds_up(opened)
    await opened.close()


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
async def test_a_reader_says_what_brings_an_earlier_file_up_to_date(
    path: Path, script: Path
):
    release(path, script)

    with pytest.raises(
        StoreUnusable, match=r"schema 1, receiver .* needs \d+; .*: receiver migrate"
    ):
        await open_reader(f"sqlite:///{path}")


# -- one owner


async def test_a_second_owner_is_refused_and_told_who_the_first_is(
    path: Path, store: SqliteStore
):
    with pytest.raises(StoreLocked, match=rf"receiver \(process {os.getpid()}\)"):
        await open_store(f"sqlite:///{path}")

    await accepted(store, "crm")


async def test_a_second_process_is_refused_and_told_who_the_first_is(
    path: Path, store: SqliteStore
):
    second = await run_in_process(path, "print('opened')")

    assert "StoreLocked" in second
    assert f"process {os.getpid()}" in second


async def test_the_same_file_by_another_name_has_the_same_owner(
    path: Path, store: SqliteStore
):
    link = path.with_name("link.db")
    link.symlink_to(path)

    with pytest.raises(StoreLocked):
        await open_store(f"sqlite:///{link}")


async def test_a_killed_owner_leaves_no_lock(path: Path):
    killed = "await store.ping(); import os; os.kill(os.getpid(), 9)"
    await run_in_process(path, killed)

    await opened_and_closed(path)


async def run_in_process(path: Path, body: str, *, before: str = "") -> str:
    """What a Python process says that opens the store and then does `body`."""
    script = dedent(
        f"""
        import asyncio, sys
        from receiver.errors import StoreError
        from receiver.stores import open_store
        from tests.stores.making import *
        {before}
        async def main():
            try:
                store = await open_store("sqlite:///{path}")
            except StoreError as error:
                print(type(error).__name__, error)
                return
            BODY
            await store.close()
        asyncio.run(main())
        """
    )
    indented = dedent(body).strip().replace("\n", "\n    ")
    script = script.replace("BODY", indented)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


# -- groups


async def test_many_concurrent_adds_share_few_commits(store: SqliteStore):
    await accepted(store, "crm")
    before = store._group.commits

    await asyncio.gather(*(accepted(store, "crm") for _ in range(1_000)))

    assert store._group.commits - before <= 20


async def test_more_than_fits_in_memory_is_refused_and_the_rest_is_written(
    path: Path, store: SqliteStore
):
    def write(
        connection: object, items: Sequence[str]
    ) -> Sequence[str]:  # an operation that writes nothing
        return items

    connection = open_file(path, "rw")
    group = GroupCommit(connection, max_bytes=100, before_commit=lambda: None)
    try:
        results = await asyncio.gather(
            *(group.submit(write, i, 30) for i in range(5)), return_exceptions=True
        )
        afterwards = await group.submit(write, "more", 100)
        unsized = await group.submit(write, "no size")
    finally:
        await group.close()
        connection.close()

    assert results[:3] == [0, 1, 2]
    assert [type(result) for result in results[3:]] == [StoreBusy, StoreBusy]
    assert (afterwards, unsized) == ("more", "no size")


async def test_what_is_written_survives_an_operation_that_raises(
    path: Path, store: SqliteStore
):
    def fail(connection: object, items: Sequence[object]) -> Sequence[object]:
        raise KeyError("a fault")

    results = await asyncio.gather(
        store._write(fail, 1),
        *(accepted(store, "crm") for _ in range(5)),
        return_exceptions=True,
    )

    assert isinstance(results[0], StoreError)
    assert all(isinstance(result, str) for result in results[1:])
    await assert_adds_up(store)


# -- the surroundings fail


async def test_a_file_locked_by_another_program_is_busy_and_works_again(
    path: Path, store: SqliteStore
):
    await accepted(store, "crm")
    [held] = (await claim(store)).claims
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    results = await asyncio.gather(
        accepted(store, "crm"),
        accepted(store, "crm"),
        record(store, held),
        store.ping(),
        return_exceptions=True,
    )
    other.rollback()
    other.close()

    assert [type(result) for result in results] == [StoreBusy] * 4
    assert await record(store, held)
    await accepted(store, "crm")
    assert await store.count_events(ALL_EVENTS) == 2
    await assert_adds_up(store)


async def test_too_little_free_space_stops_intake_but_not_recording(path: Path):
    store = await SqliteStore.open(path)
    await accepted(store, "crm")
    await store.close()
    short = await SqliteStore.open(path, min_free_bytes=2**62)
    try:
        with pytest.raises(StoreBusy, match="nearly full"):
            await short.add(event(), decision("crm"), {})
        with pytest.raises(StoreBusy):
            await short.ping()

        [held] = (await claim(short)).claims

        assert await record(short, held)
        await assert_adds_up(short)
    finally:
        await short.close()


async def test_a_full_disk_is_a_store_error_and_leaves_nothing_half_written(
    path: Path,
):
    """The limit on the size of files stands in for a disk that fills up."""
    body = """
        import os, resource
        first = await accepted(store, "crm", "ops")
        [held] = (await claim(store)).claims
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        failures = 0
        for i in range(20):
            try:
                await store.add(event(body=os.urandom(100_000)), decision("crm", "ops"), {})
            except StoreError as error:
                failures += 1
                said = str(error)
        try:
            while True:
                recorded = await record(store, held)
                assert recorded
                break
        except StoreError:
            print("not recorded")
        print("failed", 0 < failures < 20, said)
        await assert_adds_up(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await accepted(store, "crm", "ops")
        if (await store.delivery(held.delivery.id)).attempts == 0:
            assert await record(store, held)
        kept = await store.count_events(ALL_EVENTS)
        assert kept == 2 + 20 - failures, kept
        await assert_adds_up(store)
        print("works again")
    """

    said = await run_in_process(path, body)

    assert "failed True the disk" in said, said
    assert "works again" in said, said
    again = await SqliteStore.open(path)
    await assert_adds_up(again)
    await again.close()
    assert pragma(path, "integrity_check") == "ok"


async def test_no_room_for_the_first_byte_is_a_store_error(path: Path):
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"

    said = await run_in_process(path, "print('opened')", before=before)

    assert said.startswith("StoreError the disk"), said


async def test_a_folder_that_disappears_is_a_store_error(tmp_path: Path):
    folder = tmp_path / "here"
    folder.mkdir()
    store = await SqliteStore.open(folder / "receiver.db")
    folder.rename(tmp_path / "there")
    try:
        with pytest.raises(StoreError, match="here"):
            await store.add(event(), decision("crm"), {})
    finally:
        await store.close()


async def test_a_folder_that_cannot_be_written_is_unusable(path: Path):
    path.with_name("receiver.db.lock").mkdir()

    with pytest.raises(StoreUnusable, match=r"receiver\.db\.lock: "):
        await open_store(f"sqlite:///{path}")


async def test_events_that_left_the_memory_are_read_from_the_file(store: SqliteStore):
    bodies = [bytes([number]) * 4_194_304 for number in range(6)]
    for body in bodies:
        await store.add(event(body=body), decision("crm"), {})

    found = (await claim(store, max_bytes=2**40)).claims

    assert [one.event.body for one in found] == bodies
    assert store._recent._bytes <= CACHED_EVENT_BYTES


async def test_a_claim_that_cannot_be_read_is_not_held(store: SqliteStore, path: Path):
    await accepted(store, "crm")
    await store.close()
    again = await SqliteStore.open(path)
    await again._reader.close()  # the event is not in memory, and cannot be completed
    with pytest.raises(StoreError):
        await claim(again)

    again._reader = await connect(path)

    assert len((await claim(again)).claims) == 1
    await again._reader.close()
    await again.close()


# -- what is on the disk


async def test_only_its_owner_can_read_the_file(path: Path, store: SqliteStore):
    await accepted(store)

    files = [path, *path.parent.glob("receiver.db-*")]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("replace", [False, True], ids=["removed", "replaced"])
async def test_nothing_is_accepted_into_a_file_that_is_gone(
    path: Path, store: SqliteStore, replace: bool
):
    await accepted(store)
    path.rename(path.with_name("elsewhere"))
    if replace:
        path.touch()

    with pytest.raises(StoreError, match="removed or replaced"):
        await accepted(store)
    with pytest.raises(StoreError, match="removed or replaced"):
        await store.ping()
    path.unlink(missing_ok=True)
    path.with_name("elsewhere").rename(path)

    await accepted(store)
    assert (await store.totals()).events == 2


async def test_a_large_body_takes_little_room_and_comes_back_as_it_was(
    path: Path, store: SqliteStore
):
    body = b'{"item":"succeeded"}' * 50_000
    stored = await store.add(event(body=body), decision("app"), {})
    await store.close()

    again = await SqliteStore.open(path)
    found = await again.event(stored.event_id)
    await again.close()
    assert found.event.body == body
    assert path.stat().st_size < len(body) / 4


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities there")
async def test_who_yields_reads_the_same_behind_all_others(
    path: Path,
):
    store = await SqliteStore.open(path)
    await accepted(store, "crm")
    reader = await open_reader(f"sqlite:///{path}", yielding=True)

    ledger = await reader.ledger()
    priorities = {
        os.getpriority(os.PRIO_PROCESS, int(thread.name))
        for thread in Path("/proc/self/task").glob("*")
    }
    expected = await store.ledger()
    await reader.close()
    await store.close()

    assert ledger == expected
    assert YIELDS in priorities


async def test_the_log_is_cut_after_somebody_has_read_for_long(path: Path):
    store = await SqliteStore.open(path)
    log = path.with_name(path.name + "-wal")
    long = sqlite3.connect(path, isolation_level=None)
    long.execute("BEGIN")
    long.execute("SELECT count(*) FROM events").fetchall()
    for _ in range(72):
        await store.add(event(body=os.urandom(1024 * 1024)), decision("crm"), {})
    grown = log.stat().st_size

    long.close()
    for _ in range(3):
        await accepted(store, "crm")
    cut = log.stat().st_size
    await store.close()

    assert grown > LOG_BYTES >= cut
