"""A way for commands to write, the same whether a server runs or not."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from receiver.cli.common import server
from receiver.errors import Conflict, NotFound, ReceiverError, StoreError, StoreUnusable
from receiver.settings import Settings
from receiver.stores import control_path, sqlite_path

TIMEOUT_S = 30.0


class Writer:
    """Changes things: through the running server, or alone under the store's lock."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        """
        Raises:
            NotFound, Conflict, StoreError: what the server says.
        """
        return _found(await self._client.post(f"/api/v1{path}", json=body))

    async def get(self, path: str) -> Mapping[str, Any]:
        """The same, changing nothing."""
        return _found(await self._client.get(f"/api/v1{path}"))


def _found(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = cast("Mapping[str, Any]", answer.json())
    except ValueError:
        raise ReceiverError(
            f"the server answered {answer.status_code}; see its log"
        ) from None
    if answer.is_success:
        return found
    kinds: dict[int, type[ReceiverError]] = {
        404: NotFound,
        409: Conflict,
        503: StoreError,
    }
    raise kinds.get(answer.status_code, ReceiverError)(str(found["detail"]))


@asynccontextmanager
async def writing(settings: Settings) -> AsyncGenerator[Writer, None]:
    """
    A way to write, the same whether a server runs or not.

    Raises:
        StoreLocked: a process owns the store but does not answer on its socket.
        StoreUnusable: there is no store: only a server makes one.
    """
    if await server(settings) is not None:
        async with _client(control_socket(settings)) as client:
            yield Writer(client)
        return
    path = sqlite_path(settings.store.url)
    if not path.exists():
        message = f"there is no store at {path}; start one with: receiver serve"
        raise StoreUnusable(message)
    from receiver import logs
    from receiver.app import App  # the whole server, only where none runs
    from receiver.web.api import control_app

    logs.configure("warning")
    app = await App.open(settings)
    try:
        async with _client(httpx.ASGITransport(control_app(app.parts))) as client:
            yield Writer(client)
    finally:
        await app.close()


def control_socket(settings: Settings) -> httpx.AsyncHTTPTransport:
    """To the server that runs beside the store, if one does."""
    return httpx.AsyncHTTPTransport(uds=str(control_path(settings.store.url)))


def _client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        base_url="http://receiver",
        timeout=TIMEOUT_S,
        trust_env=False,  # no proxy leads to a socket in the file system
    )
