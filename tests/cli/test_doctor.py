"""The doctor beside real servers, and beside what is broken."""

import contextlib
import os
import signal
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from receiver import __version__
from receiver.stores import open_store
from tests.cli.test_backup import damage, release
from tests.serving import SECRET, config
from tests.sinks import sink
from tests.stores.making import accepted


@pytest.fixture
async def filled(alone):
    store = await open_store(f"sqlite:///{alone.folder}/receiver.db")
    for _ in range(3):
        await accepted(store, "app")
    await store.close()
    return alone


async def examined(place, *more: str, code: int) -> Mapping[str, list[Any]]:
    """What the doctor finds, by what it is about."""
    answer = await place.json("doctor", *more, code=code)
    found: dict[str, list[Any]] = {}
    for finding in answer["findings"]:
        found.setdefault(finding["about"], []).append(finding)
    problems = [f for f in answer["findings"] if f["verdict"] == "problem"]
    assert len(problems) == answer["problems"]
    return found


async def test_a_healthy_place_has_no_problem(place):
    event_id = await place.accepted()
    await place.attempted(event_id, "delivered")

    found = await examined(place, "--full", code=0)
    said, _ = await place.run("doctor")

    assert [one["verdict"] for one in found["store"]] == ["ok"]
    [server] = found["server"]
    assert (
        f"process {place.server.process.pid}, version {__version__}, for 0.0"
        in (server["words"])
    )
    [app] = found["destinations.app"]
    assert (app["verdict"], "is connected to" in app["words"]) == ("ok", True)
    assert found["ledger"][0]["verdict"] == "ok"
    assert found["open files"][0]["verdict"] == "ok"
    assert "used" in found["open files"][0]["words"]
    assert found["sources.sora2"][0]["words"] == "guarded by 1 secret"
    assert "0 problems, " in said
    assert len(place.target.seen) == 1  # the delivery: nobody else was sent anything
    assert SECRET not in said


async def test_a_destination_that_is_not_reached_is_a_problem_unless_offline(filled):
    async with sink() as gone:
        url = gone.url
    toml = config(destinations={"x": f'type = "http"\nurl = "{url}/T0KEN?key=S3CRET"'})
    (filled.folder / "receiver.toml").write_text(toml)

    found = await examined(filled, code=1)
    said, _ = await filled.run("doctor", code=1)
    await examined(filled, "--offline", code=0)

    [x] = found["destinations.x"]
    assert "Connection refused" in x["words"]
    assert x["advice"].endswith("receiver destinations test x")
    assert "T0KEN" not in said
    assert "S3CRET" not in said


async def test_a_server_that_hangs_is_a_problem(place):
    place.server.process.send_signal(signal.SIGSTOP)
    try:
        found = await examined(place, "--offline", code=1)
    finally:
        place.server.process.send_signal(signal.SIGCONT)

    [server] = found["server"]
    pid = place.server.process.pid
    assert server["words"] == f"process {pid} owns the store, but does not answer"
    assert found["store"][0]["verdict"] == "ok"


async def test_a_broken_configuration_does_not_hide_the_store(filled):
    toml = filled.folder / "receiver.toml"
    toml.write_text(toml.read_text() + '\n[destinations.y]\ntype = "pigeon"\n')

    found = await examined(filled, code=1)

    [wrong] = found["configuration"]
    assert 'unknown type "pigeon"' in wrong["words"]
    assert found["store"][0]["verdict"] == "ok"
    assert "3 wait" in found["deliveries"][0]["words"]


async def test_a_configuration_that_is_no_toml_is_a_problem(filled):
    (filled.folder / "receiver.toml").write_text("[[[")

    found = await examined(filled, code=1)

    assert found["configuration"][0]["verdict"] == "problem"
    assert found["store"][0]["verdict"] == "unknown"


