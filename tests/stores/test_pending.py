"""Counting what is pending beside everything else, and so a quick start."""

import asyncio
import sqlite3
import time
from pathlib import Path

from receiver import clock
from receiver.stores import Store, open_store
from tests.stores.making import accepted, claim, record

MANY = 300_000


async def filled(folder: Path, count: int) -> Path:
    """A store with so many deliveries pending for `crm`, written behind its back."""
    path = folder / "receiver.db"
    store = await open_store(f"sqlite:///{path}")
    await accepted(store, "crm")
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO deliveries SELECT d.id + n.i, d.event_id, d.destination_id,"
        " d.status, d.attempts, d.due_at, d.round_attempts, d.round_started, d.manual,"
        " d.settled_at, d.replay_id, d.sent_as, d.progress, d.line, d.turn"
        " FROM n, deliveries d WHERE d.id = (SELECT min(id) FROM deliveries)",
        (count - 1,),
    )
    connection.commit()
    connection.close()
    return path


async def pending(store: Store) -> int:
    [queue] = await store.queues()
    return queue.pending


async def test_what_changes_while_it_is_counted_is_counted_once(tmp_path):
    path = await filled(tmp_path, MANY)
    store = await open_store(f"sqlite:///{path}")

    counting = asyncio.create_task(pending(store))
    for _ in range(20):
        await accepted(store, "crm")
    claims = (await claim(store, limit=5, now=clock.now())).claims
    await asyncio.gather(*(record(store, one) for one in claims))
    await counting
    found = await pending(store)
    await store.close()

    assert found == MANY + 20 - 5


async def test_a_store_opens_as_quickly_whatever_waits(tmp_path):
    path = await filled(tmp_path, MANY)

    started = time.perf_counter()
    store = await open_store(f"sqlite:///{path}")
    [first] = (await claim(store, limit=1)).claims
    took = time.perf_counter() - started
    await record(store, first)
    await store.close()

    assert took < 1


async def test_a_store_can_be_closed_while_it_counts(tmp_path):
    path = await filled(tmp_path, MANY)

    for _ in range(3):
        store = await open_store(f"sqlite:///{path}")
        await store.close()
    store = await open_store(f"sqlite:///{path}")
    found = await pending(store)
    await store.close()

    assert found == MANY
