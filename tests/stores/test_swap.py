"""Putting a backup in the store's place, killed at every step of it."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path

from receiver.stores.sqlite.store import SqliteStore
from tests.stores.making import accepted

KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from receiver.stores.sqlite.swap import put_in_place
left = int(sys.argv[1])
def step(event, _):
    global left
    if event in ("os.rename", "os.remove", "os.link", "sqlite3.connect"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
put_in_place(Path("new.db"), Path("receiver.db"), datetime(2026, 1, 24, tzinfo=UTC))
"""
KEPT = "receiver.db.before-restore-2026-01-24T00-00-00Z"


def events(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    return found


async def make(folder: Path) -> None:
    """A store with two events, both only in its log; one with three to replace it."""
    new = await SqliteStore.open(folder / "new.db")
    for _ in range(3):
        await accepted(new, "crm")
    await new.close()
    (folder / "killed").mkdir()
    old = await SqliteStore.open(folder / "killed/receiver.db")
    for _ in range(2):
        await accepted(old, "crm")
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"killed/receiver.db{suffix}", folder)
    await old.close()
    shutil.rmtree(folder / "killed")
    assert (folder / "receiver.db-wal").stat().st_size


def swapped_and_killed(folder: Path, steps: int) -> int:
    arguments = [sys.executable, "-c", KILLED, str(steps)]
    return subprocess.run(arguments, cwd=folder, check=False).returncode


async def test_a_swap_killed_at_any_step_leaves_one_of_the_two_stores_whole(tmp_path):
    await make(tmp_path)
    seen: list[int] = []
    for steps in count():
        folder = tmp_path.with_name(f"{tmp_path.name}-{steps}")
        shutil.copytree(tmp_path, folder)

        ended = swapped_and_killed(folder, steps)

        seen.append(events(folder / "receiver.db"))
        if (folder / KEPT).exists():
            assert events(folder / KEPT) == 2
        if ended == 0:
            break
        assert ended == -signal.SIGKILL

    assert (folder / KEPT).exists()
    assert seen == sorted(seen)
    assert set(seen) == {2, 3}
    assert len(seen) > 5
