"""What a source path answers to the worst that arrives, and what is kept of it."""

import asyncio
import json
from typing import Any

import pytest

from receiver.refusals import KEPT_UNSIGNED_BYTES
from tests.serving import Serving, command
from tests.web.conftest import MAX_BODY, OTHER_SECRET
from tests.web.wire import (
    PATH,
    as_sent,
    chunked,
    connected,
    digest,
    event,
    flat,
    post,
    request,
    signed,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]


async def output(server: Serving, *arguments: str) -> Any:
    code, out, err = await command(server.folder, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


async def events(server: Serving, batch: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await output(
        server, "events", "list", "--subject", batch
    )
    return found


async def rejected(server: Serving, body: bytes) -> dict[str, Any]:
    """The newest rejection of a body of this length, once it is there."""
    async with asyncio.timeout(60):
        while True:
            kept = await output(server, "rejections", "list", "--limit", "30")
            found = [r for r in kept if r["body_bytes"] == len(body)]
            if found:
                break
    shown: dict[str, Any] = await output(server, "rejections", "show", found[0]["id"])
    return shown


# -- signatures


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "signature_missing"),
        ({"x-sora2-signature": "sha256=" + "0" * 64}, "signature_mismatch"),
        ({"x-sora2-signature": ""}, "signature_mismatch"),
        ({"x-sora2-signature": "sha256=é\xff"}, "signature_mismatch"),
        ({"x-webhook-signature": "0" * 64}, "signature_mismatch"),
        ({"x-sora2-timestamp": "2026-01-24T10:00:00Z"}, "signature_missing"),
    ],
)
async def test_what_is_not_signed_or_forged_is_refused_and_kept(
    server, batch, headers, code
):
    unlike = "x" * 300 * int(batch.removeprefix("bat_"))  # found by its length
    body = event(batch, padding=code + repr(headers) + unlike)

    answer = await post(server.url, body, headers)

    assert (answer.status, answer.code) == (401, code)
    kept = await rejected(server, body)
    assert kept["code"] == code
    beginning = kept["body"].encode()
    assert body.startswith(beginning)
    assert len(beginning) >= min(len(body), KEPT_UNSIGNED_BYTES)
    assert await events(server, batch) == []


async def test_a_signature_by_another_secret_is_refused(server, batch):
    body = event(batch)

    answer = await post(server.url, body, signed(body, "not the secret"))

    assert (answer.status, answer.code) == (401, "signature_mismatch")


async def test_a_signature_for_other_bytes_is_refused(server, batch):
    body = event(batch)

    answer = await post(server.url, body + b" ", signed(body))

    assert (answer.status, answer.code) == (401, "signature_mismatch")


@pytest.mark.parametrize("sign", [signed, as_sent])
async def test_the_second_secret_is_as_good_as_the_first(server, batch, sign):
    body = event(batch)

    answer = await post(server.url, body, sign(body, OTHER_SECRET))

    assert answer.status == 200
    assert answer.json["status"] == "accepted"
    assert answer.headers["content-type"] == "application/json"
    [stored] = await events(server, batch)
    assert stored["id"] == answer.json["id"]


# -- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"event":"batch.completed","batch_id":"b',
        b'{"event":"batch.completed","batch_id":"a","batch_id":"b"}',
        b'{"event":"batch.completed","batch_id":"a","x":{"y":1,"y":1}}',
        b'{"event":"batch.completed","batch_id":"\xff"}',
        b'{"event":"batch.completed","batch_id":"a","x":NaN}',
        b'{"event":"batch.completed","batch_id":"a","x":-Infinity}',
        b"[" * 60_000,
        b'{"batch_id":"a","event":"b","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"batch_id":"a","event":"b","x":' + b"9" * 5_000 + b"}",
        b'{"event":"batch.completed","batch_id":"half \\ud800"}',
        b'{"event":"half \\udfff","batch_id":"a"}',
        b'{"event":"batch.completed","batch_id":"' + b"a" * 501 + b'"}',
        b'["batch.completed"]',
        b"null",
        b'{"batch_id":"a"}',
        b'{"event":7,"batch_id":"a"}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_a_signed_body_that_is_not_usable_is_kept_whole(server, body):
    answer = await post(server.url, body)

    assert (answer.status, answer.code) == (400, "malformed_body")
    kept = await rejected(server, body)
    assert kept["code"] == "malformed_body"
    if isinstance(kept["body"], str):
        assert kept["body"].encode() == body
    else:
        assert kept["body"].keys() == {"base64"}


