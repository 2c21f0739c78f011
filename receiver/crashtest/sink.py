"""
The sink of a crash test, a process of its own: `python -m receiver.crashtest.sink`.

It notes every request in `received.jsonl` before it answers, and is not the best of
destinations: it refuses some requests, drops some connections, and dawdles.
"""

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

from aiohttp import web

from receiver.crashtest.plan import Journal, Plan, tell


class Sink:
    """Answers, by chance, what the plan says."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "received.jsonl")
        self._plan = Plan.read(folder)
        self._chance = random.Random(self._plan.seed + 1)  # noqa: S311 (no secret)

    async def handle(self, request: web.Request) -> web.Response:
        step = json.loads(await request.read())
        roll = self._chance.random()
        said = 200
        if roll < self._plan.failing:
            said = 503
        elif roll < self._plan.failing + self._plan.resetting:
            said = 0
        self._journal.note(
            to=request.path.removeprefix("/"),
            id=request.headers.get("webhook-id"),
            subject=step["subject"],
            number=step["number"],
            attempt=request.headers.get("receiver-attempt"),
            said=said,
        )
        if roll > 1 - self._plan.slow:
            await asyncio.sleep(self._chance.uniform(0, self._plan.dawdling))
        if not said and request.transport is not None:
            request.transport.abort()
        return web.Response(status=said or 500)


async def _main(folder: Path) -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/{to:.*}", Sink(folder).handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tell(folder / "sink.url", f"http://127.0.0.1:{runner.addresses[0][1]}")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
