"""HTTP: how long each phase of a request may take."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from receiver.delivery import attempt
from receiver.destinations.http import Http
from receiver.models import Claim, Outcome, Result
from tests.destinations.http.making import http, settings
from tests.making import parcel


@pytest.fixture
def backlog() -> Iterator[int]:
    """The port of a socket that lets nobody in: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = []
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            full.append(waiting)
        yield listener.getsockname()[1]
        for waiting in full:
            waiting.close()


async def test_connecting_has_a_limit_of_its_own(backlog):
    url = f"http://127.0.0.1:{backlog}"

    async with http(url=url, connect_timeout="100ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(Result.TIMEOUT, "no connection within 0.1 s")


async def test_silence_before_the_answer_has_a_limit_of_its_own(target):
    target.respond = never
    async with http(url=target.url, read_timeout="100ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(
        Result.TIMEOUT, "nothing came for 0.1 s while waiting for the answer"
    )


async def test_an_answer_that_stalls_after_its_status_counts(target):
    async def stall(_: Any) -> Any:
        target.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await asyncio.sleep(60)

    target.respond = stall
    async with http(url=target.url, read_timeout="1s") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(Result.OK, status_code=200, response="half")


@pytest.mark.parametrize("phase", ["connecting", "waiting for the answer"])
async def test_the_limit_for_all_says_what_took_so_long(target, backlog, phase):
    target.respond = never
    url = target.url if "answer" in phase else f"http://127.0.0.1:{backlog}"
    table = {"url": url, "timeout": "500ms"}

    async with http(**table) as destination:
        outcome = await attempted(destination, **table)

    assert outcome == Outcome(Result.TIMEOUT, f"no answer within 0.5 s while {phase}")


async def test_a_slow_answer_is_no_silence(target):
    async def slow(_: Any) -> Any:
        target.say(b"HTTP/1.1 200 OK\r\n")
        for _n in range(5):
            await asyncio.sleep(0.25)
            target.say(b"x: y\r\n")
        target.say(b"content-length: 0\r\n\r\n")
        await asyncio.sleep(60)

    target.respond = slow
    async with http(url=target.url, read_timeout="1s") as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok


async def never(_: Any) -> Any:
    await asyncio.sleep(60)


async def attempted(destination: Http, **table: Any) -> Outcome:
    """The outcome of an attempt, as a lane makes it."""
    given = parcel()

    async def read(event: Any) -> Any:
        return event

    claim = Claim(0, given.delivery, given.event)
    made = await attempt(destination, settings(**table), claim, read)
    assert made.duration_ms < timedelta(seconds=5) / timedelta(milliseconds=1)
    return made.outcome
