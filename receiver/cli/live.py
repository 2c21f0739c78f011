"""
Events as they come: from a server's stream, or from the store where no server runs.

Whoever follows goes on after the last event it got, however often the connection is
lost: nothing is missed, and nothing comes twice.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict

import click
import httpx

from receiver import ids
from receiver.cli.common import looking
from receiver.cli.output import clean
from receiver.cli.sse import messages
from receiver.cli.writing import control_socket
from receiver.errors import ReceiverError, StoreError
from receiver.providers.senders import Senders
from receiver.settings import Settings
from receiver.shown import Streamed, Wanted, streamed

RETRY_S = 1.0

CONNECT_S = 10.0

SILENCE_S = 40.0
"""A server says something every 15 s; one that is silent for longer is not there."""

REFUSALS = (400, 401, 403, 404)
"""What trying again does not mend."""


class Disconnected(Exception):
    """There is no stream now; the text says why."""


class Connection:
    """Whether there is one; each change is told once, on standard error."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._told = ""

    def made(self) -> None:
        again = " again" if self._told not in ("", "made") else ""
        self._tell("made", f"connected{again} to {self._place}", "green")

    def lost(self, why: str) -> None:
        self._tell("lost", f"not connected to {self._place}: {why}; trying again")

    def _tell(self, what: str, text: str, colour: str = "yellow") -> None:
        if self._told != what:
            click.secho(clean(text), fg=colour, err=True)
        self._told = what


Look = Callable[[str], AsyncGenerator[Streamed, None]]
"""What the store has after this event."""


class Live:
    """
    Events that are wanted, from a server; `look` finds them where it cannot be reached.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        wanted: Wanted,
        connection: Connection,
        look: Look | None = None,
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._connection = connection
        self._look = look

    async def follow(self, after: str | None) -> AsyncGenerator[Streamed, None]:
        """
        What comes after this event, or from now on; without end.

        Raises:
            ReceiverError: the server refuses, and would again.
        """
        while True:
            try:
                async with aclosing(self._stream(after)) as stream:
                    async for one in stream:
                        after = one.id
                        yield one
            except (Disconnected, httpx.TransportError) as error:
                self._connection.lost(str(error) or type(error).__name__)
            if self._look is not None and after is not None:
                with suppress(StoreError):  # there is none, or none to look into, yet
                    async with aclosing(self._look(after)) as found:
                        async for one in found:
                            after = one.id
                            yield one
            await asyncio.sleep(RETRY_S)

    async def watch(self) -> None:
        """
        Say when the connection is lost, and made again, and take no event; without end.

        Raises:
            ReceiverError: the server refuses, and would again.
        """
        behind_all = ids.public("evt", ids.LARGEST)
        async with aclosing(self.follow(behind_all)) as stream:
            async for _ in stream:
                pass

    async def _stream(self, after: str | None) -> AsyncGenerator[Streamed, None]:
        asked = {
            k: v for k, v in asdict(self._wanted).items() if v not in (None, False)
        }
        headers = {} if after is None else {"last-event-id": after}
        async with self._client.stream(
            "GET", "/api/v1/stream", params=asked, headers=headers
        ) as answer:
            await _check(answer)
            self._connection.made()
            async with aclosing(messages(answer.aiter_bytes())) as said:
                async for message in said:
                    data = message.data
                    yield Streamed(
                        message.id, None if data is None else json.loads(data)
                    )
        raise Disconnected("the server has ended the stream")


async def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    await answer.aread()
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = "it is no receiver's API (is there an admin_port?)"
    said = clean(f"{answer.status_code}: {said}")
    if answer.status_code in REFUSALS or answer.is_redirect:
        raise ReceiverError(said)
    raise Disconnected(said)


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(CONNECT_S, read=SILENCE_S)


@asynccontextmanager
async def there(url: str, token: str, wanted: Wanted) -> AsyncGenerator[Live, None]:
    """From the server at this address."""
    async with httpx.AsyncClient(
        base_url=url,
        headers={b"authorization": b"Bearer " + token.encode()},
        timeout=_timeout(),
    ) as client:
        yield Live(client, wanted, Connection(url.rpartition("@")[2]))


@asynccontextmanager
async def here(settings: Settings, wanted: Wanted) -> AsyncGenerator[Live, None]:
    """From the server whose store this is, or from the store while none runs."""
    senders = Senders(settings.sources.values())

    async def look(after: str) -> AsyncGenerator[Streamed, None]:
        async with (
            looking(settings) as reader,
            aclosing(streamed(reader, senders, wanted, after)) as found,
        ):
            async for one in found:
                yield one

    async with httpx.AsyncClient(
        transport=control_socket(settings),
        base_url="http://receiver",
        timeout=_timeout(),
        trust_env=False,
    ) as client:
        yield Live(client, wanted, Connection("the server here"), look)
