"""
Asking a status API over HTTP: bounded in size, time, number and rate.

The key goes to the API's own address, or the one the configuration names, and nowhere
else: redirects are not followed.  Nothing that is raised names the key.
"""

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from receiver import clock
from receiver.errors import Rejected
from receiver.models import Rate
from receiver.offload import beside
from receiver.pace import Throttle
from receiver.providers.body import parse
from receiver.providers.status.base import (
    Found,
    KeyRefused,
    Query,
    Reply,
    StatusApi,
    Unanswered,
)
from receiver.retry import retry_after_s

ANSWER_S = 10.0
MOST_BYTES = 4 * 1024 * 1024
MOST_QUERIES = 24
"""About one subject: a batch of a thousand items takes seventeen."""

OVERLOADED_S = 30.0
"""How long nothing is asked after a 429 that does not say how long."""

LONGEST_WAIT_S = 60.0
"""Between requests that fail one after the other; the first wait is a second."""


class Asker:
    """Asks one API with one key; one request at a time."""

    def __init__(
        self, api: StatusApi, key: str, *, url: str | None, rate: Rate
    ) -> None:
        self._api = api
        self._base = (url or api.base).rstrip("/")
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # nothing that grows when it is unpacked
            "user-agent": f"receiver/{version('receiver')}",
            **api.key_headers(key),
        }
        self._throttle = Throttle(rate)
        self._turn = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._failures = 0
        self._closed = False

    async def ask(self, subject: str) -> Found:
        """
        What the API says of a subject.

        Raises:
            UnknownSubject, KeyRefused, Unanswered: see there.
        """
        conversation = self._api.ask(subject)
        query = next(conversation)
        for _ in range(MOST_QUERIES):
            reply = await self._get(query)
            try:
                query = conversation.send(reply)
            except StopIteration as end:
                found: Found = end.value
                return found
        raise Unanswered("there is no end to its answer")

    async def close(self) -> None:
        """Let go of the connection; nothing more is asked."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _get(self, query: Query) -> Reply:
        async with self._turn:
            now = clock.monotonic()
            await asyncio.sleep(self._throttle.ready_at - now)
            self._throttle.began(clock.monotonic())
            try:
                reply = await self._in_time(query)
            except Unanswered:
                wait_s = min(2.0 ** min(self._failures, 10), LONGEST_WAIT_S)
                self._failures += 1
                self._throttle.hold(clock.monotonic(), wait_s)
                raise
            self._failures = 0
            return reply

    async def _in_time(self, query: Query) -> Reply:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._answer(query)
        except TimeoutError:
            why = f"there was no answer within {ANSWER_S:.0f} s"
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            why = f"it cannot be reached: {words}"
        raise Unanswered(why)

    async def _answer(self, query: Query) -> Reply:
        if self._closed:
            raise Unanswered("the configuration has changed meanwhile")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        tail = f"?{urlencode(query.parameters)}" if query.parameters else ""
        url = URL(self._base + query.path + tail, encoded=True)
        async with self._session.get(
            url, headers=self._headers, allow_redirects=False
        ) as response:
            self._check(response.status, response.headers)
            return await _reply(response)

    def _check(self, status: int, headers: Mapping[str, str]) -> None:
        """
        Raises:
            KeyRefused, Unanswered: by a status that is not an answer.
        """
        if status in (401, 403):
            raise KeyRefused(f"it answered {status}")
        if status in (200, 404):
            return
        wait_s = retry_after_s(status, headers.get("retry-after", ""), clock.now())
        if wait_s is None and status == 429:
            wait_s = OVERLOADED_S
        if wait_s is not None:
            self._throttle.hold(clock.monotonic(), wait_s)
        kind = "a redirect, which is not followed: " if 300 <= status < 400 else ""
        raise Unanswered(f"it answered {kind}{status}", wait_s)


async def _reply(response: aiohttp.ClientResponse) -> Reply:
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > MOST_BYTES:
            raise Unanswered(f"the answer has more than {MOST_BYTES // 2**20} MiB")
    try:
        data = await beside(len(found), parse, bytes(found))
    except Rejected:
        if response.status == 404:
            return Reply(404, None)
        raise Unanswered("the answer is not JSON") from None
    return Reply(response.status, data)
