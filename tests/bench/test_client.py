"""The load: what is sent, and how long it is said to have taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from receiver.bench.client import run
from receiver.bench.measured import answered_after
from receiver.errors import ReceiverError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STALL_S = 0.3

Respond = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


def requests(count: int) -> list[bytes]:
    head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n"
    return [f"{head}{number:06}".encode() for number in range(count)]


@asynccontextmanager
async def server(respond: Respond) -> AsyncIterator[tuple[int, list[int]]]:
    """Reads requests of `requests`; its port, and the numbers it was sent."""
    seen: list[int] = []

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                number = int(await reader.readexactly(6))
                seen.append(number)
                await respond(writer, number)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], seen


async def at_once(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(OK)


@pytest.mark.parametrize("rate", [None, 2_000.0])
async def test_everything_is_sent_once_and_answered_after_it_was_due(
    rate: float | None,
):
    async with server(at_once) as (port, seen):
        sent = await run("127.0.0.1", port, requests(100), 7, rate)

    assert sorted(seen) == list(range(100))
    assert len(sent.due) == 100
    assert min(answered_after(sent.due, sent.answered)) > 0


async def test_in_a_closed_loop_no_connection_is_sent_two_at_a_time():
    running = most = 0

    async def slowly(writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        writer.write(OK)

    async with server(slowly) as (port, _):
        await run("127.0.0.1", port, requests(50), 3)

    assert most == 3


async def test_in_an_open_loop_requests_are_due_at_the_rate():
    async with server(at_once) as (port, _):
        sent = await run("127.0.0.1", port, requests(51), 4, 500.0)

    assert sent.due[-1] - sent.due[0] == pytest.approx(0.1)


@pytest.mark.parametrize("connections", [1, 16])
async def test_a_server_that_stands_still_is_slow_for_all_that_was_due_then(
    connections: int,
):
    stalled = asyncio.Event()

    async def stalling(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 10:
            await asyncio.sleep(STALL_S)
            stalled.set()
        elif number > 10:
            await stalled.wait()
        writer.write(OK)

    async with server(stalling) as (port, _):
        sent = await run("127.0.0.1", port, requests(100), connections, 200.0)

    took = answered_after(sent.due, sent.answered)
    # Number 10 was due 0.3 s before it went on; number 40 half of that time.
    assert took[10] >= STALL_S * 1_000
    assert took[40] >= STALL_S * 1_000 / 2 - 5
    assert sum(each > 50 for each in took) >= 50


async def test_an_answer_in_pieces_is_one_answer():
    async def in_pieces(writer: asyncio.StreamWriter, _: int) -> None:
        for i in range(0, len(OK), 9):
            writer.write(OK[i : i + 9])
            await writer.drain()
            await asyncio.sleep(0)

    async with server(in_pieces) as (port, seen):
        await run("127.0.0.1", port, requests(20), 2)

    assert len(seen) == 20


@pytest.mark.parametrize("rate", [None, 1_000.0])
async def test_an_answer_that_is_not_2xx_ends_the_load_and_is_shown(
    rate: float | None,
):
    async def refusing(writer: asyncio.StreamWriter, number: int) -> None:
        refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nwrong"
        writer.write(refusal if number == 5 else OK)

    async with server(refusing) as (port, _):
        with pytest.raises(ReceiverError, match="401 Unauthorized"):
            await run("127.0.0.1", port, requests(20), 2, rate)


async def test_a_connection_that_is_lost_ends_the_load():
    async def hanging_up(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 5:
            writer.close()
        else:
            writer.write(OK)

    async with server(hanging_up) as (port, _):
        with pytest.raises(ReceiverError, match="lost"):
            await run("127.0.0.1", port, requests(20), 1)
