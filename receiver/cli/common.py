"""What commands share: the settings, a look into the store, a way to write."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import click
import httpx

from receiver import clock
from receiver.errors import Conflict, NotFound, ReceiverError, StoreError
from receiver.settings import Known, Settings, load
from receiver.settings.fields import duration
from receiver.stores import Reader, open_reader

T = TypeVar("T")
P = ParamSpec("P")

TIMEOUT_S = 30.0
CHUNK = 500
"""Ids in one request to the server: a step small enough to hold nobody up."""


def settings_of(config: Path | None) -> Settings:
    """
    The configuration the command line names.

    Raises:
        SettingsError: with every problem in it.
    """
    from receiver.destinations import LazyTypes
    from receiver.providers import PROVIDERS

    return load(config, os.environ, Known(PROVIDERS.keys(), LazyTypes()))


def waits(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async function into one that click can call."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(command(*args, **kwargs))

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


@asynccontextmanager
async def looking(settings: Settings) -> AsyncGenerator[Reader, None]:
    """The store, read-only; whether a server runs makes no difference."""
    reader = await open_reader(settings.store.url)
    try:
        yield reader
    finally:
        await reader.close()


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
    from receiver.app import App, control_path

    transport: httpx.AsyncBaseTransport
    transport = httpx.AsyncHTTPTransport(uds=str(control_path(settings)))
    if await _answers(transport):
        async with _client(transport) as client:
            yield Writer(client)
        return
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


def moment(text: str | None) -> datetime | None:
    """`2h` (ago), `2026-01-24`, `2026-01-24T10:00:00Z`; UTC where no zone is given."""
    if text is None:
        return None
    try:
        ago = duration(text)
        if ago is not None:
            return clock.now() - ago
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time; write 2h, 2026-01-24 or 2026-01-24T10:00:00Z"
        ) from None


def rate(text: str | None) -> float | None:
    """`20/s`, `5/m`, as events per second."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)/(s|m|h)", text)
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"{text!r} is no rate; write 20/s or 5/m")
    return float(found[1]) / {"s": 1, "m": 60, "h": 3600}[found[2]]


def chunks(items: Sequence[T], size: int = CHUNK) -> list[Sequence[T]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
