"""A real HTTP endpoint to deliver to, which notes every request it gets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


Respond = Callable[[Seen], Awaitable[web.StreamResponse]]


@dataclass
class Sink:
    """What arrived, in order; `respond` may be replaced at any time."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    respond: Respond | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, count: int, timeout: float = 20) -> list[Seen]:
        """The requests, once there are at least `count`."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= count)
        return self.seen

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.path_qs, headers, await request.read(), request.method)
        async with self._news:
            self.seen.append(seen)
            self._news.notify_all()
        if self.respond is None:
            return web.Response(text="ok")
        return await self.respond(seen)


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """A sink on a free port of 127.0.0.1."""
    found = Sink()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    try:
        yield found
    finally:
        await runner.cleanup()
