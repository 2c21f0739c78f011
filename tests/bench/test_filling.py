"""A store with a past that nobody lived through."""

from pathlib import Path

from receiver.bench.filling import CHUNK, fill
from receiver.ledger import Ledger
from receiver.models import Status
from receiver.stores import EventFilter, open_reader, open_store
from tests.making import NOW

COUNT = 500


async def filled(folder: Path, count: int = COUNT) -> str:
    path = folder / "receiver.db"
    steps = [made async for made in fill(path, count, ("a", "b"))]
    assert steps == [*range(CHUNK + 1, count, CHUNK), count]
    return f"sqlite:///{path}"


async def test_the_ledger_of_a_filled_store_adds_up(tmp_path: Path):
    reader = await open_reader(await filled(tmp_path))

    ledger = Ledger(await reader.ledger(), await reader.totals())
    await reader.close()

    assert ledger.difference == 0
    assert (ledger.totals.events, ledger.totals.routed_deliveries) == (COUNT, 2 * COUNT)
    delivered = [tally.by_status[Status.DELIVERED] for tally in ledger.tallies]
    assert delivered == [COUNT, COUNT]


async def test_each_event_is_whole_and_like_no_other(tmp_path: Path):
    reader = await open_reader(await filled(tmp_path))

    events = await reader.events(EventFilter(), limit=COUNT, newest_first=False)
    attempts = await reader.attempts(
        events[-1].event.id.replace("evt", "dlv")[:-1] + "1"
    )
    await reader.close()

    assert len({stored.event.subject for stored in events}) == COUNT
    assert all(s.event.data["batch_id"] == s.event.subject for s in events)
    times = [stored.event.received_at for stored in events]
    assert times == sorted(times)
    assert [attempt.outcome.response for attempt in attempts] == ["ok"]


async def test_what_was_filled_in_is_known_when_it_comes_again(tmp_path: Path):
    store = await open_store(await filled(tmp_path))
    [last] = await store.events(EventFilter(), limit=1)

    again = await store.add(last.event, last.decision, last.facts)
    claimed = await store.claim(
        "a", owner="x", now=NOW, limit=1, max_bytes=1, lease_s=1
    )
    await store.close()

    assert (again.created, again.event_id, again.same_body) == (
        False,
        last.event.id,
        True,
    )
    assert not claimed.claims


async def test_more_than_a_chunk_is_filled_in_steps(tmp_path: Path):
    reader = await open_reader(await filled(tmp_path, CHUNK + 3))

    totals = await reader.totals()
    await reader.close()

    assert totals.events == totals.keys == CHUNK + 3
