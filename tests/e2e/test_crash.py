"""
SIGKILL at random moments, and nothing acknowledged is lost.

The oracle is what the sender was told and what the destinations got, never the
store's own tables.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from receiver.models import Secret
from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import Respond, Seen, Sink, sink

EVENTS = 2_000
DUPLICATES = 0.30
FORGED = 0.05
CONNECTIONS = 16
RESTARTS = 12
DESTINATIONS = ("a", "b", "c")


@dataclass
class Sender:
    """What the provider knows: what it sent, and what it was answered."""

    url: str = ""
    accepted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    words: Counter[str] = field(default_factory=Counter)
    forged_accepted: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answered(self, count: int) -> None:
        """Wait until so many requests had a final answer."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: sum(self.words.values()) >= count)

    async def send(
        self, session: aiohttp.ClientSession, batch: str, forge: bool
    ) -> None:
        """Post until there is an answer, as long as that takes."""
        body = json.dumps(
            {"event": "batch.running", "batch_id": batch, "status": "running"}
        ).encode()
        key = Secret("not the secret" if forge else SECRET)
        headers = signed(body, key)
        while True:
            await self.up.wait()
            answer = await self._post(session, body, dict(headers))
            if answer is not None:
                break
        status, said = answer
        if status == 200 and forge:
            self.forged_accepted += 1
        elif status == 200:
            self.accepted[batch].add(said["id"])
        async with self.news:
            self.words[said.get("status") or said["error"]["code"]] += 1
            self.news.notify_all()

    async def _post(
        self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]] | None:
        try:
            async with session.post(
                f"{self.url}/webhook/sora2", data=body, headers=headers
            ) as answer:
                said = await answer.json()
                return None if answer.status == 503 else (answer.status, said)
        except (aiohttp.ClientError, OSError):
            await asyncio.sleep(0.01)  # as a provider would: again, a little later
            return None


@dataclass
class Confirmed:
    """What one destination has said it took: the ids under which it got each batch."""

    ids_by_batch: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, seen: Seen) -> None:
        async with self.news:
            batch = json.loads(seen.body)["batch_id"]
            self.ids_by_batch[batch].add(seen.headers["webhook-id"])
            self.news.notify_all()


def unreliable(chance: random.Random, confirmed: Confirmed) -> Respond:
    async def respond(seen: Seen) -> web.StreamResponse:
        roll = chance.random()
        if roll < 0.10:
            return web.Response(status=500)
        if roll < 0.12:
            raise ConnectionResetError
        await confirmed.note(seen)
        return web.Response(text="ok")

    return respond


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_every_acknowledged_event_survives_being_killed(tmp_path: Path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (to run a failure again)
    chance = random.Random(seed)
    sender = Sender()
    async with sink() as a, sink() as b, sink() as c:
        sinks = dict(zip(DESTINATIONS, (a, b, c), strict=True))
        confirmed = {name: Confirmed() for name in sinks}
        for name, each in sinks.items():
            each.respond = unreliable(chance, confirmed[name])
        toml = config(destinations={n: _destination(s) for n, s in sinks.items()})
        work = asyncio.create_task(_send_all(sender, chance))
        kills = await _keep_killing(tmp_path, toml, sender, work, chance)
        async with serving(tmp_path, toml):
            await asyncio.gather(*(_all_arrived(sender, c) for c in confirmed.values()))
            ledger = await _settled_ledger(tmp_path)

    assert kills >= 10
    assert sender.forged_accepted == 0
    assert sender.words["signature_mismatch"] > 0
    assert sender.words["duplicate"] > 0
    assert len(sender.accepted) == EVENTS
    assert {len(ids) for ids in sender.accepted.values()} == {1}
    for name in sinks:
        assert confirmed[name].ids_by_batch == sender.accepted
    assert ledger["difference"] == 0


def _destination(to: Sink) -> str:
    return (
        f'type = "http"\nurl = "{to.url}/in"\nconcurrency = 16\n'
        'retry = { waits = ["50ms", "100ms", "200ms"], max_attempts = 1000 }'
    )


async def _send_all(sender: Sender, chance: random.Random) -> None:
    batches = [f"bat_{i:05}" for i in range(EVENTS)]
    repeats = chance.sample(batches, int(EVENTS * DUPLICATES))
    forged = chance.sample(batches, int(EVENTS * FORGED))
    jobs = [(batch, False) for batch in batches + repeats]
    jobs += [(batch, True) for batch in forged]
    chance.shuffle(jobs)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS)
    ) as session:

        async def one_connection() -> None:
            while jobs:
                await sender.send(session, *jobs.pop())

        await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))


async def _keep_killing(
    folder: Path,
    toml: str,
    sender: Sender,
    work: "asyncio.Task[None]",
    chance: random.Random,
) -> int:
    """Start, let it work for a moment, kill; until everything is sent."""
    kills = 0
    while not work.done() or kills < RESTARTS:
        async with serving(folder, toml) as running:
            sender.url = running.url
            sender.up.set()
            await _moment(sender, chance)
            if kills < RESTARTS:
                sender.up.clear()
                await running.kill()
                kills += 1
            else:
                await work
    await work
    return kills


async def _moment(sender: Sender, chance: random.Random) -> None:
    """Until some more were answered, so that every life of the server does work."""
    total = int(EVENTS * (1 + DUPLICATES + FORGED))
    more = chance.randrange(1, 2 * EVENTS // RESTARTS)
    await sender.answered(min(sum(sender.words.values()) + more, total))


async def _all_arrived(sender: Sender, there: Confirmed) -> None:
    async with asyncio.timeout(120), there.news:
        await there.news.wait_for(
            lambda: len(there.ids_by_batch) >= len(sender.accepted)
        )


async def _settled_ledger(folder: Path) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            code, out, err = await command(folder, "status", "--json")
            assert code == 0, err
            found: dict[str, Any] = json.loads(out)
            if not any(row["by_status"].get("pending") for row in found["ledger"]):
                return found
