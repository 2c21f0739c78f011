"""Being the provider: one webhook as it would be, wrong on purpose, or thousands."""

import asyncio
import json
import os
import pty
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import pytest
from aiohttp import web

from receiver.cli.posting import Answer, by_answer, latency
from receiver.cli.shots import Shots, changed
from receiver.models import Secret
from receiver.providers.sending import CannotSign, outgoing, spoiled
from receiver.settings import Source
from tests import making
from tests.serving import SECRET, config

SORA2 = Source("sora2", provider="sora2", secrets=(Secret(SECRET),))


def url(place) -> tuple[str, str]:
    return ("--url", f"{place.server.url}/webhook/sora2")


@asynccontextmanager
async def answering(times: int) -> AsyncIterator[tuple[str, list[str]]]:
    """Something that answers 200 so often, and then hangs up; the lines it was asked."""
    lines: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.decode().partition("\r\n")[0])
        if len(lines) <= times:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n")
            writer.write(b"connection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/", lines


def put(body: object, *changes: tuple[str, str]) -> object:
    return json.loads(changed(json.dumps(body).encode(), changes))


# -- one


async def test_the_samples_are_listed_with_what_they_are(alone):
    out, _ = await alone.run("send", "sora2", "--list")
    found = await alone.json("send", "sora2", "--list")

    assert "batch.refunded" in out
    assert {
        "sample": "batch.running",
        "type": "batch.running",
        "state": "running",
        "final": False,
    } in found


async def test_a_body_is_changed_before_it_is_signed(place):
    out, _ = await place.run(
        *("send", "sora2", *url(place), "--subject", "b1"),
        *("--set", "summary.total=7", "--set", "note.by=me {{subject}}"),
    )
    event = await place.json("events", "show", out.split()[2])

    data = json.loads(event["body"])
    assert data["batch_id"] == "b1"
    assert data["summary"]["total"] == 7
    assert data["note"] == {"by": "me b1"}


async def test_a_file_is_sent_byte_for_byte_unless_there_is_something_to_fill_in(
    place,
):
    exact = b'{"event" : "batch.running",\n "batch_id":"a"}'
    (place.folder / "exact.json").write_bytes(exact)
    (place.folder / "open.json").write_text(
        '{"event":"batch.running","batch_id":"{{subject}}"}'
    )

    first, _ = await place.run("send", "sora2", "--file", "exact.json", *url(place))
    more = await place.json(
        "send", "sora2", "--file", "open.json", "--count", "3", *url(place)
    )
    event = await place.json("events", "show", first.split()[2])

    assert event["body"] == exact.decode()
    assert [(a["answer"], a["count"]) for a in more["answers"]] == [("accepted", 3)]


async def test_a_wrong_signature_is_right_to_be_refused(place):
    refused, _ = await place.run("send", "sora2", "--bad-signature", *url(place))
    accepting = web.Response(text='{"status":"accepted"}')

    async def respond(_):
        return accepting

    place.target.respond = respond
    taken, _ = await place.run(
        "send", "sora2", "--bad-signature", "--url", place.target.url, code=1
    )

    assert refused.startswith("401 signature_mismatch")
    assert taken.startswith("200 accepted")


async def test_trouble_is_not_the_refusal_that_a_wrong_signature_wants(alone):
    async def respond(_):
        return web.Response(status=503)

    alone.target.respond = respond

    await alone.run(
        "send", "sora2", "--bad-signature", "--url", alone.target.url, code=1
    )


async def test_an_old_request_is_made_and_signed_in_the_past(tmp_path, place):
    toml = place.folder / "receiver.toml"
    toml.write_text(config(source='tolerance = "5m"'))
    place.server.process.send_signal(signal.SIGHUP)
    await place.server.line("reload.done")

    young, _ = await place.run("send", "sora2", "--age", "4m", *url(place))
    old, _ = await place.run("send", "sora2", "--age", "1h30m", *url(place), code=1)

    assert young.startswith("200 accepted")
    assert old.startswith("401 timestamp_out_of_range the timestamp is 54")


async def test_another_key_signs_instead_of_the_sources(place, monkeypatch):
    given, _ = await place.run("send", "sora2", "--key", "x", *url(place), code=1)
    monkeypatch.setenv("RECEIVER_SEND_KEY", "x")
    out_of_the_environment, _ = await place.run("send", "sora2", *url(place), code=1)
    monkeypatch.setenv("RECEIVER_SEND_KEY", SECRET)
    right, _ = await place.run("send", "sora2", *url(place))

    assert given.startswith("401 signature_mismatch")
    assert out_of_the_environment.startswith("401 signature_mismatch")
    assert right.startswith("200 accepted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--unsigned", "--bad-signature"), "either --unsigned or --bad-signature"),
        (("--repeat-same",), "--repeat-same needs --count"),
        (("--count", "0"), "0 is not in the range"),
        (("--concurrency", "0"), "0 is not in the range"),
        (("--age", "old"), "'old' is no duration"),
        (("--set", "nothing"), "write PATH=VALUE"),
        (("--set", "=1"), "write PATH=VALUE"),
        (("--set", "items.zz=1"), "there is no 'zz' where that leads"),
        (("--url", "hooks.example.com"), "cannot be posted to"),
        (("--url", "http://a:99999/"), "cannot be posted to"),
    ],
)
async def test_what_cannot_be_sent_is_said_before_anything_is(alone, arguments, words):
    _, err = await alone.run("send", "sora2", *arguments, code=2)

    assert words in err
    assert not alone.target.seen


