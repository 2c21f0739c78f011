"""The place that things are delivered to."""

import asyncio

import pytest

from receiver.bench.events import body, number_in
from receiver.bench.talk import Helper, from_text, helper
from receiver.errors import ReceiverError


def post(path: str, number: int) -> bytes:
    text = body(number, "abcd")
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


async def exchanged(sink: Helper, *pieces: bytes) -> bytes:
    """The first answer to what is written piece by piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", await sink.ask("port"))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


def test_an_event_says_which_one_it_is_and_others_do_not():
    assert number_in(body(42, "00ff")) == 42
    assert number_in(b'{"batch_id":"bat_1"}') is None
    assert 900 < len(body(1, "00000000")) < 1_200


async def test_what_arrives_is_counted_by_path_with_its_number():
    async with helper("sink", None) as sink:
        whole = post("/a", 7)
        first = await exchanged(sink, whole)
        await exchanged(sink, whole[:30], whole[30:200], whole[200:] + post("/a", 8))
        assert await sink.ask("wait", counts={"/a": 3}, patience_s=20)
        found = await sink.ask("arrived")
        await sink.ask("forget")
        nothing = await sink.ask("arrived")

    assert first.startswith(b"HTTP/1.1 200")
    assert list(from_text(found["/a"]["numbers"])) == [7, 7, 8]
    times = list(from_text(found["/a"]["times"]))
    assert times == sorted(times)
    assert nothing == {}


async def test_one_path_fails_and_one_never_answers():
    async with helper("sink", None) as sink:
        failing = await exchanged(sink, post("/failing", 1))
        port = await sink.ask("port")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/hanging", 2))
        assert await sink.ask("wait", counts={"/hanging": 1}, patience_s=20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.close()
        found = await sink.ask("arrived")

    assert failing.startswith(b"HTTP/1.1 503")
    assert list(from_text(found["/hanging"]["numbers"])) == [2]


async def test_who_waits_for_more_than_comes_is_told():
    async with helper("sink", None) as sink:
        assert not await sink.ask("wait", counts={"/a": 1}, patience_s=0.01)


async def test_what_a_helper_cannot_do_it_says():
    place = {"url": "http://127.0.0.1:1/", "secrets": ["x"]}
    async with helper("load", None) as load:
        await load.ask(
            "prepare", place=place, run="00", first=0, count=1, times=1, same=False
        )
        with pytest.raises(ReceiverError, match="refused"):
            await load.ask("go", connections=1, rate=None)