@pytest.mark.parametrize("batch_id", ["", None, 7, ["a"]])
async def test_a_body_that_names_no_batch_is_refused(server, batch_id):
    body = json.dumps({"event": "batch.completed", "batch_id": batch_id}).encode()

    answer = await post(server.url, body)

    assert (answer.status, answer.code) == (400, "missing_batch_id")


async def test_a_header_that_names_another_batch_than_the_body_is_refused(
    server, batch
):
    body = flat(batch)
    headers = as_sent(body) | {"x-batch-id": "another"}

    answer = await post(server.url, body, headers)

    assert (answer.status, answer.code) == (400, "batch_id_mismatch")


@pytest.mark.parametrize(
    "more",
    [
        {"x": 10**400},
        {"x": 2**64, "y": -(2**200)},
        {"x": 1.5e300},
        {"summary": {"total": 10**30, "succeeded": True, "failed": "1"}},
        {"summary": [], "ledger": "none", "items": {"a": 1}},
        {"timestamp": 10**20},
        {"timestamp": "0000-99-99"},
        {"status": ["partial"]},
        {"x": "half \ud800 a pair"},
    ],
    ids=lambda more: repr(more)[:60],
)
async def test_strange_values_that_are_json_are_accepted(server, batch, more):
    answer = await post(server.url, event(batch, **more))

    assert answer.status == 200
    assert len(await events(server, batch)) == 1


async def test_an_event_type_that_is_not_known_is_stored(server, batch):
    answer = await post(server.url, event(batch, "batch.invented"))

    assert answer.status == 200
    [stored] = await events(server, batch)
    assert stored["type"] == "batch.invented"


async def test_the_unsigned_test_ping_is_answered_and_not_stored(server):
    before = await output(server, "status")

    answer = await post(server.url, b'{"event":"test"}', {})

    after = await output(server, "status")
    assert (answer.status, answer.json) == (200, {"status": "test"})
    assert after["totals"]["events"] == before["totals"]["events"]


# -- sizes


async def test_a_body_of_just_the_limit_is_accepted(server, batch):
    body = event(batch, padding="")
    body = event(batch, padding="x" * (MAX_BODY - len(body)))

    answer = await post(server.url, body)

    assert len(body) == MAX_BODY
    assert answer.status == 200


@pytest.mark.parametrize("excess", [1, 1_000_000])
async def test_a_body_over_the_limit_is_refused_when_its_length_is_said(server, excess):
    answer = await post(server.url, b"x" * (MAX_BODY + excess))

    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize("excess", [1, 1_000_000])
@pytest.mark.parametrize("size", [1_000, 10_000_000])
async def test_a_body_over_the_limit_is_refused_when_it_comes_in_chunks(
    server, excess, size
):
    async with connected(server.url) as wire:
        await wire.send(chunked(b"x" * (MAX_BODY + excess), size))
        answer = await wire.answer()

    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_chunked_body_over_the_limit_is_refused_in_one_packet(hurried):
    async with connected(hurried.url) as wire:
        await wire.send(chunked(b"x" * 5_000_000, 5_000_000))
        answer = await wire.answer()

    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_an_honest_length_that_is_too_large_is_refused_without_the_body(hurried):
    async with connected(hurried.url) as wire:
        await wire.send(request(b"", {}, length=10**15))
        answer = await wire.answer()

    assert answer.status in (408, 413)


