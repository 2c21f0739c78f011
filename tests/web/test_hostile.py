"""Clients that want to hold, fill or stop the receiver, and have no secret for it."""

import asyncio
import json
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.serving import Serving, command, config, serving
from tests.web.wire import (
    PATH,
    Wire,
    chunked,
    connected,
    digest,
    event,
    post,
    request,
    signed,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

RUBBISH = b"\x16\x03\x01\x02\x00\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /webhook/sora2 HTTP/1.1\r\nhost: x\r\n"
MEGABYTE = 1024 * 1024
MAX_WAITING = 2_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A server whose limits of time and memory are soon reached."""
    limits = 'header_timeout = "1s"\nbody_timeout = "2s"\n'
    limits += f"max_waiting_bytes = {MAX_WAITING}"
    folder = tmp_path_factory.mktemp("hasty")
    async with serving(folder, config(server=limits)) as running:
        await post(running.url, event("first"))
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A server that waits for a body for longer than any test does."""
    limits = f'max_waiting_bytes = {MAX_WAITING}\nbody_timeout = "60s"'
    folder = tmp_path_factory.mktemp("patient")
    async with serving(folder, config(server=limits)) as running:
        yield running


def memory(server: Serving) -> int:
    """Bytes of it that are in memory now."""
    text = Path(f"/proc/{server.process.pid}/statm").read_text()
    return int(text.split()[1]) * resource.getpagesize()


async def pour(wire: Wire, data: bytes, times: int, timeout: float = 10) -> bool:
    """Send it again and again; whether the other side took all of it."""
    try:
        async with asyncio.timeout(timeout):
            for _ in range(times):
                await wire.send(data)
    except (ConnectionError, TimeoutError):
        return False
    return True


async def rejections(server: Serving) -> list[dict[str, Any]]:
    code, out, err = await command(server.folder, "rejections", "list", "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


# -- connections that stay


@pytest.mark.parametrize("sent", [b"\r\n", b"\r\n\r\n\r\n"])
async def test_empty_lines_do_not_keep_a_connection(hasty, sent):
    async with connected(hasty.url) as wire:
        await wire.send(HEALTH)
        await wire.answer()
        await wire.send(sent)

        assert b" 200 " not in await wire.rest(timeout=5)


async def test_empty_lines_one_by_one_do_not_keep_a_connection(hasty):
    async with connected(hasty.url) as wire:
        await wire.send(HEALTH)
        await wire.answer()

        async def drip() -> None:
            while await pour(wire, b"\r\n", 1):  # noqa: ASYNC110 (being slow is what this is about)
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        await wire.rest(timeout=5)
        dripping.cancel()


async def test_a_client_that_never_reads_is_let_go(hasty):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        host, port = hasty.url.removeprefix("http://").split(":")
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        metrics = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"

        wire, times = Wire(sock), 0
        async with asyncio.timeout(60):
            while await pour(wire, metrics * 8, 1):
                times += 1
                await asyncio.sleep(0.02)  # what is sent is not too much at once

    assert times > 30


# -- memory


async def test_slow_large_bodies_do_not_keep_small_ones_out(patient):
    padding = "x" * (MAX_WAITING - len(event("bat_slow", padding="")))
    large = request(event("bat_slow", padding=padding))  # nothing else fits beside it

    forged = {"x-sora2-signature": "forged"}

    other = None
    while other is None or other.status == 401:  # before all of the slow one was read
        async with connected(patient.url) as slow:
            await slow.send(large[:-10])
            for _ in range(50):  # the server reads on between these
                await post(patient.url, b"")
            other = await post(patient.url, b"y" * 100_000, forged)
            small = [await post(patient.url, event(f"bat_{n}")) for n in range(5)]
            await slow.send(large[-10:])
            answer = await slow.answer()

    assert (other.status, other.code) == (503, "busy")
    assert [a.status for a in small] == [200] * 5
    assert answer.status == 200


@pytest.mark.parametrize("length", [b"content-length: 200000", None])
async def test_a_large_body_without_a_signature_is_not_waited_for(patient, length):
    framing = length or b"transfer-encoding: chunked"
    beginning = b"x" * 100_000
    sent = beginning if length else b"186a0\r\n" + beginning

    async with connected(patient.url) as wire:
        await wire.send(HEAD + framing + b"\r\n\r\n" + sent)
        answer = await wire.answer()

    assert (answer.status, answer.code) == (401, "signature_missing")


async def test_a_large_body_without_the_token_is_not_waited_for(tmp_path):
    body = event("bat_1", padding="x" * 200_000)
    async with serving(tmp_path, config(source='token = "t"')) as server:
        async with connected(server.url) as wire:
            await wire.send(request(body)[:150_000])
            answer = await wire.answer()
            await wire.send(
                request(body)[150_000:] + request(body, path=PATH + "?token=t")
            )
            accepted = await wire.answer()
        async with asyncio.timeout(60):
            while not (kept := await rejections(server)):
                pass

    assert (answer.status, answer.code) == (401, "token_missing")
    assert accepted.status == 200
    assert kept[0]["body_bytes"] == len(body)


async def test_a_signature_after_the_body_does_not_count(hasty):
    body = event("bat_trailer")
    trailer = f"x-sora2-signature: sha256={digest(body)}".encode()
    sent = HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (
        len(body),
        body,
    )

    async with connected(hasty.url) as wire:
        await wire.send(sent + trailer + b"\r\n\r\n")
        answer = await wire.answer()

    assert (answer.status, answer.code) == (401, "signature_missing")


@pytest.mark.parametrize("line", [b"t: " + b"z" * 20 + b"\r\n", b"z" * 20])
async def test_trailers_have_an_end(hasty, line):
    before = memory(hasty)

    async with connected(hasty.url) as wire:
        await wire.send(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: ")
        took_all = await pour(wire, line * 3_000, 1_000)
        growth = memory(hasty) - before

    assert not took_all
    assert growth < 16 * MEGABYTE


async def test_requests_that_do_not_wait_for_answers_do_not_fill_the_memory(hasty):
    before = memory(hasty)

    async with connected(hasty.url) as wire:
        await pour(wire, b"GET /x HTTP/1.1\r\n\r\n" * 50_000, 8, timeout=3)
        growth = memory(hasty) - before
        said = await wire.rest()

    assert growth < 16 * MEGABYTE
    assert b" 500 " not in said


@pytest.mark.parametrize(
    "headers",
    [
        b"a: " + b"x" * 120_000 + b"\r\n",
        b"a: b\r\n" * 12_000,
        b"a:" + b"b" * 100 + b"\r\n" + b"c: d\r\n" * 120,
    ],
    ids=["long", "many", "a few too many"],
)
async def test_headers_that_come_at_once_have_the_same_limit(hasty, headers):
    async with connected(hasty.url) as wire:
        await wire.send(HEAD + headers + b"content-length: 1\r\n\r\nx")
        answer = await wire.answer()

    assert (answer.status, answer.code) == (431, "headers_too_large")


async def test_the_headers_of_refused_requests_are_not_kept_whole(hasty):
    headers = {f"h{n}": "z" * 3_000 for n in range(20)}
    body = b"y" * 1_717

    answer = await post(hasty.url, body, headers)

    assert answer.status == 401
    async with asyncio.timeout(60):
        while not (
            kept := [r for r in await rejections(hasty) if r["body_bytes"] == 1_717]
        ):
            pass
    assert len(json.dumps(kept[0]["headers"])) < 20_000


# -- what follows on the same connection


@pytest.mark.parametrize("after", [b"POST /webhook/sora2 HT", b"\x00 no\r\n\r\n"])
async def test_what_follows_does_not_take_the_place_of_an_answer(hasty, after):
    body = event(f"bat_{len(after)}")
    with sqlite3.connect(hasty.folder / "receiver.db", isolation_level=None) as store:
        store.execute("BEGIN IMMEDIATE")
        async with connected(hasty.url) as wire:
            await wire.send(request(body) + after)
            await asyncio.sleep(1.5)  # longer than headers may take
            store.execute("ROLLBACK")
            answer = await wire.answer()
            rest = await wire.rest(timeout=5)

    assert (answer.status, answer.json["status"]) == (200, "accepted")
    assert rest == b""


@pytest.mark.parametrize(
    "offer",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEA\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
    ],
)
@pytest.mark.parametrize("cut", [None, 100, -5])
@pytest.mark.parametrize("framed", [request, lambda body: chunked(body, 20)])
async def test_an_offer_to_upgrade_is_not_taken_up(hasty, offer, cut, framed):
    body = event(f"bat_{digest(offer + repr((cut, framed)).encode())[:8]}")
    sent = framed(body).replace(b"host:", offer + b"host:", 1)

    async with connected(hasty.url) as wire:
        await wire.send(sent[:cut])
        if cut is not None:
            await asyncio.sleep(0.05)  # so that it comes in two reads
            await wire.send(sent[cut:])
        first = await wire.answer()
        await wire.send(sent.replace(body, body) + HEALTH)
        again, health = await wire.answer(), await wire.answer()

    assert (first.status, first.json["status"]) == (200, "accepted")
    assert again.json == {"status": "duplicate", "id": first.json["id"]}
    assert health.status == 200


# -- work


async def test_a_name_that_is_there_twice_is_found_at_once(hasty):
    names = b",".join(b'"%d":0' % number for number in range(100_000))
    body = b"{" + names + b',"z":0,"z":1}'

    answer = await post(hasty.url, body)

    assert (answer.status, answer.code) == (400, "malformed_body")
    assert b"'z' is there twice" in answer.body


async def test_many_parameters_are_not_parsed(hasty):
    answer = await post(hasty.url, event("bat_q"), path=PATH + "?" + "a&" * 20_000)

    assert (answer.status, answer.code) == (400, "malformed_query")


async def test_a_refusal_during_the_keeping_of_another_is_kept(tmp_path):
    async with serving(tmp_path, config()) as server:
        await post(server.url, event("bat_1"))
        with sqlite3.connect(tmp_path / "receiver.db", isolation_level=None) as store:
            store.execute("BEGIN IMMEDIATE")
            await post(server.url, b"1", {})
            await asyncio.sleep(0.6)  # it is being written
            await post(server.url, b"2", {})
            store.execute("ROLLBACK")
        async with asyncio.timeout(60):
            while len(await rejections(server)) < 2:
                pass
        await server.kill()


async def test_a_stop_does_not_wait_for_a_helper_that_hangs(tmp_path):
    large = event("bat_1", padding="x" * 100_000)
    async with serving(tmp_path, config(server='grace = "1s"')) as server:
        await post(server.url, large)
        os.kill(helper(server), signal.SIGSTOP)
        async with connected(server.url) as wire:
            await wire.send(request(large, signed(large)))
            await post(server.url, event("bat_2"))
            code = await server.stop()

    assert code == 0


def helper(server: Serving) -> int:
    """The process that understands large bodies."""
    pid = server.process.pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("no helper")


async def test_what_is_not_http_is_answered_each_time_and_logged_once_in_our_format(
    tmp_path: Path,
):
    async with serving(tmp_path, config()) as server:
        answers = []
        for _ in range(20):
            async with connected(server.url) as wire:
                await wire.send(RUBBISH)
                answers.append(await wire.answer())
        line = await server.line("request.malformed")
        await server.stop()

    assert {(one.status, one.code) for one in answers} == {(400, "malformed_request")}
    assert (line["count"], line["client"]) == (1, "127.0.0.1")
    assert [one for one in server.log if one["event"] == "request.malformed"] == [line]
    assert "" not in {one["event"] for one in server.log}
