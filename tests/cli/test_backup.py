"""Backing up and restoring beside real servers, and what is refused."""

import asyncio
import contextlib
import gzip
import os
import re
import resource
import signal
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from receiver.stores import open_store
from receiver.stores.sqlite.backup import copy, inspect
from receiver.stores.sqlite.store import SqliteStore
from tests.cli.conftest import ROUTES, Place, destinations
from tests.making import sample
from tests.serving import config, serving
from tests.stores.making import accepted, decision, event
from tests.web.wire import post

RELEASED = Path(__file__).parents[1] / "stores/released/0.1.0.sql"


@pytest.fixture
async def filled(alone: Place) -> Place:
    """Three events for `app`, and no server."""
    store = await open_store(f"sqlite:///{alone.folder}/receiver.db")
    for _ in range(3):
        await accepted(store, "app")
    await store.close()
    return alone


def ids_in(path: Path, table: str = "events") -> set[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute(f"SELECT id FROM {table}")}


def damage(path: Path) -> None:
    """Flip bytes in the pages after the first."""
    raw = bytearray(path.read_bytes())
    for page in range(1, len(raw) // 4096):
        for i in range(page * 4096, page * 4096 + 64):
            raw[i] ^= 0xFF
    path.write_bytes(raw)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- backup


async def test_a_backup_under_load_is_whole_and_the_server_goes_on(place):
    url = place.server.url

    async def send(number: int) -> int:
        return (await post(url, sample("batch.completed", f"bat_load_{number}"))).status

    sending = [asyncio.create_task(send(number)) for number in range(400)]
    made = [await place.json("backup", f"{n}.db") for n in range(2)]
    statuses = set(await asyncio.gather(*sending))
    last = await place.json("backup", "last.db")

    assert statuses == {200}
    assert last["rows"]["events"] == last["rows"]["event_keys"] == 400
    assert made[0]["rows"]["events"] <= made[1]["rows"]["events"] <= 400
    for found in (*made, last):
        rows, path = found["rows"], Path(found["file"])
        assert rows["deliveries"] == rows["events"] == rows["event_keys"]
        assert len(ids_in(path)) == rows["events"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [name for name in names(place.folder) if "partial" in name]
    assert not [name for name in names(place.folder) if name.startswith("last.db-")]


async def test_a_backup_finishes_although_the_store_is_written_to_at_each_step(
    tmp_path,
):
    source, target = tmp_path / "receiver.db", tmp_path / "copy.db"
    store = await SqliteStore.open(source)
    for _ in range(10):
        await store.add(event(body=os.urandom(1_000_000)), decision(), {})
    loop, told = asyncio.get_running_loop(), []

    def write(done: int, total: int) -> None:
        told.append((done, total))
        added = store.add(event(body=os.urandom(10_000)), decision(), {})
        asyncio.run_coroutine_threadsafe(added, loop).result()

    found = await asyncio.to_thread(copy, source, target, write)
    after = (await store.totals()).events
    await store.close()

    assert len(told) > 2
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert found.events == 10
    assert after == 10 + len(told)
    assert inspect(target) == found


async def test_a_backup_says_what_it_holds_and_replaces_nothing_unless_forced(filled):
    (filled.folder / "there.db").write_text("mine")

    said, _ = await filled.run("backup", "b.db")
    _, refused = await filled.run("backup", "there.db", code=1)
    kept = (filled.folder / "there.db").read_text()
    await filled.run("backup", "there.db", "--force")

    assert re.search(r"events +3\n", said)
    assert re.search(r"keys +3\n", said)
    assert "there.db exists already; --force replaces it" in refused
    assert kept == "mine"
    assert len(ids_in(filled.folder / "there.db")) == 3


async def test_a_folder_gets_a_file_named_by_the_time(filled):
    (filled.folder / "kept").mkdir()

    await filled.run("backup", "kept")

    [name] = names(filled.folder / "kept")
    assert re.fullmatch(r"receiver-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.db", name)


async def test_standard_output_gets_the_backup_and_nothing_else(filled):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "backup", "-",
        cwd=filled.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    (filled.folder / "piped.db").write_bytes(out)

    assert process.returncode == 0
    assert b"events 3" in err
    assert ids_in(filled.folder / "piped.db") == ids_in(filled.folder / "receiver.db")
    await filled.run("backup", "-", "--json", code=2)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("receiver.db", "is the store itself"),
        ("receiver.db-wal", "is the store itself"),
        ("link.db", "is the store itself"),
        ("hard.db", "is the store itself"),
        ("nowhere/b.db", "the folder .*nowhere does not exist"),
        ("nowhere/", "is not a folder"),
        ("/dev/null", "is not a file; for a pipe write -"),
        ("loop", "leads to itself"),
    ],
)
async def test_a_backup_is_never_written_where_it_does_harm(filled, file, words):
    folder = filled.folder
    (folder / "link.db").symlink_to("receiver.db")
    (folder / "hard.db").hardlink_to(folder / "receiver.db")
    (folder / "loop").symlink_to("loop")
    before = (folder / "receiver.db").read_bytes()

    _, err = await filled.run("backup", file, "--force", code=1)

    assert re.search(words, err)
    assert (folder / "receiver.db").read_bytes() == before


