"""A way for commands to write, the same whether a server runs or not."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from receiver.errors import Conflict, NotFound, ReceiverError, StoreError
from receiver.settings import Settings
from receiver.stores import control_path

TIMEOUT_S = 30.0
CHUNK = 500
"""Ids in one request to the server: a step small enough to hold nobody up."""


class Writer:
    """Changes things: through the running server, or alone under the store's lock."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        """
        Raises:
            NotFound, Conflict, StoreError: what the server says.
        """
        answer = await self._client.post(f"/api/v1{path}", json=body)
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
        raise kinds.get(answer.status_code, ReceiverError)(found["error"]["message"])


@asynccontextmanager
async def writing(settings: Settings) -> AsyncGenerator[Writer, None]:
    """
    A way to write, the same whether a server runs or not.

    Raises:
        StoreLocked: a process owns the store but does not answer on its socket.
    """
    path = control_path(settings.store.url)
    transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(uds=str(path))
    if await _answers(transport):
        async with _client(transport) as client:
            yield Writer(client)
        return
    from receiver.app import App  # the whole server, only where none runs

    app = await App.open(settings)
    try:
        transport = httpx.ASGITransport(app.api.app())
        async with _client(transport) as client:
            yield Writer(client)
    finally:
        await app.close()


def _client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport, base_url="http://receiver", timeout=TIMEOUT_S
    )


async def _answers(transport: httpx.AsyncBaseTransport) -> bool:
    request = httpx.Request("GET", "http://receiver/api/v1/")
    try:
        response = await transport.handle_async_request(request)
        await response.aread()
    except httpx.TransportError:
        return False
    return True
