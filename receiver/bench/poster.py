"""
What draining is compared with: aiohttp that posts the same bodies, and nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from receiver import clock
from receiver.bench.events import body
from receiver.bench.talk import Answer, answering
from receiver.errors import ReceiverError


async def _post(asked: dict[str, Any]) -> Any:
    """Post `count` events to `url`, `at_once` at a time; the seconds it took."""
    first, count = asked["first"], asked["count"]
    bodies = iter([body(n, asked["run"]) for n in range(first, first + count)])

    async def some(session: aiohttp.ClientSession) -> None:
        headers = {"content-type": "application/json"}
        for text in bodies:
            async with session.post(asked["url"], data=text, headers=headers) as answer:
                await answer.read()
                if answer.status != 200:
                    raise ReceiverError(f"the sink answered {answer.status}")

    connector = aiohttp.TCPConnector(limit=asked["at_once"])
    async with aiohttp.ClientSession(connector=connector) as session:
        started = clock.monotonic()
        await asyncio.gather(*(some(session) for _ in range(asked["at_once"])))
        return clock.monotonic() - started


async def serve() -> AsyncGenerator[Answer, None]:
    """Until nobody asks any more."""
    yield _post


if __name__ == "__main__":
    answering(serve)