async def test_a_link_to_a_backup_is_followed(filled):
    (filled.folder / "latest.db").symlink_to("monday.db")

    await filled.run("backup", "latest.db")

    assert (filled.folder / "latest.db").is_symlink()
    assert len(ids_in(filled.folder / "monday.db")) == 3


async def test_a_damaged_store_is_not_taken_for_a_backup(filled):
    await filled.run("backup", "good.db")
    before = (filled.folder / "good.db").read_bytes()
    damage(filled.folder / "receiver.db")

    _, err = await filled.run("backup", "good.db", "--force", code=2)

    assert re.search(r"receiver\.db: .*damaged", err)
    assert (filled.folder / "good.db").read_bytes() == before
    assert not [name for name in names(filled.folder) if "partial" in name]


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough\n" * 99])
async def test_what_is_no_store_is_not_backed_up(alone, content):
    (alone.folder / "receiver.db").write_bytes(content)

    _, err = await alone.run("backup", "b.db", code=2)

    assert "it is empty" in err or "not a SQLite database" in err
    assert "b.db" not in names(alone.folder)


async def test_a_missing_store_is_said_to_be_missing(alone):
    _, err = await alone.run("backup", "b.db", code=2)

    assert "there is no store at" in err


async def test_only_the_place_of_the_store_is_needed_of_a_configuration(filled):
    toml = filled.folder / "receiver.toml"
    toml.write_text(toml.read_text() + '\n[destinations.x]\ntype = "${MISSING}"\n')

    await filled.run("check", code=2)
    await filled.run("backup", "b.db")

    assert len(ids_in(filled.folder / "b.db")) == 3


async def test_a_file_of_an_earlier_schema_is_backed_up_as_it_is(alone):
    release(alone.folder / "receiver.db")

    made = await alone.json("backup", "b.db")

    assert made["schema"] == 1
    assert made["rows"]["events"] == 6