async def test_many_small_chunks_make_one_body(server, batch):
    body = event(batch)

    async with connected(server.url) as wire:
        await wire.send(chunked(body, 1))
        answer = await wire.answer()

    assert answer.status == 200
    [stored] = await events(server, batch)
    shown = await output(server, "events", "show", stored["id"])
    assert shown["body"].encode() == body


# -- time


async def test_a_client_that_sends_nothing_is_let_go(hurried):
    async with connected(hurried.url) as wire:
        answer = await wire.answer()

        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await wire.rest() == b""


async def drip(wire: Any, data: bytes, pause_s: float = 0.02) -> None:
    """Send byte by byte until the other side has had enough."""
    try:
        for i in range(len(data)):
            await wire.send(data[i : i + 1])
            await asyncio.sleep(pause_s)  # being slow is what this is about
    except ConnectionError:
        pass


@pytest.mark.parametrize("offset", [3, 200])
async def test_a_client_that_is_slow_is_let_go(hurried, batch, offset):
    sent = request(event(batch, padding="x" * 1000))

    async with connected(hurried.url) as wire:
        await wire.send(sent[:offset])
        dripping = asyncio.create_task(drip(wire, sent[offset:]))
        answer = await wire.answer()
        await wire.rest()
        dripping.cancel()

    assert (answer.status, answer.code) == (408, "request_timeout")
    assert await events(hurried, batch) == []


async def test_a_second_request_that_stays_unfinished_is_let_go(hurried, batch):
    async with connected(hurried.url) as wire:
        await wire.send(request(event(batch)))
        first = await wire.answer()
        await wire.send(b"POST ")
        second = await wire.answer()

    assert (first.status, second.status) == (200, 408)


async def test_an_idle_connection_between_requests_is_kept(hurried, batch):
    async with connected(hurried.url) as wire:
        await wire.send(request(event(batch)))
        first = await wire.answer()
        await asyncio.sleep(1.5)  # longer than any of the two limits
        await wire.send(request(event(batch)))
        second = await wire.answer()

    assert (first.json["status"], second.json["status"]) == ("accepted", "duplicate")


async def test_headers_without_end_are_refused(server):
    async with connected(server.url) as wire:
        await wire.send(b"POST /webhook/sora2 HTTP/1.1\r\nhost: a\r\n")
        answering = asyncio.create_task(wire.answer())
        for number in range(1_000):
            if answering.done():
                break
            await wire.send(b"x-%d: %s\r\n" % (number, b"y" * 1_000))
            await asyncio.sleep(0.001)
        answer = await answering

    assert (answer.status, answer.code) == (431, "headers_too_large")


# -- methods, paths, connections


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_another_method_is_told_what_the_address_is_for(server, method):
    async with connected(server.url) as wire:
        await wire.send(request(method=method, headers={}))
        answer = await wire.answer(bodyless=method == "HEAD")
        await wire.send(request(method="GET", headers={}, path="/healthz"))
        next_answer = await wire.answer()

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        assert answer.code == "method_not_allowed"
        message = answer.json["error"]["message"]
        assert "'sora2'" in message
        assert "register it with the provider" in message
    assert next_answer.status == 200


@pytest.mark.parametrize("path", ["/", "/webhook", PATH + "/", "/%00", "/webhook//x"])
async def test_a_path_that_is_nobodys_is_not_found(server, path):
    answer = await post(server.url, b"{}", path=path)

    assert (answer.status, answer.code) == (404, "not_found")


async def test_what_is_not_http_is_refused(server):
    async with connected(server.url) as wire:
        await wire.send(b"\x16\x03\x01 hello\r\n\r\n")
        said = await wire.rest()

    assert b" 400 " in said


async def test_a_request_with_two_lengths_is_refused(server, batch):
    body = event(batch)
    sent = request(body).replace(
        b"content-length", b"transfer-encoding: chunked\r\ncontent-length"
    )

    async with connected(server.url) as wire:
        await wire.send(sent)
        said = await wire.rest()

    assert b" 400 " in said
    assert await events(server, batch) == []


