"""The disk fills up; the store's file is locked, gone, another, or damaged."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import RECEIVER, witnesses
from tests.faults.lives import (
    LONG,
    accepted,
    alive,
    broken,
    count_accepted,
    finished,
    logged,
    still,
    trapped,
)
from tests.serving import command, config, serving
from tests.sinks import sink
from tests.web.wire import connected, event, post, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

POLITE = {"failing": 0.0, "resetting": 0.0, "slow": 0.0}
"""A sink that gives no reason to be asked twice."""


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    made = folder / "disk"
    made.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(made)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a disk ({error})")
    yield made
    subprocess.run(["umount", "-l", str(made)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """A file that takes all the room there is, but for so many bytes."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        while True:
            space = os.statvfs(disk)
            try:
                free = space.f_bavail * space.f_frsize
                os.posix_fallocate(file.fileno(), 0, max(1, free - leave))
            except OSError:  # somebody took some of it just now
                continue
            return filler


def whole(store: Path) -> bool:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- no room


async def test_a_disk_that_fills_up_again_and_again_loses_and_repeats_nothing(
    folder: Path, disk: Path, seed: int
):
    store = disk / "receiver.db"
    plan = Plan.new(seed, store=str(store), padding=2_000, **POLITE)
    command = trapped(CHECKPOINT="100")  # else the log has room for a long time
    async with witnesses(folder, plan) as there, alive(there, command) as life:
        await accepted(there, 50)
        for leave in (0, 40_000, 4_096) * LONG:
            filler = fill(disk, leave)
            await logged(there, "store.failed")
            filler.unlink()
            await accepted(there, 50)
        verdict = await finished(there, life)

    assert broken(verdict) == {}
    assert verdict.counts["taken more than once"] == 0
    assert whole(store)


async def test_outcomes_that_a_full_disk_does_not_take_are_kept_and_written_first(
    folder: Path, disk: Path
):
    """Nothing new is attempted meanwhile, and nothing is attempted again."""
    toml = config(destinations={"app": 'type = "http"\nurl = "URL"\nconcurrency = 4'})
    toml = toml.replace("sqlite:///receiver.db", f"sqlite:///{disk}/receiver.db")
    go_on = asyncio.Event()

    async def respond(_):
        await go_on.wait()
        return web.Response(text="ok")

    async with sink() as there:
        there.respond = respond
        async with serving(folder, toml.replace("URL", there.url)) as server:
            for number in range(20):
                answer = await post(server.url, event(f"bat_{number}"))
                assert answer.status == 200
            await there.wait_for(4)
            filler = fill(disk)
            while (
                await post(server.url, event("big", padding=_noise()))
            ).status == 200:
                pass  # until there is no room left in the log, either
            go_on.set()
            await server.line("outcome.not_recorded")
            attempted = await still(lambda: len(there.seen), 0.5)
            await asyncio.sleep(1)  # nothing may happen now
            during = len(there.seen)
            filler.unlink()
            await server.lines("delivery.attempted", 20, status="delivered")
            code, _, err = await command(folder, "status")

    assert code == 0, err
    assert during == attempted
    ids = [seen.headers["webhook-id"] for seen in there.seen]
    assert len(ids) == len(set(ids))


def _noise() -> str:
    return os.urandom(100_000).hex()


async def test_while_little_room_is_left_nothing_is_accepted_and_the_rest_delivered(
    folder: Path, disk: Path, seed: int
):
    plan = Plan.new(seed, store=str(disk / "receiver.db"))
    async with witnesses(folder, plan) as there:
        file = folder / "receiver.toml"
        file.write_text(
            file.read_text().replace(
                "min_free_bytes = 0", "min_free_bytes = 32_000_000"
            )
        )
        async with alive(there) as life:
            await accepted(there, 100)
            filler = fill(disk, leave=30_000_000)
            await logged(there, "nearly full")
            before = await still(lambda: count_accepted(there))
            drained = await there.drained(patience_s=10)
            after = count_accepted(there)
            filler.unlink()
            await accepted(there, 50)
            verdict = await finished(there, life)

    assert drained
    assert after == before
    assert broken(verdict) == {}


# -- somebody else's lock


HOLD = """
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for seconds in (0.5, 3, 0.1):
    store.execute("BEGIN EXCLUSIVE")
    time.sleep(seconds)
    store.execute("ROLLBACK")
    time.sleep(0.2)
"""


