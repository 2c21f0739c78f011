"""What the demo delivers to: an HTTP handler, a Slack and an SMTP server, all local."""

import asyncio
import email
import email.policy
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from email.message import EmailMessage

from aiohttp import web

Arrived = Callable[[Mapping[str, str], bytes], int]
"""Told of each request's headers and body; says which status to answer."""


@asynccontextmanager
async def http_server(arrived: Arrived) -> AsyncGenerator[str, None]:
    """An HTTP server on a free port of this machine; its address."""

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = arrived(headers, await request.read())
        return web.Response(status=status, text="ok" if status == 200 else "not now")

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def smtp_server(
    arrived: Callable[[EmailMessage], None],
) -> AsyncGenerator[str, None]:
    """As much of RFC 5321 as taking a message needs; its address."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"220 receiver demo\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                text = raw[:-3].replace(b"\r\n..", b"\r\n.")
                parsed = email.message_from_bytes(text, policy=email.policy.default)
                arrived(parsed)
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=16 * 1024 * 1024)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
