"""HTTP: requests that are made of expressions, and what becomes of those that fail."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from receiver import clock
from receiver.destinations import Parcel
from receiver.destinations.computing import Uncomputable
from receiver.destinations.request import render
from receiver.models import Outcome, Result, Secret
from tests.destinations.http.making import built, http, settings
from tests.making import event, parcel
from tests.sinks import Seen, Sink

SIGNING = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
KEY = "a-routing-key-of-ours"


async def sent(target: Sink, given: Parcel, **table: Any) -> Seen:
    async with http(url=target.url + "/hooks", **table) as destination:
        outcome = await destination.send(given)
    assert outcome.ok, outcome
    return target.seen[-1]


async def failed(given: Parcel, **table: Any) -> Outcome:
    async with http(**table) as destination:
        outcome = await destination.send(given)
    assert outcome.result is Result.BAD_CONFIG
    assert outcome.permanent
    assert not outcome.pause
    return outcome


# -- what is sent


async def test_a_map_becomes_json(target):
    given = parcel(event({"id": 7, "who": "Zoë", "none": None}))
    body = "{'id': data.id, 'text': 'for ' + data.who, 'at': event.received_at}"

    seen = await sent(target, given, body=body)

    assert seen.headers["content-type"] == "application/json"
    assert seen.body.decode() == (
        '{"at":"2026-01-24T10:02:07.000Z","id":7,"text":"for Zoë"}'
    )


async def test_a_list_becomes_json(target):
    seen = await sent(target, parcel(), body="[event.type, 1, null]")

    assert seen.body == b'["batch.completed",1,null]'


async def test_a_text_is_sent_as_it_is(target):
    seen = await sent(target, parcel(event({"a": "é\n"})), body="data.a")

    assert seen.headers["content-type"] == "text/plain; charset=utf-8"
    assert seen.body == "é\n".encode()


async def test_null_sends_no_body(target):
    seen = await sent(target, parcel(), body="null", method="DELETE")

    assert (seen.method, seen.body) == ("DELETE", b"")
    assert (
        "content-type" not in seen.headers or "json" not in seen.headers["content-type"]
    )


@pytest.mark.parametrize("method", ["GET", "POST", "put", "Patch", "DELETE", "OPTIONS"])
async def test_a_method_is_meant_as_it_is_written(target, method):
    seen = await sent(target, parcel(), method=method)

    assert seen.method == method.upper()
    assert seen.body == (b"" if method == "GET" else b"{}")


async def test_a_method_can_be_computed(target):
    method = "event.final ? 'PUT' : 'POST'"

    seen = await sent(target, parcel(), method=method)

    assert seen.method == "PUT"


async def test_an_address_can_be_computed(target):
    url = "vars.base + '/for/' + data.id + '?try=' + string(delivery.attempt)"
    table = {"url": url, "vars": {"base": target.url}, "deny_private": False}

    async with http(**table) as destination:
        await destination.send(parcel(event({"id": "x"}), number=4))

    assert target.seen[-1].path == "/for/x?try=4"


async def test_headers_can_be_a_table(target):
    table = {"Authorization": f"Token {KEY}", "User-Agent": "us", "x-a": ""}

    seen = await sent(target, parcel(), headers=table)

    assert seen.headers["authorization"] == f"Token {KEY}"
    assert seen.headers["user-agent"] == "us"
    assert seen.headers["x-a"] == ""


async def test_headers_can_be_computed(target):
    headers = "{'X-Key': vars.key, 'X-Type': event.type, 'Content-Type': 'a/b'}"

    seen = await sent(target, parcel(), headers=headers, vars={"key": KEY})

    assert seen.headers["x-key"] == KEY
    assert seen.headers["x-type"] == "batch.completed"
    assert seen.headers["content-type"] == "a/b"


async def test_no_text_of_the_provider_can_add_a_header(target):
    given = parcel(event({"a": "x\r\nx-injected: 1"}))

    seen = await sent(target, given, headers="{'x-a': data.a}")

    assert "x-injected" not in seen.headers
    assert seen.headers["x-a"] == "x??x-injected: 1"


async def test_the_signature_is_over_the_bytes_that_are_sent(target):
    now = replace(parcel(event({"a": "é"})), now=clock.now())

    seen = await sent(target, now, body="{'b': data.a}", secrets=[SIGNING])

    assert seen.body == '{"b":"é"}'.encode()
    Webhook(SIGNING).verify(seen.body, dict(seen.headers))


async def test_links_to_results_are_there_once_the_event_was_read(target):
    given = parcel(event(result_urls=("https://a/1", "https://a/2")))

    seen = await sent(target, given, body="{'urls': event.result_urls}")

    assert json.loads(seen.body) == {"urls": ["https://a/1", "https://a/2"]}


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({}, False),
        ({"body": "event.result_urls"}, True),
        ({"url": "data.url"}, True),
        ({"headers": {"a": "b"}, "method": "PUT"}, False),
    ],
)
async def test_an_event_is_read_only_for_expressions(table, wanted):
    async with http(**table) as destination:
        assert destination.needs_reading is wanted


# -- large bodies


def large(**more: Any) -> dict[str, Any]:
    items = [{"n": n, "text": "é" * 100, "none": None} for n in range(3000)]
    return {"items": items, **more}


async def test_a_large_body_is_evaluated_in_another_process(target):
    data = large(id=1)
    given = parcel(event(data))
    table = {
        "url": target.url + "/a",
        "body": "{'id': data.id, 'all': data.items, 'key': vars.key}",
        "headers": "{'x-type': event.type}",
        "vars": {"key": KEY},
    }

    async with http(**table) as destination:
        first = await destination.send(given)
        second = await destination.send(given)
        pids = destination._computer._pool.pids

    assert (first.ok, second.ok) == (True, True)
    seen = target.seen[-1]
    assert json.loads(seen.body) == {"id": 1, "all": data["items"], "key": KEY}
    assert seen.headers["x-type"] == "batch.completed"
    assert len(pids) == 1
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


async def test_a_large_body_holds_up_nobody(target):
    pause = 0.0

    async def watch() -> None:
        nonlocal pause
        while True:
            before = clock.monotonic()
            await asyncio.sleep(0.001)
            pause = max(pause, clock.monotonic() - before)

    loops = "{'n': data.items.map(i, {'n': i.n, 't': i.text}).size()}"
    async with http(url=target.url, body=loops) as destination:
        watching = asyncio.create_task(watch())
        before = clock.monotonic()
        outcome = await destination.send(parcel(event(large())))
        took = clock.monotonic() - before
        watching.cancel()

    assert outcome.ok
    assert json.loads(target.seen[-1].body) == {"n": 3000}
    assert pause < took / 2


async def test_an_expression_that_fails_on_a_large_body_says_so():
    outcome = await failed(parcel(event(large())), body="data.nope")

    assert outcome.detail == '`body`: NOT_FOUND: Key not found in map : "nope"'


async def test_a_process_that_ends_is_replaced(target):
    given = parcel(event(large(id=2)))
    async with http(url=target.url, body="{'id': data.id}") as destination:
        pool = destination._computer._pool
        attempt = asyncio.create_task(destination.send(given))
        while not pool.pids:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.001)
        for worker in list(pool._workers):
            worker.child.kill()
        first = await attempt
        second = await destination.send(given)

    assert first.result is Result.ERROR
    assert not first.permanent
    assert "the process for expressions ended" in first.detail
    assert second.ok


# -- what cannot be sent


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"body": "data.nope"}, "`body`: NOT_FOUND: Key not found in map"),
        ({"body": "1"}, "`body`: gave a number, not a map, a list or a text"),
        ({"body": "true"}, "`body`: gave a boolean, not a map, a list or a text"),
        ({"body": "b'x'"}, "`body`: gave bytes, which JSON cannot hold"),
        ({"url": "data.url"}, "`url`: NOT_FOUND"),
        ({"url": "'ftp://' + vars.key"}, "`url`: gave no http:// or https:// address"),
        ({"url": "'https://'"}, "`url`: gave no http:// or https:// address"),
        ({"url": "data"}, "`url`: gave a map, not a text"),
        ({"method": "'FETCH'"}, "`method`: gave none of GET, HEAD,"),
        ({"method": "data"}, "`method`: gave a map, not a text"),
        ({"headers": "event.type"}, "`headers`: gave a text, not a map of texts"),
        ({"headers": "{'a': 1}"}, "`headers`: gave a number for 'a', not a text"),
        ({"headers": "{'a b': ''}"}, "`headers`: 'a b' is no header that can be set"),
        ({"headers": "{'Host': ''}"}, "`headers`: 'host' is no header that can be set"),
        ({"headers": "{'Webhook-Id': ''}"}, "'webhook-id' is no header"),
        ({"body": "int(vars.key)"}, "`body`: "),
        ({"body": "data[vars.key]"}, '`body`: NOT_FOUND: Key not found in map : "***"'),
    ],
)
async def test_what_cannot_be_sent_ends_the_delivery_and_names_the_setting(table, why):
    outcome = await failed(parcel(), **{"vars": {"key": KEY}, **table})

    assert why in outcome.detail
    assert KEY not in repr(outcome)


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        ({"body": "{'a': "}, "body", "line 1, column 7"),
        ({"body": "evnt.id"}, "body", "undeclared reference to 'evnt.id'"),
        ({"body": "vars.kee", "vars": {"key": KEY}}, "body", "vars.kee"),
        ({"headers": "{'a': event.nope}"}, "headers", "line 1, column 12"),
        ({"method": "FETCH"}, "method", "undeclared reference"),
        ({"url": "'https://' + event.nope"}, "url", "line 1, column 19"),
        ({"url": "htps://data.test/T0KEN"}, "url", "not an http:// or https://"),
        ({"url": "hooks.test/T0KEN"}, "url", "not an http:// or https://"),
        ({"vars": {"a-b": "x"}}, "vars.a-b", "is no name that CEL knows"),
        ({"headers": {"a b": "x"}}, "headers.a b", "is no name for a header"),
        ({"headers": {"Webhook-Id": "x"}}, "headers.Webhook-Id", "follows from"),
        ({"headers": {"a": "x\ny" + KEY}}, "headers.a", "a character that no header"),
        ({"headers": 1}, "here.headers", "expected"),
        ({"vars": {"a": 1}}, "here.vars.a", "expected text in quotes"),
    ],
)
def test_settings_that_cannot_work_are_problems(table, key, said):
    _, problems = built(**table)

    assert [problem.key for problem in problems] == [key]
    assert said in str(problems[0])
    assert KEY not in str(problems[0])
    assert "T0KEN" not in str(problems[0])


# -- what is shown


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ({}, "POST http://crm.test/..."),
        ({"method": "put"}, "PUT http://crm.test/..."),
        ({"url": "data.url"}, "POST (expression)"),
        ({"method": "'PUT'"}, "(expression) http://crm.test/..."),
    ],
)
def test_where_it_goes_is_described(table, shown):
    assert settings(**table).described() == shown


def test_settings_show_no_secret():
    table = {
        "vars": {"key": KEY},
        "headers": {"x-key": KEY},
        "body": f"'{KEY}'",
        "url": f"'https://{KEY}'",
    }

    assert KEY not in repr(settings(**table))


def test_a_request_can_be_shown_without_its_secrets():
    table = {
        "url": "'https://u:pw@' + data.host + '/' + vars.key",
        "vars": {"key": KEY, "quoted": 'a"b-secret'},
        "headers": {"x-key": KEY, "x-short": "ab", "x-bearer": f"Bearer {KEY}"},
        "body": "{'key': vars.key, 'q': vars.quoted, 'id': data.id, 'ab': 'cab'}",
    }
    request = render(settings(**table), parcel(event({"host": "crm.test", "id": 7})))

    shown = request.masked()

    assert shown.url == "https://crm.test/***"
    assert shown.headers["x-key"] == shown.headers["x-short"] == "***"
    assert json.loads(shown.body) == {"key": "***", "q": "***", "id": 7, "ab": "cab"}
    assert json.loads(request.body)["key"] == KEY
    assert KEY not in repr(request)
    assert KEY not in repr(shown)


def test_of_a_literal_address_only_the_host_is_shown():
    request = render(settings(url="https://a:b@crm.test/T0KEN?x=1"), parcel())

    assert request.masked().url == "https://crm.test/..."
    assert request.url == "https://a:b@crm.test/T0KEN?x=1"


def test_a_request_that_cannot_be_made_raises():
    with pytest.raises(Uncomputable, match="`body`: "):
        render(settings(body="data.nope"), parcel())


async def test_an_answer_that_repeats_a_secret_is_kept_without_it(target):
    async def echo(seen: Seen) -> web.StreamResponse:
        return web.Response(text=f"{seen.path} {seen.headers['x-key']} hello")

    target.respond = echo
    async with http(url=target.url + "/T0KEN", headers={"x-key": KEY}) as destination:
        outcome = await destination.send(parcel())

    assert outcome.response == "*** *** hello"
