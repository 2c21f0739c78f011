"""
SIGKILL at random moments, and each event is in the life of its batch once.

The oracle is what the sender was told, and what it sent.
"""

import asyncio
import json
import random
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.stores import EventFilter, Store, open_reader, open_store
from receiver.subjects import SubjectFilter, Trouble
from tests.making import sample, signed
from tests.serving import SECRET, config, serving

KINDS = ("batch.created", "batch.running", "batch.completed", "batch.refunded")
BATCHES = 60
KILLS = 6
ODD = 7
"""Every so many batches' credits do not add up."""

ROUTE = """
[[routes]]
name = "alerts"
source = "receiver"
to = ["ops"]
"""
NOWHERE = {"ops": 'type = "http"\nurl = "http://127.0.0.1:9/"'}


class Sender:
    """Posts until it is answered, as long as that takes; knows what it was told."""

    def __init__(self) -> None:
        self.url = ""
        self.up = asyncio.Event()
        self.accepted: dict[str, set[str]] = defaultdict(set)

    async def send(self, session: aiohttp.ClientSession, batch: int, kind: str) -> None:
        body: dict[str, Any] = json.loads(sample(kind, f"bat_{batch}"))
        if batch % ODD == 0:
            body["ledger"] = {**body["ledger"], "settled": 120}
        raw = json.dumps(body).encode()
        while True:
            await self.up.wait()
            with suppress(aiohttp.ClientError, OSError):
                async with session.post(
                    f"{self.url}/webhook/sora2", data=raw, headers=signed(raw, SECRET)
                ) as answer:
                    if answer.status == 200:
                        self.accepted[f"bat_{batch}"].add((await answer.json())["id"])
                        return
            await asyncio.sleep(0.01)  # as a provider would: again, a little later


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_a_batch_has_each_of_its_events_once_whenever_we_are_killed(
    tmp_path: Path,
):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (to run a failure again)
    chance = random.Random(seed)
    sender = Sender()
    jobs = [(batch, kind) for batch in range(BATCHES) for kind in KINDS]
    chance.shuffle(jobs)
    toml = config(destinations=NOWHERE, routes=ROUTE)

    async def send_all(session: aiohttp.ClientSession) -> None:
        while jobs:
            await sender.send(session, *jobs.pop())
            await asyncio.sleep(chance.uniform(0, 0.05))

    async with aiohttp.ClientSession() as session:
        sending = [asyncio.create_task(send_all(session)) for _ in range(4)]
        for _ in range(KILLS):
            async with serving(tmp_path, toml) as server:
                sender.url = server.url
                sender.up.set()
                await asyncio.sleep(chance.uniform(0.1, 0.8))
                sender.up.clear()
                await server.kill()
        async with serving(tmp_path, toml) as server:
            sender.url = server.url
            sender.up.set()
            await asyncio.gather(*sending)
            while not await _done(tmp_path):  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.1)
            await server.stop()

    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    try:
        await _assert_whole(store, sender)
    finally:
        await store.close()


async def _done(folder: Path) -> bool:
    """Whether the follower has come to the last event."""
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        [last] = await reader.events(EventFilter(), limit=1)
        return (await reader.cursor("events") or "") >= last.event.id
    finally:
        await reader.close()


async def _assert_whole(store: Store, sender: Sender) -> None:
    found = await store.subjects(SubjectFilter(), limit=1_000)
    assert {one.subject for one in found} == set(sender.accepted)
    for one in found:
        steps = [step.event_id for step in await store.subject_steps(one.id)]
        assert set(steps) == sender.accepted[one.subject]
        assert one.events == len(steps) == len(KINDS)
        assert (one.state, one.final) == ("partial", True)
        odd = int(one.subject.removeprefix("bat_")) % ODD == 0
        assert (Trouble.LEDGER in one.troubles) == odd
    where = EventFilter(source="receiver", type="batch.ledger_mismatch")
    told = [stored.event.subject for stored in await store.events(where, limit=1_000)]
    assert sorted(told) == sorted(f"bat_{n}" for n in range(0, BATCHES, ODD))