async def test_a_token_is_added_to_the_address_and_not_shown(alone):
    toml = alone.folder / "receiver.toml"
    toml.write_text(config(source='token = "t0ken"'))

    async with answering(1) as (address, lines):
        await alone.run("send", "sora2", "--url", f"{address}a?b=c")
    _, err = await alone.run("send", "sora2", "--url", address, code=1)

    assert lines == ["POST /a?b=c&token=t0ken HTTP/1.1"]
    assert "cannot be reached" in err
    assert "t0ken" not in err


# -- many


async def test_many_are_events_of_their_own_and_what_they_took_is_told(place):
    found = await place.json(
        "send", "sora2", "--count", "50", "--concurrency", "5", *url(place)
    )
    out, err = await place.run("send", "sora2", "--count", "5", *url(place))
    listed = await place.json("events", "list", "--limit", "100")

    assert (found["asked"], found["answered"]) == (50, 50)
    assert found["per_second"] > 0
    [kind] = found["answers"]
    assert (kind["status_code"], kind["answer"], kind["count"]) == (200, "accepted", 50)
    assert 0 < kind["p50_ms"] <= kind["p90_ms"] <= kind["p99_ms"] <= kind["max_ms"]
    assert len({event["subject"] for event in listed}) == 55
    assert "P99" in out
    assert "5 in " in out
    assert err == ""


async def test_the_same_event_again_and_again_is_a_duplicate(place):
    found = await place.json(
        "send", "sora2", "--count", "10", "--repeat-same", *url(place)
    )
    named = await place.json(
        "send", "sora2", "--count", "2", "--subject", "b", *url(place)
    )
    listed = await place.json("events", "list")

    counts = {kind["answer"]: kind["count"] for kind in found["answers"]}
    assert counts == {"accepted": 1, "duplicate": 9}
    assert found["all"]["count"] == 10
    assert named["answers"][0]["count"] == 2
    assert {event["subject"] for event in listed} >= {"b-1", "b-2"}


async def test_of_many_one_that_is_refused_is_a_failure(alone):
    answers = iter([200, 200, 503, 200])

    async def respond(_):
        return web.Response(status=next(answers))

    alone.target.respond = respond

    found = await alone.json(
        *("send", "sora2", "--count", "4", "--url", alone.target.url), code=1
    )

    counts = {kind["status_code"]: kind["count"] for kind in found["answers"]}
    assert counts == {200: 3, 503: 1}


async def test_where_nobody_listens_many_are_not_tried(alone):
    _, err = await alone.run(
        *("send", "sora2", "--count", "1000000", "--url", "http://127.0.0.1:9/"), code=1
    )

    assert "is `receiver serve` running?" in err


async def test_a_connection_that_breaks_is_an_answer_of_its_own(alone):
    async with answering(1) as (address, _):
        found = await alone.json(
            *("send", "sora2", "--count", "2", "--concurrency", "1"),
            *("--url", address),
            code=1,
        )

    counts = {kind["status_code"]: kind["count"] for kind in found["answers"]}
    assert counts == {200: 1, None: 1}