async def test_a_missing_store_is_no_problem_yet(alone):
    found = await examined(alone, "--offline", code=0)

    assert found["store"][0]["verdict"] == "warning"
    assert not (alone.folder / "receiver.db").exists()


@pytest.mark.parametrize("how", ["pages", "header"])
async def test_a_damaged_store_comes_with_what_to_do(filled, how):
    store = filled.folder / "receiver.db"
    if how == "pages":
        damage(store)
    else:
        store.write_bytes(b"\xff" * 4096 + store.read_bytes()[4096:])
    before = store.read_bytes()

    found = await examined(filled, "--offline", code=1)
    said, _ = await filled.run("doctor", "--offline", code=1)

    [wrong] = found["store"]
    assert wrong["verdict"] == "problem"
    for command in ("systemctl stop", f"cp -a {store}", "receiver restore", ".recover"):
        assert command in wrong["advice"]
        assert command in said
    assert store.read_bytes() == before


async def test_a_foreign_a_newer_and_an_empty_store_are_told_apart(alone):
    store = alone.folder / "receiver.db"
    words: list[str] = []
    for statement, code in (
        ("CREATE TABLE notes (text TEXT)", 1),
        ("DROP TABLE notes", 0),
        ("PRAGMA user_version = 9999", 1),
    ):
        with contextlib.closing(sqlite3.connect(store)) as connection:
            connection.execute(statement)
        found = await examined(alone, "--offline", code=code)
        words.append(found["store"][0]["words"])

    assert "belongs to another program" in words[0]
    assert "is empty" in words[1]
    assert "schema 9999" in words[2]


async def test_an_older_store_names_the_command_that_mends_it(alone):
    release(alone.folder / "receiver.db")

    found = await examined(alone, "--offline", code=0)

    assert found["schema"][0]["verdict"] == "warning"
    assert "receiver migrate" in found["schema"][0]["advice"]


async def test_a_store_that_another_program_locked_is_told(filled):
    with contextlib.closing(
        sqlite3.connect(filled.folder / "receiver.db", isolation_level=None)
    ) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")

        found = await examined(filled, "--offline", code=1)

    assert "holds the store's lock" in found["store"][0]["words"]
    assert "fuser -v" in found["store"][0]["advice"]


async def test_what_others_may_read_is_warned_of(filled):
    (filled.folder / "receiver.db").chmod(0o644)
    (filled.folder / ".env").write_text("A=b\n")
    (filled.folder / ".env").chmod(0o604)
    (filled.folder / "receiver.toml").chmod(0o666)

    found = await examined(filled, "--offline", code=1)

    assert {one["words"] for one in found["files"]} >= {
        "everybody can change receiver.toml (mode 666)",
        "everybody can read .env (mode 604)",
        "others may use receiver.db (mode 644)",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written_is_a_problem(filled):
    filled.folder.chmod(0o500)
    try:
        found = await examined(filled, "--offline", code=1)
    finally:
        filled.folder.chmod(0o700)

    assert found["disk"][0]["verdict"] == "problem"
    assert found["store"][0]["verdict"] == "ok"


async def test_too_little_room_is_a_problem(filled):
    toml: Path = filled.folder / "receiver.toml"
    much = "min_free_bytes = 1_000_000_000_000_000"
    toml.write_text(toml.read_text().replace("min_free_bytes = 0", much))

    found = await examined(filled, "--offline", code=1)

    assert "answered 503" in found["disk"][0]["words"]


async def test_dead_paused_and_orphaned_deliveries_are_warned_of(filled):
    store = await open_store(f"sqlite:///{filled.folder}/receiver.db")
    await accepted(store, "gone")
    await store.close()
    await filled.run("destinations", "pause", "app", "--reason", "for a test")

    found = await examined(filled, "--offline", code=0)

    words = " ".join(one["words"] for one in found["deliveries"])
    assert "app is paused (for a test): receiver destinations resume app" in words
    assert "deliveries wait for 'gone', which is not configured" in words
