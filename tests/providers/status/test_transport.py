"""Asking over HTTP: what is sent, and what is not taken for an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from receiver import clock
from receiver.models import Rate
from receiver.providers.status import (
    KeyRefused,
    Unanswered,
    UnknownSubject,
    api_called,
    transport,
)
from receiver.providers.status.transport import Asker
from tests.apis import KEY, KieApi, Sora2Api, batch, items, kie_task
from tests.sinks import Sink, sink

FAST = Rate(1000, 1)


@asynccontextmanager
async def asking(
    there: Sink, name: str = "sora2", key: str = KEY, rate: Rate = FAST
) -> AsyncIterator[Asker]:
    asker = Asker(api_called(name), key, url=f"{there.url}/", rate=rate)
    try:
        yield asker
    finally:
        await asker.close()


def answering(there: Sink, response: web.StreamResponse) -> None:
    async def respond(_):
        return response

    there.respond = respond


async def failure(there: Sink) -> Unanswered:
    async with asking(there) as asker:
        with pytest.raises(Unanswered) as caught:
            await asker.ask("bat_1")
    assert KEY not in str(caught.value)
    return caught.value


async def test_a_batch_is_asked_for_with_its_key():
    api = Sora2Api({"bat_1": batch()}, {"bat_1": items(10, failed=1)})
    async with sink() as there, asking(there) as asker:
        there.respond = api.respond

        found = await asker.ask("bat_1")

    assert found.final
    assert len(found.webhooks) == 2
    assert api.asked == [
        "/batches/bat_1",
        "/batches/bat_1/items?limit=100&offset=0",
        "/credits/ledger?batch_id=bat_1&type=refund&limit=200&offset=0",
    ]
    assert {seen.headers["x-api-key"] for seen in there.seen} == {KEY}
    assert {seen.method for seen in there.seen} == {"GET"}


async def test_a_subject_is_escaped_on_the_wire():
    async with sink() as there, asking(there) as asker:
        there.respond = Sora2Api().respond

        with pytest.raises(UnknownSubject):
            await asker.ask("../a b?c#d")

    assert there.seen[0].path == "/batches/..%2Fa%20b%3Fc%23d"


async def test_kie_is_asked_with_a_bearer_token():
    api = KieApi({"t 1&x": kie_task(taskId="t 1&x")})
    async with sink() as there, asking(there, "kie") as asker:
        there.respond = api.respond

        assert (await asker.ask("t 1&x")).final

        with pytest.raises(UnknownSubject):
            await asker.ask("another")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_told_apart(status):
    async with sink() as there, asking(there) as asker:
        answering(there, web.Response(status=status))

        with pytest.raises(KeyRefused):
            await asker.ask("bat_1")


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (web.Response(status=500), "500"),
        (web.Response(status=302, headers={"location": "/batches/1"}), "redirect"),
        (web.Response(text="<html>hello</html>"), "not JSON"),
        (web.Response(text="[1]"), "JSON object"),
        (web.Response(text='{"batch_id": "bat_1", "batch_id": "bat_2"}'), "not JSON"),
        (web.Response(text="<html>nothing</html>", status=404), "404"),
        (web.Response(body=b" " * (transport.MOST_BYTES + 1)), "MiB"),
    ],
    ids=["500", "redirect", "html", "list", "twice", "404 of a web server", "large"],
)
async def test_what_is_no_answer_is_temporary(response, words):
    async with sink() as there:
        answering(there, response)

        error = await failure(there)

    assert words in str(error)
    assert len(there.seen) == 1


async def test_nobody_there_is_temporary():
    async with sink() as there:
        pass

    assert "cannot be reached" in str(await failure(there))


async def test_a_slow_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(transport, "ANSWER_S", 0.2)
    release = asyncio.Event()

    async def slow(_):
        await release.wait()
        return web.Response(text="{}")

    async with sink() as there:
        there.respond = slow

        assert "no answer within" in str(await failure(there))

        release.set()


async def test_retry_after_holds_back_what_is_asked_next():
    api = Sora2Api({"bat_1": batch(status="a word")})
    limits = iter([web.Response(status=429, headers={"retry-after": "1"})])
    api.refuse = lambda _: next(limits, None)
    async with sink() as there, asking(there) as asker:
        there.respond = api.respond
        started = clock.monotonic()

        with pytest.raises(Unanswered) as caught:
            await asker.ask("bat_1")
        await asker.ask("bat_1")

    assert caught.value.retry_after_s == 1
    assert clock.monotonic() - started >= 0.8


async def test_a_429_that_does_not_say_how_long_is_waited_for_too():
    async with sink() as there:
        answering(there, web.Response(status=429))

        error = await failure(there)

    assert error.retry_after_s == transport.OVERLOADED_S


async def test_requests_keep_to_the_rate():
    api = Sora2Api({"bat_1": batch(status="a word")})
    async with sink() as there, asking(there, rate=Rate(20, 1)) as asker:
        there.respond = api.respond
        started = clock.monotonic()

        await asyncio.gather(*(asker.ask("bat_1") for _ in range(7)))

    assert clock.monotonic() - started >= 0.2  # 7 at 20 a second, less the slack


async def test_lists_without_an_end_are_cut():
    api = Sora2Api({"bat_1": batch()}, {"bat_1": items(5000)})
    async with sink() as there, asking(there) as asker:
        there.respond = api.respond

        found = await asker.ask("bat_1")

    assert found.final
    assert len(there.seen) <= transport.MOST_QUERIES