async def test_an_interrupt_tells_how_it_went_so_far(alone):
    arrived = asyncio.Event()

    async def respond(_):
        if len(alone.target.seen) > 20:
            arrived.set()
        return web.Response()

    alone.target.respond = respond
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "send", "sora2"),
        *("--count", "1000000", "--json", "--url", alone.target.url),
        cwd=alone.folder,
        stdout=asyncio.subprocess.PIPE,
    )
    await arrived.wait()
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()

    assert process.returncode == 130
    assert 20 <= json.loads(out)["answered"] < 1_000_000


async def test_on_a_terminal_there_is_a_progress_bar(alone):
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "send", "sora2"),
        *("--count", "20", "--url", alone.target.url),
        cwd=alone.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    out, _ = await process.communicate()
    shown = os.read(ours, 100_000).decode()
    os.close(ours)

    assert process.returncode == 0
    assert "sending" in shown
    assert "20 in " in out.decode()


# -- parts


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        ({"a": 1}, [("a", "2")], {"a": 2}),
        ({"a": 1, "b": 2}, [("a", "x")], {"a": "x", "b": 2}),
        ({}, [("a.b.c", "true")], {"a": {"b": {"c": True}}}),
        ({"a": [1, {"b": 2}]}, [("a.1.b", "null")], {"a": [1, {"b": None}]}),
        ({"a": []}, [("a.0.b", "1"), ("a.1", "[2]")], {"a": [{"b": 1}, [2]]}),
        ([1, 2], [("1", '"2"')], [1, "2"]),
        ({"0": 1}, [("0", "2")], {"0": 2}),
        ({}, [("a", "{not json"), ("b", "NaN"), ("c", "")], {"a": "{not json", "b": "NaN", "c": ""}),
        ({}, [("", "1")], {"": 1}),
    ],
)  # fmt: skip
def test_a_change_is_put_where_its_path_leads(body, changes, expected):
    assert put(body, *changes) == expected


@pytest.mark.parametrize("path", ["a.b", "list.2", "list.-1", "list.x", "list.0.x"])
def test_a_path_that_leads_nowhere_is_said(path):
    with pytest.raises(click.BadParameter, match="where that leads"):
        put({"a": 1, "list": [5]}, (path, "1"))


def test_only_json_can_be_changed():
    with pytest.raises(click.BadParameter, match="needs a JSON body"):
        changed(b"text", [("a", "1")])


def test_what_carries_no_signature_cannot_have_a_wrong_one():
    unsecured = making.provider("sora2", allow_unsigned=True)
    sent = outgoing(unsecured, b"{}", making.NOW)

    with pytest.raises(CannotSign, match="carry no signature"):
        spoiled(unsecured, sent)


def test_a_wrong_signature_is_wrong_in_what_counts():
    provider = making.provider("kie", "k")
    sent = outgoing(provider, b'{"taskId":"t"}', making.NOW)

    wrong = spoiled(provider, sent).headers["x-webhook-signature"]

    right = sent.headers["x-webhook-signature"]
    assert len(b64encode(b"x" * 32)) == len(right)
    assert wrong[0] != right[0]
    assert wrong[1:] == right[1:]


def test_the_same_event_has_the_same_bytes_and_others_have_not():
    same, others = (
        Shots(SORA2, "batch.completed", same=True),
        Shots(SORA2, "batch.completed", several=True),
    )

    assert same.make(0).body == same.make(1).body
    assert others.make(0).body != others.make(1).body


def test_percentiles_are_times_that_were_measured():
    hundred = latency([float(ms) for ms in range(1, 101)])
    one = latency([7.0])

    assert (hundred.p50_ms, hundred.p90_ms, hundred.p99_ms) == (50, 90, 99)
    assert (hundred.count, hundred.max_ms) == (100, 100)
    assert (one.p50_ms, one.p99_ms, one.max_ms) == (7, 7, 7)


def test_answers_are_counted_by_what_they_say():
    answers = [
        Answer(200, b'{"status":"received","outcome":"accepted"}', 1),
        Answer(200, b'{"status":"accepted","id":"evt_1"}', 2),
        Answer(401, b'{"error":{"code":"token_missing","message":"m"}}', 3),
        Answer(None, b"", 4, "no answer in time"),
    ]

    found = {kind: times.count for kind, times in by_answer(answers).items()}

    assert found == {
        (200, "accepted"): 2,
        (401, "token_missing"): 1,
        (None, "no answer in time"): 1,
    }
    assert [(a.ok, a.refused) for a in answers] == [
        *((True, False), (True, False), (False, True), (False, False))
    ]
