"""
The sender of a crash test, a process of its own: `python -m receiver.crashtest.sender`.

It posts signed events, for each subject the next one only when the one before was
accepted, and each until it is answered 2xx, as a provider would.  It notes every answer
that says something in `sent.jsonl`: what is there was promised.
"""

import asyncio
import hashlib
import hmac
import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from receiver.crashtest.plan import HEADER, PATH, Journal, Plan

AGAIN_S = 0.02
ANSWER_S = 10.0


class Sender:
    """Sends until it is told to stop; what is not answered by then was not promised."""

    def __init__(self, folder: Path) -> None:
        self.stopping = asyncio.Event()
        self._address = folder / "receiver.url"
        self._journal = Journal(folder / "sent.jsonl")
        self._plan = Plan.read(folder)
        self._chance = random.Random(self._plan.seed)  # noqa: S311 (no secret)
        self._next_at = 0.0

    async def run(self) -> None:
        connections, subjects = self._plan.connections, self._plan.subjects
        names = [f"subject-{number:03}" for number in range(subjects)]
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        ) as session:
            await asyncio.gather(
                *(
                    self._some(session, names[i::connections])
                    for i in range(connections)
                )
            )

    async def _some(self, session: aiohttp.ClientSession, subjects: list[str]) -> None:
        """One connection's share of the subjects."""
        numbers = dict.fromkeys(subjects, 0)
        while subjects and not self.stopping.is_set():
            await self._pace()
            subject = self._chance.choice(subjects)
            body = self._body(subject, numbers[subject] + 1)
            roll = self._chance.random()
            if roll < self._plan.forged:
                await self._once(session, body, "not the secret")
            if not await self._until_accepted(session, body):
                return
            numbers[subject] += 1
            if roll > 1 - self._plan.repeated:
                await self._once(session, body, self._plan.secret)

    def _body(self, subject: str, number: int) -> bytes:
        padding = "x" * self._chance.randrange(self._plan.padding + 1)
        step = {"subject": subject, "number": number, "padding": padding}
        return json.dumps(step).encode()

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        self._next_at = max(self._next_at, now) + 1 / self._plan.rate
        await asyncio.sleep(self._next_at - now)

    async def _until_accepted(
        self, session: aiohttp.ClientSession, body: bytes
    ) -> bool:
        """Whether it was, before we had to stop."""
        while not self.stopping.is_set():
            if await self._once(session, body, self._plan.secret):
                return True
            await asyncio.sleep(AGAIN_S)
        return False

    async def _once(
        self, session: aiohttp.ClientSession, body: bytes, secret: str
    ) -> bool:
        """Post it; whether it was answered 2xx.  503 and no answer promise nothing."""
        forged = secret != self._plan.secret
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        try:
            async with session.post(
                self._address.read_text() + PATH, data=body, headers={HEADER: digest}
            ) as answer:
                said: dict[str, Any] = await answer.json(content_type=None)
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError):
            return False
        accepted = 200 <= status < 300
        if status != 503:
            step = json.loads(body)
            self._journal.note(
                subject=step["subject"],
                number=step["number"],
                status=status,
                word=said.get("status") or said["error"]["code"],
                id=said.get("id"),
                forged=forged,
            )
        return accepted


async def _main(folder: Path) -> None:
    sender = Sender(folder)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, sender.stopping.set)
    await sender.run()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
