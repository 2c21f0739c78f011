"""The HTTP servers of one process: uvicorn, as we want it."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from receiver.settings import Server
from receiver.web.protocol import bounded

KEEP_ALIVE_S = 75


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handling, and with a way to wait for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def public(web: ASGIApp, settings: Server) -> uvicorn.Config:
    """For clients that nobody knows: whoever is slow is cut off."""
    limits = bounded(
        settings.header_timeout.total_seconds(), settings.body_timeout.total_seconds()
    )
    return _config(web, limits, settings)


def local(web: ASGIApp, settings: Server) -> uvicorn.Config:
    """For the commands of the user the receiver runs as."""
    return _config(web, "httptools", settings)


def _config(web: ASGIApp, http: object, settings: Server) -> uvicorn.Config:
    return uvicorn.Config(
        web,
        http=http,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace.total_seconds())),
    )
