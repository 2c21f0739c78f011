"""Posting webhooks, many at a time, and telling how long the answers took."""

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import click

from receiver import clock
from receiver.errors import NotFound
from receiver.providers.sending import Outgoing

TIMEOUT_S = 30.0
KEPT_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and when; `status` is None where nothing did."""

    status: int | None
    body: bytes
    ms: float
    why: str = ""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether it was said to be wrong; trouble of the receiver's is not that."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def data(self) -> Any:
        """Whatever answers there: its JSON, or an empty object."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return {}

    def words(self) -> tuple[str, str]:
        """What it says in a word or two, and the rest."""
        known = self.data if isinstance(self.data, dict) else {}
        error = known.get("error")
        error = error if isinstance(error, dict) else {}
        said = known.get("outcome") or known.get("status") or error.get("code")
        word = said or self.why or self.body[:200].decode("utf-8", "replace")
        return str(word), str(known.get("id") or error.get("message") or "")


@dataclass(frozen=True, slots=True)
class Latency:
    """How many answers, and within how many milliseconds half of them came, ..."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


@asynccontextmanager
async def client(at_once: int) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Connections of our own; no proxy of the environment's is used."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    ) as session:
        yield session


async def post(session: aiohttp.ClientSession, url: str, sent: Outgoing) -> Answer:
    """
    Post it.

    Raises:
        aiohttp.ClientConnectorError: nobody listens there.
    """
    started = clock.monotonic()

    def ms() -> float:
        return (clock.monotonic() - started) * 1000

    try:
        async with session.post(
            url,
            params=sent.query,
            data=sent.body,
            headers=sent.headers,
            allow_redirects=False,
        ) as answer:
            return Answer(answer.status, await _beginning(answer), ms())
    except aiohttp.ClientConnectorError:
        raise
    except TimeoutError:
        return Answer(None, b"", ms(), "no answer in time")
    except aiohttp.ClientError as error:
        return Answer(None, b"", ms(), str(error) or type(error).__name__)


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    try:
        return await answer.content.readexactly(KEPT_ANSWER_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def post_many(
    make: Callable[[int], Outgoing],
    url: str,
    count: int,
    at_once: int,
    stop: asyncio.Event,
    done: Callable[[], object] = lambda: None,
) -> list[Answer]:
    """
    Make and post `count` requests, `at_once` of them at a time, until `stop` is set.

    Raises:
        NotFound: nobody listened there from the beginning.
    """
    answers: list[Answer] = []
    numbers = iter(range(count))

    async def some(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            sent = make(number)
            try:
                answers.append(await post(session, url, sent))
            except aiohttp.ClientConnectorError as error:
                if not any(answer.status for answer in answers):
                    raise NotFound(unreachable(url, error)) from None
                answers.append(Answer(None, b"", 0.0, "cannot be reached"))
            done()

    async with client(at_once) as session:
        work = asyncio.gather(*(some(session) for _ in range(min(at_once, count))))
        stopped = asyncio.create_task(stop.wait())
        either: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work
    return answers


def unreachable(url: str, error: aiohttp.ClientConnectorError) -> str:
    why = error.os_error.strerror or error.os_error
    place = url.partition("?")[0]  # behind it may be a token
    return f"{place} cannot be reached ({why}); is `receiver serve` running?"


def check_address(url: str) -> None:
    """
    Raises:
        click.BadParameter: it is no address to post to.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and (parts.port or 1) > 0  # which may be none
    except ValueError:
        good = False
    if not good:
        message = "write it like https://hooks.example.com/webhook/sora2"
        raise click.BadParameter(f"{url!r} cannot be posted to; {message}")


def by_answer(answers: Sequence[Answer]) -> Mapping[tuple[int | None, str], Latency]:
    """How long each kind of answer took, the most frequent kind first."""
    groups: dict[tuple[int | None, str], list[float]] = defaultdict(list)
    for answer in answers:
        groups[answer.status, answer.words()[0]].append(answer.ms)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return {kind: latency(times) for kind, times in ordered}


def latency(times: Sequence[float]) -> Latency:
    """Of at least one answer; the percentiles are times that were measured."""
    ordered = sorted(times)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1], 2)

    return Latency(len(ordered), at(0.5), at(0.9), at(0.99), at(1))
