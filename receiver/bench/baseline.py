"""
What receiver is compared with: servers that do nothing but answer.

`bare` is uvicorn that reads the body and answers 200, with the process settings of
`receiver serve`; `raw` is a protocol that answers whatever it is sent, to find out how
much the load can do.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator
from typing import Any

import uvicorn

from receiver.bench.talk import Answer, answering

KEEP_ALIVE_S = 75
SWITCH_INTERVAL_S = 0.001
_HEADERS = [(b"content-length", b"2"), (b"content-type", b"text/plain")]
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def app(_scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, answers 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"ok"})


class Raw(asyncio.Protocol):
    """Answers each request it is sent, taking a segment for one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def data_received(self, data: bytes) -> None:
        if data:
            self._transport.write(_OK)


async def _answer(_: dict[str, Any]) -> Any:
    return None


async def bare() -> AsyncGenerator[Answer, None]:
    """uvicorn on the inherited socket."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[_inherited()]))
    yield _answer
    server.should_exit = True
    await serving


async def raw() -> AsyncGenerator[Answer, None]:
    """The protocol on the inherited socket."""
    server = await asyncio.get_running_loop().create_server(Raw, sock=_inherited())
    yield _answer
    server.close()


def _inherited() -> socket.socket:
    found = socket.socket(fileno=int(sys.argv[2]))
    found.setblocking(False)
    return found


if __name__ == "__main__":
    answering(raw if sys.argv[1] == "raw" else bare)
