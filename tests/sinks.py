"""A real HTTP endpoint to deliver to, which notes every request it gets."""

import asyncio
import ssl
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
    connection: int = 0
    """The port it came from."""


Respond = Callable[[Seen], Awaitable[web.StreamResponse]]


@dataclass
class Sink:
    """What arrived, in order; `respond` may be replaced at any time."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    respond: Respond | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _transport: asyncio.Transport | None = None

    def say(self, raw: bytes) -> None:
        """Write to whoever asked last, whatever HTTP would have."""
        assert self._transport is not None
        self._transport.write(raw)

    async def wait_for(self, count: int, timeout: float = 60) -> list[Seen]:
        """The requests, once there are at least `count`."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= count)
        return self.seen

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body, self._transport = await request.read(), request.transport
        assert self._transport is not None
        _, port, *_ = self._transport.get_extra_info("peername")
        seen = Seen(request.path_qs, headers, body, request.method, port)
        async with self._news:
            self.seen.append(seen)
            self._news.notify_all()
        if self.respond is None:
            return web.Response(text="ok")
        return await self.respond(seen)


@asynccontextmanager
async def sink(tls: ssl.SSLContext | None = None) -> AsyncIterator[Sink]:
    """A sink on a free port of 127.0.0.1; it speaks TLS if it is given how."""
    found = Sink()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield found
    finally:
        await runner.cleanup()
