"""HTTP: what exactly is sent, and what every kind of answer comes to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trustme
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from receiver import __version__, clock
from receiver.destinations import Parcel
from receiver.destinations.http import Http, HttpSettings
from receiver.models import Outcome, Request, Result, Secret
from receiver.providers.verification import verify
from tests.making import NOW, event, parcel, provider, sample, signed
from tests.ports import refusing
from tests.sinks import Seen, Sink

FIRST = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SECOND = Secret("whsec_" + "QUJD" * 12)
OTHER = "whsec_" + "REVG" * 12


@asynccontextmanager
async def http(url: str, **changes: Any) -> AsyncIterator[Http]:
    made = Http(HttpSettings("crm", type="http", url=Secret(url), **changes))
    try:
        yield made
    finally:
        await made.close()


async def sent(target: Sink, sent: Parcel, **changes: Any) -> Seen:
    """The request that comes of a parcel."""
    async with http(target.url + "/hooks", **changes) as destination:
        outcome = await destination.send(sent)
    assert outcome == Outcome(Result.OK, status_code=200, response="ok")
    return target.seen[-1]


def answering(
    status: int, text: str = "", headers: dict[str, str] | None = None
) -> Callable[[Seen], Awaitable[web.StreamResponse]]:
    async def respond(_: Seen) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return respond


# -- what is sent


async def test_the_headers_say_what_it_is(target):
    seen = await sent(target, parcel())

    host = target.url.removeprefix("http://")
    assert seen.path == "/hooks"
    assert dict(seen.headers) == {
        "host": host,
        "accept": "*/*",
        "accept-encoding": seen.headers["accept-encoding"],
        "content-length": "2",
        "content-type": "application/json",
        "user-agent": f"receiver/{__version__}",
        "webhook-id": "evt_0000000000000001",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "receiver-source": "sora2",
        "receiver-event-type": "batch.completed",
        "receiver-attempt": "1",
    }


async def test_a_later_attempt_has_the_same_id_and_the_time_of_its_own(target):
    first = await sent(target, parcel(), secrets=(FIRST,))
    later = replace(parcel(number=2), now=NOW + timedelta(hours=1))
    second = await sent(target, later, secrets=(FIRST,))

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["receiver-attempt"] == "2"
    times = [int(seen.headers["webhook-timestamp"]) for seen in (first, second)]
    assert times[1] - times[0] == 3600
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_a_replay_says_so(target):
    seen = await sent(target, parcel(replay_id="rpl_0000000000000001"))
    anew = await sent(target, parcel(replay_id="rpl_1", sent_as="evt_0000000000000002"))

    assert seen.headers["receiver-replay"] == "rpl_0000000000000001"
    assert seen.headers["webhook-id"] == "evt_0000000000000001"
    assert anew.headers["webhook-id"] == "evt_0000000000000002"


@pytest.mark.parametrize(
    "body",
    [b"", b'{ "a" :1.0,\n"b":"\\u00e9"}', b"\x00\xff\r\n\r\n", b"x" * 3_000_000],
    ids=["empty", "odd spacing", "not text", "3 MB"],
)
async def test_the_body_is_what_the_provider_sent_byte_for_byte(target, body):
    seen = await sent(target, parcel(event(body)))

    assert seen.body == body


async def test_the_content_type_is_the_providers(target):
    plain = {"content-type": "text/plain; charset=utf-8"}

    seen = await sent(target, parcel(event(headers=plain)))

    assert seen.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("body", [b'{"event":"x"}', '{"é": 1 }'.encode(), b"[]"])
async def test_each_rotated_secret_verifies_the_signature(target, body):
    now = replace(parcel(event(body)), now=clock.now())

    seen = await sent(target, now, secrets=(FIRST, SECOND))

    for secret in (FIRST, SECOND):
        Webhook(secret).verify(seen.body, dict(seen.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(seen.body, dict(seen.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(FIRST).verify(seen.body + b" ", dict(seen.headers))


async def test_without_a_secret_nothing_is_signed(target):
    seen = await sent(target, parcel())

    assert "webhook-signature" not in seen.headers


async def test_chosen_headers_are_passed_on_so_that_the_provider_can_be_verified(
    target,
):
    body = sample("as-sent")
    came = {**signed(body, "the provider's"), "x-private": "no"}

    seen = await sent(
        target,
        parcel(event(body, headers=came)),
        forward_headers=("X-Webhook-Signature", "x-batch-id", "x-not-there"),
    )

    asked = Request(seen.headers, {}, seen.body, NOW)
    verify(provider("sora2", "the provider's"), asked)
    assert seen.headers["x-batch-id"] == "bat_1"
    assert "x-private" not in seen.headers


async def test_our_own_headers_win_over_those_passed_on(target):
    came = {"webhook-id": "forged", "receiver-attempt": "99"}

    seen = await sent(
        target,
        parcel(event(headers=came)),
        forward_headers=("webhook-id", "receiver-attempt"),
    )

    assert seen.headers["webhook-id"] == "evt_0000000000000001"
    assert seen.headers["receiver-attempt"] == "1"


@pytest.mark.parametrize("text", ["a\r\nx-injected: 1", "a\nb", "é\ud800\0", "\x7f"])
async def test_no_text_of_the_provider_can_add_a_header(target, text):
    hostile = event(type=text, headers={"content-type": text, "x-a": text})

    seen = await sent(target, parcel(hostile), forward_headers=("x-a",))

    assert "x-injected" not in seen.headers
    expected = "".join(c if " " <= c <= "~" else "?" for c in text)
    assert seen.headers["receiver-event-type"] == expected
    assert seen.headers["x-a"] == expected


# -- what answers come to


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(target, status):
    target.respond = answering(status)

    async with http(target.url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok
    assert outcome.status_code == status


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_says_what_to_do(target, status):
    target.respond = answering(status, headers={"location": target.url + "/there"})

    async with http(target.url + "/here") as destination:
        outcome = await destination.send(parcel())

    assert (outcome.result, outcome.status_code) == (Result.HTTP_STATUS, status)
    assert "configure the final address" in outcome.detail
    assert not outcome.permanent
    assert [seen.path for seen in target.seen] == ["/here"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 422, 425, 429, 500, 502, 599])
async def test_any_other_refusal_is_tried_again(target, status):
    target.respond = answering(status, text="no thanks")

    async with http(target.url) as destination:
        outcome = await destination.send(parcel())

    assert (outcome.result, outcome.status_code) == (Result.HTTP_STATUS, status)
    assert not outcome.permanent
    assert outcome.pause == ""
    assert outcome.detail.startswith(str(status))
    assert outcome.response == "no thanks"


async def test_410_pauses_the_destination(target):
    target.respond = answering(410)

    async with http(target.url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.pause == "answered 410 Gone: it does not want webhooks any more"
    assert not outcome.permanent


@pytest.mark.parametrize(
    ("status", "patterns", "permanent"),
    [
        (404, ("4xx",), True),
        (404, ("404",), True),
        (404, ("4XX", "500"), True),
        (404, ("422",), False),
        (408, ("4xx",), False),
        (429, ("4xx", "429"), False),
        (500, ("5xx",), False),
        (302, ("3xx",), True),
    ],
)
async def test_chosen_refusals_end_a_delivery_at_once(
    target, status, patterns, permanent
):
    target.respond = answering(status)

    async with http(target.url, permanent=patterns) as destination:
        outcome = await destination.send(parcel())

    assert outcome.permanent is permanent


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "17", 17),
        (503, " 3 ", 3),
        (429, format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (503, format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (429, format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        (429, "soon", None),
        (429, "-5", None),
        (429, "9" * 400, 1e9),
        (429, "Sat, 24 Jan 2026 10:02:07", None),
        (500, "17", None),
        (400, "17", None),
    ],
)
async def test_retry_after_is_read_in_both_forms(target, status, value, seconds):
    target.respond = answering(status, headers={"retry-after": value})

    async with http(target.url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.retry_after_s == seconds


# -- what happens when there is no answer


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that says what it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/secret-path"
    finally:
        server.close()
        await server.wait_closed()


async def test_a_refused_connection_names_the_place(target):
    with refusing() as port:
        async with http(f"http://127.0.0.1:{port}/secret-path") as destination:
            outcome = await destination.send(parcel())

    assert outcome.result is Result.CONNECT
    assert outcome.detail.startswith(f"127.0.0.1:{port}: ")
    assert "secret-path" not in outcome.detail


async def test_a_name_that_does_not_exist_is_named():
    async with http("http://nobody.invalid/secret-path") as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.DNS
    assert outcome.detail == "the name nobody.invalid could not be looked up"


async def test_a_connection_that_is_reset_can_be_tried_again():
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.abort()

    async with talking(reset) as url, http(url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.CONNECT
    assert not outcome.permanent


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 "],
    ids=["nothing", "half a header", "half a line"],
)
async def test_half_an_answer_is_none(said):
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with talking(half) as url, http(url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.CONNECT
    assert not outcome.permanent


async def test_a_body_that_ends_early_does_not_undo_the_status():
    async def short(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()

    async with talking(short) as url, http(url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100],
)
async def test_an_answer_that_is_not_http_can_be_tried_again(said):
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with talking(talk) as url, http(url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result in (Result.CONNECT, Result.ERROR)
    assert not outcome.permanent
    assert "secret-path" not in outcome.detail


async def test_of_a_large_answer_only_the_beginning_is_read():
    written = 0

    async def large(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        for _n in range(10_000):
            writer.write(b"y" * 100_000)
            await writer.drain()
            written += 100_000

    async with talking(large) as url, http(url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok
    assert outcome.response == "y" * len(outcome.response)
    assert 0 < len(outcome.response) <= 2048
    assert written < 20_000_000


async def test_a_certificate_that_nobody_vouches_for_is_refused():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]

    async with server, http(f"https://127.0.0.1:{port}/secret-path") as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.TLS
    assert "secret-path" not in outcome.detail
    assert not outcome.permanent


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": Secret("crm.internal/hooks")}, "url"),
        ({"url": Secret("ftp://crm.internal")}, "url"),
        ({"url": Secret("http://")}, "url"),
        ({"secrets": (Secret("whsec_short"),)}, "secrets[0]"),
        ({"secrets": (FIRST, Secret("no prefix" * 5))}, "secrets[1]"),
        ({"permanent": ("404", "not")}, "permanent[1]"),
        ({"permanent": ("40",)}, "permanent[0]"),
    ],
)
def test_settings_that_cannot_work_are_problems(changes, field):
    given = {"url": Secret("https://crm.test/"), **changes}

    problems = list(HttpSettings("crm", type="http", **given).problems())

    assert [name for name, _, _ in problems] == [field]


def test_where_it_goes_is_described_without_secrets():
    url = Secret("https://user:hidden@crm.test:8443/hooks?token=hidden")

    settings = HttpSettings("crm", type="http", url=url, secrets=(FIRST,))

    assert settings.described() == "POST https://crm.test:8443/..."
    assert "hidden" not in repr(settings)
    assert FIRST not in repr(settings)
