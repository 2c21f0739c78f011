"""
One harness per implementation of the store: all the contract's tests need of it.

A new implementation adds a class like `SqliteHarness` and its name to `HARNESSES`.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol

import pytest

from receiver.stores import Reader, Store, open_reader, open_store

Loss = Literal["delivery", "event", "replayed delivery", "count of a replay"]


class Harness(Protocol):
    """What differs between implementations."""

    async def owner(self) -> Store:
        """Open the store; again after it was closed."""
        ...

    async def second_owner(self) -> Store:
        """Another owner of the same data, where there can be one; else the first."""
        ...

    async def reader(self) -> Reader:
        """A reader beside the owners."""
        ...

    async def crash(self) -> Store:
        """End all owners without letting them finish anything, and open one anew."""
        ...

    def lose(self, what: Loss) -> None:
        """Remove something behind the store's back."""
        ...

    def forget_events(self) -> None:
        """Remove all events and their deliveries, as if they had been pruned."""
        ...

    async def close(self) -> None: ...


_LOSSES: dict[Loss, str] = {
    "delivery": "DELETE FROM deliveries WHERE id = (SELECT min(id) FROM deliveries)",
    "event": "DELETE FROM events WHERE id = (SELECT max(id) FROM events)",
    "replayed delivery": "DELETE FROM deliveries WHERE replay_id IS NOT NULL",
    "count of a replay": "DELETE FROM replayed",
}


class SqliteHarness:
    """One file, one owner; a crash is what is on the disk at that moment, elsewhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._life = 0
        self._open: list[Reader] = []
        self._owner: Store | None = None
        self._path.parent.mkdir()

    @property
    def _path(self) -> Path:
        return self._folder / str(self._life) / "receiver.db"

    async def owner(self) -> Store:
        self._owner = await open_store(f"sqlite:///{self._path}")
        self._open.append(self._owner)
        return self._owner

    async def second_owner(self) -> Store:
        return self._owner or await self.owner()

    async def reader(self) -> Reader:
        reader = await open_reader(f"sqlite:///{self._path}")
        self._open.append(reader)
        return reader

    async def crash(self) -> Store:
        before = self._path
        self._life += 1
        self._path.parent.mkdir()
        for file in before.parent.glob("receiver.db*"):
            if file.suffix not in (".lock", ".db-shm"):
                shutil.copy(file, self._path.parent)
        await self.close()
        return await self.owner()

    def lose(self, what: Loss) -> None:
        connection = sqlite3.connect(self._path)
        with connection:
            connection.execute(_LOSSES[what])
        connection.close()

    def forget_events(self) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript("DELETE FROM events; DELETE FROM deliveries;")

    async def close(self) -> None:
        for opened in self._open:
            await opened.close()
        self._open.clear()


HARNESSES = {"sqlite": SqliteHarness}


@pytest.fixture(params=sorted(HARNESSES))
async def harness(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Harness]:
    folder = tmp_path / "stores"
    folder.mkdir()
    found = HARNESSES[request.param](folder)
    yield found
    await found.close()


@pytest.fixture
async def store(harness: Harness) -> Store:
    return await harness.owner()


@pytest.fixture
async def reader(harness: Harness, store: Store) -> Reader:
    return await harness.reader()
