"""
SIGKILL while ordered deliveries run and one in five fails: each subject in order.

The oracle is the endpoint's own log.  What it took before the kill may come again
after it, so what counts is when it first took each event.
"""

import asyncio
import json
import random
from collections import defaultdict
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from receiver.models import Secret
from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import Seen, sink

SUBJECTS = 40
EVENTS = 25
"""Of each subject."""

KILLS = 6


class Endpoint:
    """Fails one time in five; notes what it took, and what overlapped."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.taken: dict[str, list[int]] = defaultdict(list)
        self.running: set[str] = set()
        self.overlaps: list[str] = []
        self.news = asyncio.Condition()

    async def respond(self, seen: Seen) -> web.StreamResponse:
        body = json.loads(seen.body)
        subject, number = body["batch_id"], int(body["event"].removeprefix("step."))
        if subject in self.running:
            self.overlaps.append(f"{subject} {number}")
        self.running.add(subject)
        try:
            await asyncio.sleep(self._chance.uniform(0, 0.02))
        finally:
            self.running.discard(subject)
        if self._chance.random() < 0.2:
            return web.Response(status=500)
        async with self.news:
            if number not in self.taken[subject]:
                self.taken[subject].append(number)
            self.news.notify_all()
        return web.Response(text="ok")

    @property
    def count(self) -> int:
        return sum(map(len, self.taken.values()))

    async def took(self, count: int) -> None:
        async with asyncio.timeout(120), self.news:
            await self.news.wait_for(lambda: self.count >= count)

    async def quiet(self) -> None:
        """What a killed server had sent is dealt with: it is no overlap with the next."""
        still = 0
        while still < 10:
            await asyncio.sleep(0.02)
            still = 0 if self.running else still + 1


class Sender:
    """Posts each subject's events one after the other, each until it is accepted."""

    def __init__(self) -> None:
        self.url = ""
        self.up = asyncio.Event()

    async def send_all(self) -> None:
        async with aiohttp.ClientSession() as session:
            subjects = [f"bat_{i:03}" for i in range(SUBJECTS)]
            await asyncio.gather(*(self._send(session, one) for one in subjects))

    async def _send(self, session: aiohttp.ClientSession, subject: str) -> None:
        for number in range(EVENTS):
            body = json.dumps({"event": f"step.{number}", "batch_id": subject}).encode()
            headers = signed(body, Secret(SECRET))
            while not await self._post(session, body, dict(headers)):
                pass

    async def _post(
        self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
    ) -> bool:
        await self.up.wait()
        url = f"{self.url}/webhook/sora2"
        try:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):
            await asyncio.sleep(0.02)  # as a provider would: again, a little later
            return False


@pytest.mark.e2e
async def test_each_subject_arrives_in_order_and_one_at_a_time_whatever_is_killed(
    tmp_path: Path,
):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (to run a failure again)
    endpoint, sender = Endpoint(seed), Sender()
    async with sink() as there:
        there.respond = endpoint.respond
        toml = config(
            destinations={
                "app": f'type = "http"\nurl = "{there.url}/"\nordering = "subject"\n'
                'retry = { waits = ["20ms", "50ms"], max_attempts = 1000 }\n'
                'breaker = { wait = "200ms" }'
            }
        )
        sending = asyncio.create_task(sender.send_all())
        for life in range(1, KILLS + 1):
            async with serving(tmp_path, toml) as running:
                sender.url = running.url
                sender.up.set()
                await endpoint.took(life * SUBJECTS * EVENTS // (KILLS + 2))
                sender.up.clear()
                await running.kill()
            await endpoint.quiet()
        async with serving(tmp_path, toml) as running:
            sender.url = running.url
            sender.up.set()
            await sending
            await endpoint.took(SUBJECTS * EVENTS)
            await running.stop()
        code, _, err = await command(tmp_path, "status")

    assert code == 0, err
    assert len(endpoint.taken) == SUBJECTS
    for numbers in endpoint.taken.values():
        assert numbers == list(range(EVENTS))
    assert endpoint.overlaps == []