async def test_requests_may_follow_each_other_without_waiting(server, batch):
    bodies = [event(batch, f"batch.number{n}") for n in range(20)]

    async with connected(server.url) as wire:
        await wire.send(b"".join(map(request, bodies)))
        answers = [await wire.answer() for _ in bodies]

    assert [a.json["status"] for a in answers] == ["accepted"] * 20
    ids = {a.json["id"] for a in answers}
    assert {stored["id"] for stored in await events(server, batch)} == ids
    assert len(ids) == 20


async def test_a_refusal_leaves_the_connection_usable(server, batch):
    body = event(batch)

    async with connected(server.url) as wire:
        await wire.send(request(body, {}) + request(b"{") + request(body))
        statuses = [(await wire.answer()).status for _ in range(3)]

    assert statuses == [401, 400, 200]


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(server, batch):
    sent = request(event(batch))

    async with connected(server.url) as wire:
        await wire.send(sent[:-10])
    answer = await post(server.url, event(batch, "batch.running"))

    assert answer.status == 200
    assert len(await events(server, batch)) == 1


# -- repeats


async def test_the_same_event_again_is_answered_with_the_same_id(server, batch):
    first = await post(server.url, event(batch))
    second = await post(server.url, event(batch))

    assert first.json["status"] == "accepted"
    assert second.json == {"status": "duplicate", "id": first.json["id"]}
    shown = await output(server, "events", "show", first.json["id"])
    assert shown["variants"] == []


@pytest.mark.parametrize(
    ("first", "then", "kind"),
    [
        (event, lambda b: event(b, summary={"succeeded": 10}), "conflict"),
        (flat, event, "supplement"),
        (event, flat, "repeat"),
        (event, lambda b: event(b, note="hello"), "repeat"),
        (
            event,
            lambda b: event(b, items=[{"video_url": "https://a.test/v"}]),
            "supplement",
        ),
    ],
    ids=["other facts", "documented after flat", "flat after", "other words", "a link"],
)
async def test_a_repeat_with_another_body_is_kept_beside_it(
    server, batch, first, then, kind
):
    original = await post(server.url, first(batch))
    again = await post(server.url, then(batch))

    assert again.json == {"status": "duplicate", "id": original.json["id"]}
    shown = await output(server, "events", "show", original.json["id"])
    assert [variant["kind"] for variant in shown["variants"]] == [kind]
    assert shown["variants"][0]["body"].encode() == then(batch)
    assert shown["body"].encode() == first(batch)


async def test_two_hundred_at_once_make_one_event(server, batch):
    body = event(batch)

    answers = await asyncio.gather(*(post(server.url, body) for _ in range(200)))

    words = sorted(answer.json["status"] for answer in answers)
    assert words == ["accepted"] + ["duplicate"] * 199
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(await events(server, batch)) == 1


async def test_neither_secrets_nor_signatures_are_shown_anywhere(server, batch):
    body = event(batch)
    forged = digest(body, "forged")
    accepted = await post(server.url, body, signed(body) | as_sent(body))
    refused = await post(server.url, body + b" ", {"x-webhook-signature": forged})
    await rejected(server, body + b" ")

    said = [accepted.body, refused.body, "\n".join(server.raw).encode()]
    newest = await output(server, "rejections", "list", "--limit", "1")
    for arguments in (
        ("events", "list"),
        ("events", "show", accepted.json["id"]),
        ("explain", accepted.json["id"]),
        ("rejections", "list"),
        ("rejections", "show", newest[0]["id"]),
        ("check",),
        ("status",),
    ):
        for form in ([], ["--json"]):
            _, out, err = await command(server.folder, *arguments, *form)
            said += [out.encode(), err.encode()]

    everything = b"".join(said).decode()
    for hidden in (digest(body), forged, "a secret for tests", OTHER_SECRET):
        assert hidden not in everything
    assert '"x-webhook-signature": "***"' in everything
