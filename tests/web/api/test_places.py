"""Streams hold a connection each, so there are few places for them."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from receiver.web.api.streaming import MOST
from tests.web.api.conftest import ADMIN, Place
from tests.web.wire import Wire, connected

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]


def request(method: str, path: str) -> bytes:
    head = f"host: x\r\nauthorization: Bearer {ADMIN}"
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n\r\n".encode()


async def status(wire: Wire) -> int:
    return (await wire.answer(bodyless=True)).status


async def test_a_question_about_the_stream_is_answered_and_the_connection_goes_on(
    place: Place,
):
    async with connected(place.server.url) as wire:
        await wire.send(request("HEAD", "/api/v1/stream"))
        first = await wire.answer(bodyless=True)
        await wire.send(request("GET", "/healthz"))
        second = await wire.answer()

    assert first.headers["content-type"].startswith("text/event-stream")
    assert (first.status, second.status) == (200, 200)


async def test_clients_that_come_at_once_get_no_more_places_than_there_are(
    place: Place,
):
    async with AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(connected(place.server.url))
            for _ in range(3 * MOST)
        ]
        for wire in wires:
            await wire.send(request("GET", "/api/v1/stream"))
        statuses = await asyncio.gather(*map(status, wires))

    assert (statuses.count(200), statuses.count(503)) == (MOST, 2 * MOST)


async def test_a_place_is_free_again_when_its_client_is_gone(place: Place):
    async with AsyncExitStack() as stack:
        for _ in range(MOST):
            wire = await stack.enter_async_context(connected(place.server.url))
            await wire.send(request("GET", "/api/v1/stream"))
            assert await status(wire) == 200

    async with asyncio.timeout(10):
        again = 503
        while again == 503:
            async with connected(place.server.url) as wire:
                await wire.send(request("GET", "/api/v1/stream"))
                again = await status(wire)

    assert again == 200
