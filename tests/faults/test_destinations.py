"""
Destinations that are dead in every way there is: none holds up another, or the intake,
and what was meant for them waits until they are mended.
"""

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from receiver import clock
from tests.serving import Serving, command, config, serving
from tests.sinks import sink
from tests.web.wire import event, post

pytestmark = [pytest.mark.e2e]

EVENTS = 30
WAYS = {
    "silent": "timeout",
    "dripping": "timeout",
    "resetting": "connect",
    "closed": "connect",
    "unknown": "dns",
    "expired": "tls",
}
"""How each is dead, and the result by which its attempts are known."""


@asynccontextmanager
async def answering(manner) -> AsyncIterator[str]:
    """A server that treats each connection in this manner."""

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await manner(reader, writer)
        writer.close()

    server = await asyncio.start_server(treat, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, at_once
    )


def expired(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate of yesterday, and whom to trust."""
    authority = trustme.CA()
    yesterday = clock.now() - timedelta(days=1)
    certificate = authority.issue_cert("127.0.0.1", not_after=yesterday)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return context, trusted


def to(url: str, more: str = "") -> str:
    return (
        f'type = "http"\nurl = "{url}"\ntimeout = "1s"\n{more}\n'
        'retry = { waits = ["300ms"], max_attempts = 10000 }\n'
        'breaker = { failures = 3, wait = "300ms", longest_wait = "1s" }'
    )


async def test_no_dead_destination_slows_another_down_and_each_gets_all_when_mended(
    folder: Path,
):
    context, trusted = expired(folder)
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(sink())
        urls = {
            "silent": await stack.enter_async_context(answering(say_nothing)),
            "dripping": await stack.enter_async_context(answering(drip)),
            "resetting": await stack.enter_async_context(answering(reset)),
            "closed": "http://127.0.0.1:9",
            "unknown": "http://nobody.invalid",
            "expired": (await stack.enter_async_context(sink(context))).url,
        }
        destinations = {name: to(url) for name, url in urls.items()}
        destinations["expired"] = to(urls["expired"], f'ca_file = "{trusted}"')
        destinations["healthy"] = to(healthy.url)
        async with serving(folder, config(destinations=destinations)) as server:
            for name in WAYS:
                await post(server.url, event(f"first_{name}"))
                await server.line("delivery.attempted", destination=name)
            posting, arriving = await _measured(server, healthy)
            seen = {name: await _result(server, name) for name in WAYS}
            code = await server.stop()
        mended = {name: to(f"{healthy.url}/{name}") for name in destinations}
        async with serving(folder, config(destinations=mended)):
            total = (EVENTS + len(WAYS)) * len(mended)
            await healthy.wait_for(total)
        _, told, _ = await command(folder, "status", "--json")

    assert posting < 5
    assert arriving < 5
    assert seen == WAYS
    assert code == 0
    arrived = {(one.path, one.headers["webhook-id"]) for one in healthy.seen}
    assert len(arrived) == total
    assert json.loads(told)["difference"] == 0


async def _measured(server: Serving, healthy) -> tuple[float, float]:
    """Seconds to accept so many events, and until the healthy one has them."""
    started = time.monotonic()
    for number in range(EVENTS):
        answer = await post(server.url, event(f"bat_{number}"))
        assert answer.status == 200
    posted = time.monotonic()
    await healthy.wait_for(EVENTS + len(WAYS))
    return posted - started, time.monotonic() - posted


async def _result(server: Serving, destination: str) -> object:
    line = await server.line("delivery.attempted", destination=destination)
    return line["result"]