def release(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(RELEASED.read_text())


async def test_room_is_asked_for_before_anything_is_written(filled):
    toml = filled.folder / "receiver.toml"
    much = "min_free_bytes = 1_000_000_000_000_000"
    toml.write_text(toml.read_text().replace("min_free_bytes = 0", much))

    _, err = await filled.run("backup", "b.db", code=1)

    assert re.search(r"has [\d,.]+ MB free, the copy needs [\d,.]+ MB, and ", err)
    assert "make room, or choose another disk" in err


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing(filled):
    # Without what measures coverage: it could not write, either.
    own = {n: v for n, v in os.environ.items() if not n.startswith("COVERAGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "backup", "b.db",
        cwd=filled.folder,
        stderr=asyncio.subprocess.PIPE,
        env={**own, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )  # fmt: skip
    _, err = await process.communicate()

    assert process.returncode == 1
    assert "Traceback" not in err.decode()
    assert f"{filled.folder}" in err.decode()
    assert not [name for name in names(filled.folder) if "b.db" in name]


async def test_a_backup_that_is_asked_to_end_leaves_nothing(tmp_path):
    """At its first step."""
    program = """
import os, signal, sys
from pathlib import Path
from receiver.cli.copying import cleaning_up
from receiver.stores.sqlite.backup import copy
with cleaning_up():
    copy(Path("receiver.db"), Path("b.db"), lambda *_: os.kill(os.getpid(), signal.SIGTERM))
"""
    store = await SqliteStore.open(tmp_path / "receiver.db")
    await store.close()

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=tmp_path
    )

    assert await process.wait() == 128 + signal.SIGTERM
    assert "b.db" not in names(tmp_path)


# -- restore


async def test_a_restored_store_is_whole_and_the_earlier_one_is_kept(filled):
    store = filled.folder / "receiver.db"
    await filled.run("backup", "b.db")
    backed_up = ids_in(store)
    opened = await open_store(f"sqlite:///{store}")
    await accepted(opened, "app")
    await opened.close()
    before = ids_in(store)

    answer = await filled.json("restore", "b.db", "--yes")

    assert (ids_in(store), ids_in(Path(answer["kept"]))) == (backed_up, before)
    assert re.fullmatch(
        r"receiver\.db\.before-restore-[\dTZ-]+", Path(answer["kept"]).name
    )
    assert answer["pending"] == {"app": 3}
    assert (await filled.json("status"))["difference"] == 0
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert not [name for name in names(filled.folder) if "partial" in name]
    assert len(ids_in(filled.folder / "b.db")) == 3


async def test_what_was_pending_in_a_backup_is_delivered_after_the_restore(
    filled, target
):
    toml = config(destinations=destinations(target), routes=ROUTES)
    await filled.run("backup", "b.db")

    said, _ = await filled.run("restore", "b.db", "--yes")

    assert "3 deliveries pending in it will be delivered" in said
    async with serving(filled.folder, toml):
        await target.wait_for(3)


async def test_all_is_held_back_until_somebody_resumes_it(filled, target):
    toml = config(destinations=destinations(target), routes=ROUTES)
    await filled.run("backup", "b.db")

    answer = await filled.json("restore", "b.db", "--yes", "--pause")
    listed = await filled.json("destinations", "list")

    assert sorted(answer["paused"]) == ["app", "spare"]
    assert {one["pause"]["reason"] for one in listed} == {"restored from a backup"}
    async with serving(filled.folder, toml):
        assert target.seen == []
        await filled.run("destinations", "resume", "app")
        await target.wait_for(3)


async def test_nothing_is_restored_under_a_running_server(place):
    await place.accepted()
    await place.run("backup", "b.db")

    _, err = await place.run("restore", "b.db", "--yes", code=2)

    assert f"(process {place.server.process.pid}): stop it first" in err
    assert not [name for name in names(place.folder) if "before-restore" in name]
    await place.accepted()


async def test_nothing_is_restored_unless_somebody_says_yes(filled):
    await filled.run("backup", "b.db")

    _, err = await filled.run("restore", "b.db", code=2)

    assert "3 events" in err
    assert "Add --yes" in err
    assert not [name for name in names(filled.folder) if "before-restore" in name]


async def test_a_log_that_belongs_to_the_replaced_store_is_not_applied_to_the_new_one(
    place,
):
    """Killed, the server leaves commits in its log."""
    await place.accepted()
    await place.run("backup", "b.db")
    later = await place.accepted()
    await place.server.kill()
    assert (place.folder / "receiver.db-wal").stat().st_size

    answer = await place.json("restore", "b.db", "--yes")

    assert len(ids_in(place.folder / "receiver.db")) == 1
    assert int(later.removeprefix("evt_"), 16) in ids_in(Path(answer["kept"]))
    assert (await place.json("status"))["difference"] == 0


async def test_a_damaged_store_is_replaced_and_kept_with_its_log(filled):
    await filled.run("backup", "b.db")
    store, log = filled.folder / "receiver.db", filled.folder / "receiver.db-wal"
    store.write_bytes(b"damaged from the first byte on" * 999)
    log.write_bytes(b"its log")

    answer = await filled.json("restore", "b.db", "--yes")

    kept = Path(answer["kept"])
    assert kept.read_bytes().startswith(b"damaged")
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"its log"
    assert len(ids_in(store)) == 3
    assert not log.exists()


async def test_a_backup_is_restored_where_there_was_no_store(filled):
    await filled.run("backup", "b.db")
    (filled.folder / "receiver.db").unlink()

    answer = await filled.json("restore", "b.db", "--yes")

    assert answer["kept"] is None
    assert len(ids_in(filled.folder / "receiver.db")) == 3


async def test_a_store_behind_a_link_is_replaced_where_it_is(filled):
    (filled.folder / "disk").mkdir()
    store = filled.folder / "receiver.db"
    store.rename(filled.folder / "disk/real.db")
    store.symlink_to("disk/real.db")
    await filled.run("backup", "b.db")

    answer = await filled.json("restore", "b.db", "--yes")

    assert store.is_symlink()
    assert Path(answer["kept"]).parent.name == "disk"
    assert len(ids_in(store)) == 3


async def test_a_backup_of_an_earlier_version_is_brought_up_to_date(alone):
    release(alone.folder / "old.db")

    await alone.run("restore", "old.db", "--yes")

    assert (await alone.json("status"))["totals"]["events"] == 6
    assert (await alone.json("backup", "new.db"))["schema"] > 1


async def test_raw_files_with_their_log_are_restored_with_what_is_in_it(place):
    await place.accepted()
    await place.server.kill()
    (place.folder / "raw").mkdir()
    for name in ("receiver.db", "receiver.db-wal"):
        (place.folder / name).rename(place.folder / "raw" / name)

    await place.run("restore", "raw/receiver.db", "--yes")

    assert len(ids_in(place.folder / "receiver.db")) == 1


def make_bad(good: Path, name: str) -> None:
    """A file beside a good backup that is none, in one of many ways."""
    bad, raw = good.with_name(name), good.read_bytes()
    if name == "folder":
        bad.mkdir()
        (bad / "inner.db").touch()
    elif name == "foreign":
        with contextlib.closing(sqlite3.connect(bad)) as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
    elif name == "newer":
        bad.write_bytes(raw)
        with contextlib.closing(sqlite3.connect(bad)) as connection:
            connection.execute("PRAGMA user_version = 9999")
    else:
        bad.write_bytes(
            {
                "text": b"some notes\n" * 1000,
                "damaged": raw,
                "cut": raw[: len(raw) // 2],
                "empty": b"",
                "gzip": gzip.compress(raw),
            }[name]
        )
        if name == "damaged":
            damage(bad)


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("text", 2, "not a SQLite database"),
        ("foreign", 2, "belongs to another program"),
        ("newer", 2, r"schema 9999, given to it by receiver .* run that version"),
        ("damaged", 2, "damaged"),
        ("cut", 2, "damaged"),
        ("empty", 2, "it is empty"),
        ("gzip", 1, "compressed: gunzip it first"),
        ("folder", 1, r"is a folder: name the file; the newest there is .*inner\.db"),
    ],
)
async def test_what_is_no_good_backup_is_refused_and_nothing_is_touched(
    filled, file, code, words
):
    store = filled.folder / "receiver.db"
    await filled.run("backup", "good.db")
    make_bad(filled.folder / "good.db", file)
    before, listing = store.read_bytes(), names(filled.folder)

    _, err = await filled.run("restore", file, "--yes", code=code)

    assert re.search(words, err)
    assert store.read_bytes() == before
    assert names(filled.folder) == listing


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("missing", "there is no file"),
        ("-", "not from a pipe"),
        ("receiver.db", "is the store itself"),
    ],
)
async def test_what_cannot_be_a_backup_is_refused(filled, file, words):
    _, err = await filled.run("restore", file, "--yes", code=1)

    assert words in err
