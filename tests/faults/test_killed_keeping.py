"""
SIGKILL while the store is pruned, copied or replaced: it stays sound, and whole.

The commands are the real ones; what is left is looked at with SQLite's own check.
"""

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from receiver import clock
from receiver.models import Attempt, Outcome, Result, Status, Step, Trigger
from receiver.stores import EventFilter, Store, open_reader, open_store
from tests.faults.lives import LONG, trapped
from tests.serving import command, config
from tests.stores.making import claim, decision, difference, event

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

DAY = timedelta(days=1)
PRUNING = ("before-pruning", "inside-pruning", "after-pruning")
GIVING_BACK = ("before-giving-back", "after-giving-back")
OLD, EMPTY, WAITING = 300, 150, 20
"""Events that go, whose bodies go, and that wait for a destination."""


def configured(folder: Path) -> None:
    app = 'type = "http"\nurl = "http://127.0.0.1:9/"'
    (folder / "receiver.toml").write_text(config(destinations={"app": app}))


async def opened(folder: Path) -> Store:
    return await open_store(f"sqlite:///{folder}/receiver.db")


async def filled(folder: Path) -> set[str]:
    """A store with a past; the events that must not go."""
    store = await opened(folder)
    now = clock.now()
    try:
        for number in range(OLD + EMPTY):
            age = 200 if number < OLD else 40
            made = event(f"k{number}", body=b"x" * 600, at=now - age * DAY)
            await store.add(made, decision("app"), {})
        while claims := (await claim(store, "app", now=now, limit=100)).claims:
            attempt = Attempt(1, Trigger.SCHEDULED, now, 3.0, Outcome(Result.OK))
            step = Step(Status.DELIVERED, now)
            await store.record_all([(one, attempt, step) for one in claims])
        held = [
            await store.add(event(f"w{n}", at=now - 200 * DAY), decision("app"), {})
            for n in range(WAITING)
        ]
    finally:
        await store.close()
    return {added.event_id for added in held}


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def held_in(path: Path) -> int:
    """How many events a file holds that must be whole."""
    assert sound(path)
    with closing(sqlite3.connect(path)) as connection:
        [[found]] = connection.execute("SELECT count(*) FROM events")
    return int(found)


async def checked(folder: Path, waiting: set[str]) -> int:
    """How many events are left, where all adds up and what waits is there."""
    assert sound(folder / "receiver.db")
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        assert await difference(reader) == 0
        totals = await reader.totals()
        assert totals.events == totals.keys == OLD + EMPTY + WAITING
        for event_id in waiting:
            assert (await reader.event(event_id)).body_pruned_at is None
        return await reader.count_events(EventFilter())
    finally:
        await reader.close()


async def killed(folder: Path, point: str, *arguments: str) -> int:
    """How a command ends with a trap in its way."""
    process = await asyncio.create_subprocess_exec(
        *trapped(POINT=point),
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


# -- pruning


async def test_killed_anywhere_in_pruning_the_ledger_adds_up_and_what_waits_stays(
    folder: Path, seed: int
):
    chance = random.Random(seed)
    configured(folder)
    waiting = await filled(folder)
    deaths = [(point, chance.randint(1, 2)) for point in PRUNING * LONG]
    chance.shuffle(deaths)
    deaths += [(point, 1) for point in GIVING_BACK]
    left = [OLD + EMPTY + WAITING]

    for point, nth in deaths:
        code = await killed(
            folder, f"{point}:{nth}", "prune", "--older-than", "100d", "--yes"
        )
        assert (point, code) == (point, -9)
        left.append(await checked(folder, waiting))
    code, _, err = await command(folder, "prune", "--older-than", "100d", "--yes")

    assert code == 0, err
    assert left == sorted(left, reverse=True)
    assert await checked(folder, waiting) == EMPTY + WAITING
    store = await opened(folder)
    again = await store.add(event("k0"), decision("app"), {})
    await store.close()
    assert not again.created


# -- copying and replacing


async def large(folder: Path, events: int, name: str = "receiver.db") -> Path:
    """A store of so many events, of several steps of copying."""
    store = await open_store(f"sqlite:///{folder}/{name}")
    for _ in range(events):
        await store.add(event(body=os.urandom(3_000_000)), decision(), {})
    await store.close()
    return folder / name


async def test_a_backup_that_is_killed_half_way_is_not_taken_for_one(folder: Path):
    configured(folder)
    await large(folder, 4)
    (folder / "b.db").write_text("an older backup")

    code = await killed(folder, "copying:1", "backup", "--force", "b.db")

    [half] = folder.glob(".b.db.*.partial")
    refused, _, said = await command(folder, "restore", "--yes", str(half))
    assert code == -9
    assert (folder / "b.db").read_text() == "an older backup"
    assert (refused, "is not a SQLite database" in said) == (2, True), said
    assert held_in(folder / "receiver.db") == 4


async def test_a_backup_that_is_killed_before_it_has_its_name_is_not_there(
    folder: Path,
):
    configured(folder)
    await large(folder, 2)

    code = await killed(folder, "moving-a-file:1", "backup", "b.db")

    assert code == -9
    assert not (folder / "b.db").exists()
    made, _, err = await command(folder, "backup", "b.db")
    assert made == 0, err
    assert held_in(folder / "b.db") == 2


async def test_a_restore_that_is_killed_leaves_the_old_store_or_the_new_one(
    folder: Path,
):
    configured(folder)
    await large(folder, 3, "b.db")
    seen: list[int] = []
    points = ["copying:1", "copying:2"]
    moves = (f"moving-a-file:{number}" for number in count(1))

    while True:
        for left in folder.glob("receiver.db*"):
            left.unlink()
        await large(folder, 2)
        point = points.pop(0) if points else next(moves)

        code = await killed(folder, point, "restore", "--yes", "b.db")

        seen.append(held_in(folder / "receiver.db"))
        for kept in folder.glob("receiver.db.before-restore-*Z"):
            assert held_in(kept) == 2
        if code == 0:
            break
        assert code == -9

    assert set(seen) == {2, 3}
    assert seen == sorted(seen)
    assert len(seen) > 5
    assert not [*folder.glob(".receiver.db.*.partial*")]
    assert held_in(folder / "b.db") == 3
