"""Streams hold a connection each, so there are few places for them."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from receiver.web.audience import MOST, OF_ONE_ADDRESS, OF_ONE_TOKEN
from tests.web.api.conftest import ADMIN, READ, Place
from tests.web.wire import Wire, connected

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]


def request(method: str, path: str, token: str = ADMIN) -> bytes:
    head = f"host: x\r\nauthorization: Bearer {token}"
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


async def opened(
    stack: AsyncExitStack, place: Place, count: int, own: str, token: str = ADMIN
) -> Counter[int]:
    """How so many are answered that ask for the stream at once, and stay."""
    url = place.server.url
    wires = [await stack.enter_async_context(connected(url, own)) for _ in range(count)]
    for wire in wires:
        await wire.send(request("GET", "/api/v1/stream", token))
    return Counter(await asyncio.gather(*map(status, wires)))


async def test_clients_that_come_at_once_get_no_more_places_than_there_are(
    place: Place,
):
    async with AsyncExitStack() as stack:
        first = await opened(stack, place, 3 * MOST, "127.0.0.1")
        second = await opened(stack, place, MOST, "127.0.0.2")
        third = await opened(stack, place, 1, "127.0.0.3")
        reader = await opened(stack, place, MOST, "127.0.0.3", READ)
        fourth = await opened(stack, place, 1, "127.0.0.4", READ)

    assert first == {200: OF_ONE_ADDRESS, 429: 3 * MOST - OF_ONE_ADDRESS}
    assert second == {
        200: OF_ONE_TOKEN - OF_ONE_ADDRESS,
        429: MOST - OF_ONE_TOKEN + OF_ONE_ADDRESS,
    }
    assert third == {429: 1}
    assert reader == {200: MOST - OF_ONE_TOKEN, 503: OF_ONE_TOKEN}
    assert fourth == {503: 1}


async def test_one_who_takes_all_places_they_can_get_leaves_some_for_others(
    place: Place,
):
    async with AsyncExitStack() as stack:
        await opened(stack, place, MOST, "127.0.0.1")
        same_token = await opened(stack, place, 1, "127.0.0.2")
        [refused] = await opened(stack, place, 1, "127.0.0.1", READ)

    assert same_token == {200: 1}
    assert refused == 429


async def test_a_place_is_free_again_when_its_client_is_gone(place: Place):
    async with AsyncExitStack() as stack:
        for _ in range(OF_ONE_ADDRESS):
            wire = await stack.enter_async_context(connected(place.server.url))
            await wire.send(request("GET", "/api/v1/stream"))
            assert await status(wire) == 200

    async with asyncio.timeout(60):
        again = 429
        while again == 429:
            async with connected(place.server.url) as wire:
                await wire.send(request("GET", "/api/v1/stream"))
                again = await status(wire)

    assert again == 200
