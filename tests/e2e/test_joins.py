"""
SIGKILL at random moments, repeats and any order: each join is told of once.

The oracle is the sink: what it was delivered, against what the sender was told.
JOINS_IN_FULL=1 in the environment makes it a thousand joins.
"""

import asyncio
import json
import os
import random
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.stores import EventFilter, open_reader
from tests.making import sample, signed
from tests.serving import SECRET, config, serving
from tests.sinks import Sink, sink

FULL = "JOINS_IN_FULL" in os.environ
JOINS, KILLS = (1_000, 12) if FULL else (60, 4)
FEWEST, MOST = 2, 50
AT_ONCE = 16
REPEATED = 0.2
"""Of all callbacks, how many are sent a second time."""

KIE = f"""
[sources.kie]
provider = "kie"
path = "/kie"
secrets = ["{SECRET}"]

[joins.film]
source = "kie"
when = "event.final && 'job' in request.query"
key = "request.query.job"
count = "int(request.query.parts)"

[[routes]]
name = "films"
source = "receiver"
types = ["join.*"]
to = ["editor"]
"""


@dataclass
class Sender:
    """Posts each callback until it is answered, as long as that takes."""

    url: str = ""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    accepted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(
        self, session: aiohttp.ClientSession, job: str, parts: int, number: int
    ) -> None:
        task = f"{job}-task-{number}"
        body = sample("task.succeeded", task, "kie")
        headers = {"content-type": "application/json", **signed(body, SECRET, "kie")}
        query = {"job": job, "parts": str(parts)}
        while True:
            await self.up.wait()
            with suppress(aiohttp.ClientError, OSError):
                url = f"{self.url}/kie"
                async with session.post(
                    url, params=query, data=body, headers=headers
                ) as answer:
                    if answer.status == 200:
                        self.accepted[job].add((await answer.json())["id"])
                        break
            await asyncio.sleep(0.01)  # as a provider would: again, a little later
        async with self._news:
            self.answered += 1
            self._news.notify_all()

    async def has_sent(self, count: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.answered >= count)


def told(target: Sink) -> dict[str, dict[str, dict[str, Any]]]:
    """What the sink was delivered: bodies by key and by id."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for seen in target.seen:
        body = json.loads(seen.body)
        found[body["key"]][seen.headers["webhook-id"]] = body
    return found


@pytest.mark.e2e
@pytest.mark.timeout(3_600 if FULL else 300)
async def test_each_join_is_complete_once_whenever_we_are_killed(tmp_path: Path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (to run a failure again)
    chance = random.Random(seed)
    sizes = {f"film-{i}": chance.randint(FEWEST, MOST) for i in range(JOINS)}
    jobs = [(job, of, number) for job, of in sizes.items() for number in range(of)]
    jobs += chance.sample(jobs, int(len(jobs) * REPEATED))
    count = len(jobs)
    chance.shuffle(jobs)
    kills = sorted(chance.randint(count // 20, count - 1) for _ in range(KILLS))
    sender = Sender()

    async def send_all(session: aiohttp.ClientSession) -> None:
        while jobs:
            await sender.send(session, *jobs.pop())

    async with sink() as target, aiohttp.ClientSession() as session:
        editor = f'type = "http"\nurl = "{target.url}"\nretry = {{ waits = ["50ms"] }}'
        toml = config(destinations={"editor": editor}, routes=KIE)
        sending = [asyncio.create_task(send_all(session)) for _ in range(AT_ONCE)]
        for enough in kills:
            await _up_until(sender, tmp_path, toml, enough)
        async with serving(tmp_path, toml) as server:
            sender.url = server.url
            sender.up.set()
            await asyncio.gather(*sending)
            while told(target).keys() != sizes.keys():
                await target.wait_for(len(target.seen) + 1)
            await server.stop()

        assert await _kept(tmp_path) == JOINS
        found = told(target)
        assert {key: len(ends) for key, ends in found.items()} == dict.fromkeys(
            sizes, 1
        )
        for key, ends in found.items():
            [body] = ends.values()
            assert body["type"] == "join.completed"
            parts = [part["event_id"] for part in body["parts"]]
            assert len(parts) == sizes[key]
            assert set(parts) == sender.accepted[key]


async def _up_until(sender: Sender, folder: Path, toml: str, enough: int) -> None:
    """A server that takes what is sent until it was enough, and is killed then."""
    async with serving(folder, toml) as server:
        sender.url = server.url
        sender.up.set()
        await sender.has_sent(enough)
        sender.up.clear()
        await server.kill()


async def _kept(folder: Path) -> int:
    """How many ends of joins are in the store."""
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        return await reader.count_events(EventFilter(source="receiver"))
    finally:
        await reader.close()
