"""Posting events that were accepted once more, to a program on this machine."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from receiver.cli.posting import Answer, client, post
from receiver.providers.sending import Outgoing

RETRY_S = 1.0

OF_THE_REQUEST = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that follow from a request itself."""

MASKED = "***"


class Forwarder:
    """
    One event at a time, until it is answered: whatever the answer is.

    While nothing answers, which is told once, the event is kept.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        parts = urlsplit(url)
        self._place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._down = False

    async def post(self, shown: Mapping[str, Any]) -> Answer:
        """What is answered in the end."""
        while True:
            answer = await self._post(shown)
            if answer is not None:
                return answer
            await asyncio.sleep(RETRY_S)

    async def _post(self, shown: Mapping[str, Any]) -> Answer | None:
        """What was answered; None if nothing was."""
        try:
            answer = await post(self._session, self._url, again(shown))
            why = answer.why
        except aiohttp.ClientConnectorError as error:
            answer, why = None, str(error.os_error.strerror or error.os_error)
        if answer is None or answer.status is None:
            self._tell(True, f"does not answer ({why}); {shown['id']} waits for it")
            return None
        self._tell(False, "answers again")
        return answer

    def _tell(self, down: bool, text: str) -> None:
        if self._down != down:
            colour = "yellow" if down else "green"
            click.secho(f"{self._place} {text}", fg=colour, err=True)
        self._down = down


@asynccontextmanager
async def forwarding(url: str) -> AsyncGenerator[Forwarder, None]:
    """To this address."""
    async with client(1) as session:
        yield Forwarder(session, url)


def again(shown: Mapping[str, Any]) -> Outgoing:
    """
    The request of an event that was streamed raw: the same body, and the same headers
    but for credentials, which are not kept.

    `webhook-id` is the event's id, unless its sender gave one, which is signed.
    """
    raw = shown["raw"]
    headers = {
        name: value
        for name, value in raw["headers"].items()
        if name not in OF_THE_REQUEST and value != MASKED
    }
    headers.setdefault("webhook-id", shown["id"])
    # One connection each: one that is kept open may end just when it is used.
    headers["connection"] = "close"
    return Outgoing(headers, {}, base64.b64decode(raw["base64"]))