async def test_a_store_that_another_program_locks_loses_and_repeats_nothing(
    folder: Path, seed: int
):
    plan = Plan.new(seed, **POLITE)
    async with witnesses(folder, plan) as there, alive(there) as life:
        await accepted(there, 50)
        arguments = [sys.executable, "-c", HOLD, str(folder / "receiver.db")]
        holder = await asyncio.create_subprocess_exec(*arguments)
        code, _, err = await command(folder, "status")
        assert await holder.wait() == 0
        await accepted(there, 50)
        verdict = await finished(there, life)

    assert code == 0, err
    assert broken(verdict) == {}
    assert verdict.counts["taken more than once"] == 0


async def test_a_second_server_is_refused_and_disturbs_nothing(folder: Path, seed: int):
    plan = Plan.new(seed, **POLITE)
    async with witnesses(folder, plan) as there, alive(there) as life:
        await accepted(there, 20)
        code, _, err = await command(folder, "serve")
        await accepted(there, 20)
        verdict = await finished(there, life)

    assert code == 2
    assert "owned by another receiver (process " in err
    assert broken(verdict) == {}


# -- another file, or none


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_a_file_that_is_moved_away_takes_no_event_with_it(
    folder: Path, seed: int, replaced: bool
):
    store, elsewhere = folder / "receiver.db", folder / "elsewhere"
    plan = Plan.new(seed, **POLITE)
    async with witnesses(folder, plan) as there, alive(there) as life:
        await accepted(there, 50)
        store.rename(elsewhere)
        if replaced:
            store.write_bytes(b"")
        await logged(there, "removed or replaced")
        before = await still(lambda: count_accepted(there))
        await asyncio.sleep(1)  # nothing may be accepted now
        after = count_accepted(there)
        elsewhere.replace(store)
        await accepted(there, 50)
        verdict = await finished(there, life)

    assert after == before
    assert broken(verdict) == {}
    assert verdict.counts["taken more than once"] == 0


# -- what may not be written


UNPRIVILEGED = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    if os.geteuid() == 0
    else ()
)


@pytest.mark.parametrize(
    ("mode", "folder_mode"), [(0o400, 0o700), (0o600, 0o500)], ids=["file", "folder"]
)
async def test_what_may_not_be_written_is_said_at_the_start_with_what_to_do(
    folder: Path, mode: int, folder_mode: int
):
    async with serving(folder, config()) as server:
        await post(server.url, event("bat_1"))
        await server.stop()
    (folder / "receiver.db").chmod(mode)
    folder.chmod(folder_mode)
    try:
        process = await asyncio.create_subprocess_exec(
            *UNPRIVILEGED, *RECEIVER, "serve",
            cwd=folder, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        folder.chmod(0o700)

    assert process.returncode in (1, 2)
    assert b"cannot be written" in said
    assert b"folder" in said
    assert b"Traceback" not in said


# -- damage


async def test_damage_is_noticed_said_with_what_to_do_and_nothing_more_accepted(
    folder: Path,
):
    dead = config(destinations={"app": 'type = "http"\nurl = "http://127.0.0.1:9/"'})
    store, good = folder / "receiver.db", folder / "good"
    async with serving(folder, dead) as server:
        for number in range(30):
            padding = os.urandom(20_000).hex()
            await post(server.url, event(f"bat_{number}", padding=padding))
        await server.stop()
    shutil.copy(store, good)
    _damage(store)
    async with serving(folder, dead) as server:
        failed = await server.line("claim.failed")
        refused = await post(server.url, event("bat_new"))
        unready = await _ready(server.url)
        code, _, said = await command(folder, "status")
        stopped = await server.stop()
    for name in ("receiver.db-wal", "receiver.db-shm"):
        (folder / name).unlink(missing_ok=True)
    good.replace(store)
    async with sink() as there:
        mended = config(destinations={"app": f'type = "http"\nurl = "{there.url}"'})
        async with serving(folder, mended):
            arrived = await there.wait_for(30)

    for words in (failed["error"], unready.json["reason"], said):
        assert "is damaged" in words
        assert "receiver doctor" in words
        assert "receiver restore" in words
    assert (refused.status, refused.code) == (503, "not_stored")
    assert unready.status == 503
    assert code == 2
    assert stopped == 0
    assert len({seen.headers["webhook-id"] for seen in arrived}) == 30


def _damage(store: Path) -> None:
    """A third of the file, in the middle, where there is little but bodies."""
    third = store.stat().st_size // 3 // 4096 * 4096
    with store.open("r+b") as file:
        file.seek(third)
        file.write(b"\xa5" * third)


async def _ready(url: str):
    async with connected(url) as wire:
        await wire.send(request(method="GET", headers={}, path="/readyz"))
        return await wire.answer()
