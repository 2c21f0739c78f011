"""Senders that ask first, and senders for whom a 4xx ends all retries."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from receiver.app import App
from receiver.models import Secret
from receiver.offload import LARGE_BYTES
from receiver.providers import KINDS, Kind
from receiver.servers import HttpServer, public
from receiver.settings import Server, Settings, Source, StoreSettings
from tests.serving import SECRET
from tests.web.wire import Answer, connected, event, post, request, signed

TOKEN = "the token"


@pytest.fixture
async def app(tmp_path, monkeypatch) -> AsyncIterator[App]:
    kinds = cast("dict[str, Kind]", KINDS)
    kind = Kind("tests.web.particular", "Particular")
    monkeypatch.setitem(kinds, "particular", kind)
    secrets = (Secret(SECRET),)
    here = {"provider": "particular", "secrets": secrets}
    plain = {"provider": "sora2", "secrets": secrets}
    sources = [
        Source("one", path="/one", **here),  # type: ignore[arg-type]
        Source("token", path="/token", token=Secret(TOKEN), **here),  # type: ignore[arg-type]
        Source("far", path="/far", allow_ips=("203.0.113.7",), **here),  # type: ignore[arg-type]
        Source("plain", path="/plain", **plain),  # type: ignore[arg-type]
        Source("plain-far", path="/plain-far", allow_ips=("203.0.113.7",), **plain),  # type: ignore[arg-type]
    ]
    settings = Settings(
        "t",
        Server(),
        StoreSettings(url=f"sqlite:///{tmp_path}/receiver.db", min_free_bytes=0),
        {source.name: source for source in sources},
        {},
        (),
    )
    found = await App.open(settings)
    yield found
    await found.close()


@pytest.fixture
async def url(app: App) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(public(app.web, app.settings.server))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.ready.wait()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


async def asked(url: str, method: str, path: str) -> Answer:
    async with connected(url) as wire:
        await wire.send(request(b"", {}, method=method, path=path))
        return await wire.answer(bodyless=method == "HEAD")


@pytest.mark.parametrize("path", ["/one", "/token", "/token?token=x", "/far"])
async def test_who_asks_with_options_is_answered_without_any_condition(url, path):
    answer = await asked(url, "OPTIONS", path)

    assert answer.status == 200
    assert answer.json == {"status": "ready"}
    assert answer.headers["allow"] == "POST, OPTIONS"


async def test_options_leave_the_connection_for_what_follows(url):
    body = event("bat_1")

    async with connected(url) as wire:
        for path in ("/one", "/one"):
            await wire.send(request(b"", {}, method="OPTIONS", path=path))
            assert (await wire.answer()).status == 200
        await wire.send(request(body, path="/one"))
        posted = await wire.answer()

    assert posted.json["status"] == "accepted"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_other_methods_are_refused_and_told_which_are_not(url, method):
    answer = await asked(url, method, "/one")

    assert answer.status == 405
    assert answer.headers["allow"] == "POST, OPTIONS"


async def test_for_who_does_not_ask_options_is_a_method_like_others(url):
    answer = await asked(url, "OPTIONS", "/plain")

    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


REFUSALS = {
    "unsigned": ("/one", {}, "signature_missing"),
    "forged": ("/one", signed(b"something else"), "signature_mismatch"),
    "without the token": ("/token", {}, "token_missing"),
    "with another token": ("/token?token=x", {}, "token_mismatch"),
    "from elsewhere": ("/far", {}, "address_not_allowed"),
}


@pytest.mark.parametrize(("path", "headers", "code"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("size", [0, 3 * LARGE_BYTES])
async def test_every_refusal_that_another_try_may_undo_has_the_status_that_brings_one(
    app, url, path, headers, code, size
):
    body = event("bat_1", padding="x" * size)

    answer = await post(url, body, headers, path=path)
    await app.intake.close()

    assert (answer.status, answer.code) == (503, code)
    assert int(answer.headers["retry-after"]) > 0
    [kept] = await app.store.rejections(source=None, limit=10)
    assert kept.code == code


async def test_a_signed_body_that_nobody_can_read_is_refused_for_good(url):
    answer = await post(url, b"[", signed(b"["), path="/one")

    assert (answer.status, answer.code) == (400, "malformed_body")


async def test_for_all_others_refusals_are_what_they_are(url):
    unsigned = await post(url, event("bat_1"), {}, path="/plain")
    far = await post(url, event("bat_1"), path="/plain-far")

    assert (unsigned.status, far.status) == (401, 403)
