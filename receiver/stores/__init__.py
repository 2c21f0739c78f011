"""
Where events, deliveries and attempts are kept.

`Store` is the whole contract, put together from its parts beside this module;
`tests/stores/test_contract.py` holds every implementation to it.  All times that decide
something are arguments.  Methods that write return when what they wrote is committed
and durable, and raise `StoreError` when nothing was kept.
"""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from receiver.errors import StoreUnusable
from receiver.stores.accepting import AcceptingReader, AcceptingStore, Added
from receiver.stores.asking import AskingReader, AskingStore
from receiver.stores.confirming import ConfirmingReader, ConfirmingStore
from receiver.stores.counting import CountingReader, Queue, Tally, Totals
from receiver.stores.delivering import Claimed, DeliveringStore, Taker
from receiver.stores.following import FollowingReader, FollowingStore
from receiver.stores.mending import MendingReader, MendingStore
from receiver.stores.pruning import Measures, Prunes
from receiver.stores.searching import (
    DeliveryFilter,
    EventFilter,
    Page,
    SearchingReader,
    StoredEvent,
)

__all__ = [
    "Added",
    "Claimed",
    "DeliveryFilter",
    "EventFilter",
    "Page",
    "Queue",
    "Reader",
    "Store",
    "StoredEvent",
    "Taker",
    "Tally",
    "Totals",
    "control_path",
    "open_reader",
    "open_store",
    "sqlite_path",
]


class Reader(
    AcceptingReader,
    SearchingReader,
    CountingReader,
    MendingReader,
    FollowingReader,
    ConfirmingReader,
    AskingReader,
    Measures,
    Protocol,
):
    """Looks, and changes nothing; many processes may at once."""

    async def remembered(self, name: str) -> tuple[str, datetime] | None:
        """The text last remembered under a name, and when that was."""
        ...

    async def close(self) -> None:
        """Let go.  May be called twice."""
        ...


class Store(
    Reader,
    AcceptingStore,
    DeliveringStore,
    MendingStore,
    FollowingStore,
    ConfirmingStore,
    AskingStore,
    Prunes,
    Protocol,
):
    """Keeps everything; see the module's words for what all methods promise."""

    @property
    def commits(self) -> int:
        """How many transactions were committed since it was opened."""
        ...

    async def remember(self, name: str, text: str, now: datetime) -> None:
        """Keep a text that must outlive a restart, in place of the name's earlier one."""
        ...

    async def ping(self) -> None:
        """Commit something small.  Raises StoreError when that cannot be done."""
        ...


def sqlite_path(url: str) -> Path:
    """
    The file behind `sqlite:///path`.

    Raises:
        StoreUnusable: the url is of no known kind.
    """
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise StoreUnusable(
            f"{url!r} is not a store; expected sqlite:///receiver.db "
            "(or sqlite:////absolute/path.db)"
        )
    return Path(path)


def control_path(url: str) -> Path:
    """The Unix socket beside the store, through which commands write to its owner."""
    store = sqlite_path(url).absolute()
    return store.with_name(store.name + ".sock")


async def open_store(url: str, *, min_free_bytes: int = 0) -> Store:
    """
    Own the store at `sqlite:///path`, creating or migrating it as needed.

    Raises:
        StoreLocked: another process owns it.
        StoreUnusable: the url is of no known kind, or the file is not fit for use.
    """
    from receiver.stores.sqlite.store import SqliteStore  # noqa: PLC0415 (loads the driver)

    return await SqliteStore.open(sqlite_path(url), min_free_bytes)


async def open_reader(url: str, *, yielding: bool = False) -> Reader:
    """
    Look into the store at `sqlite:///path`, whether or not a server owns it.

    With `yielding` it gives way to all else that wants the processor, as far as the
    system knows how (Linux does): for what reads everything and has time.

    Raises:
        StoreUnusable: there is none, or the file is not fit for use.
    """
    from receiver.stores.sqlite.reader import SqliteReader  # noqa: PLC0415

    opened = SqliteReader.open_yielding if yielding else SqliteReader.open
    return await opened(sqlite_path(url))
