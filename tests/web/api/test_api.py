"""The JSON API over a socket: who may use it, what it finds, what it changes."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.making import sample, signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import Seen
from tests.web.api.conftest import ADMIN, READ, Place, client

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

NOTHING = "0123456789abcdef"


# -- who may


async def test_without_a_token_nothing_is_told(shared: Place):
    async with client(shared.server.url, "") as nobody:
        answer = await nobody.get("/events")

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthorized"


async def tried(url: str, tokens: Sequence[str]) -> list[httpx.Response]:
    """What is answered to each of the tokens."""
    async with httpx.AsyncClient() as http:
        return [
            await http.get(
                f"{url}/api/v1/status",
                headers={b"authorization": b"Bearer " + token.encode()},
            )
            for token in tokens
        ]


@pytest.mark.parametrize("token", ["wrong", ADMIN[:-1], ADMIN + "x", READ.upper(), "é"])
async def test_a_wrong_token_is_refused(shared: Place, token: str):
    [refused] = await tried(shared.server.url, [token])

    assert refused.status_code == 401
    assert token not in refused.text


async def test_after_a_hundred_wrong_tokens_right_ones_wait_too(place: Place):
    refused = await tried(place.server.url, ["wrong"] * 100)
    [later, right] = await tried(place.server.url, ["another", ADMIN])
    async with httpx.AsyncClient() as browser:
        form = {"token": ADMIN}
        entering = await browser.post(f"{place.server.url}/ui/sign-in", data=form)
    code, _, _ = await command(place.server.folder, "destinations", "pause", "app")
    noted = await place.server.lines("api.refused", 100)

    assert {answer.status_code for answer in refused} == {401}
    assert (later.status_code, right.status_code) == (429, 429)
    assert right.json()["code"] == "too_many_wrong_tokens"
    assert 0 < int(right.headers["retry-after"]) <= 60
    assert entering.status_code == 303
    assert code == 0  # the socket beside the store is its owner's
    assert {line["client"] for line in noted} == {"127.0.0.1"}


async def test_who_gives_no_token_does_not_use_up_anybodys_attempts(shared: Place):
    async with client(shared.server.url, "") as nobody:
        answers = [(await nobody.get("/events")).status_code for _ in range(7)]

    assert answers == [401] * 7
    assert (await shared.get("/status")) is not None


async def test_a_token_that_may_be_guessed_is_warned_of_and_not_shown(tmp_path: Path):
    short, dull, good = "hunter2", "abababababababababab", "9f86d081884c7d659a2f"
    toml = config(server=f'admin_token = "{short}"\nread_tokens = ["{good}", "{dull}"]')
    async with serving(tmp_path, toml) as server:
        lines = await server.lines("config.warning", 2)
        log = "\n".join(server.raw)
    _, checked, _ = await command(tmp_path, "check")
    _, examined, _ = await command(tmp_path, "doctor", "--offline", "--json")

    keys = ["server.admin_token", "server.read_tokens[1]"]
    assert [line["key"] for line in lines] == keys
    found = [one["about"] for one in json.loads(examined)["findings"]]
    assert [key for key in keys if key in found and key in checked] == keys
    assert "server.read_tokens[0]" not in found
    for token in (short, dull, good):
        assert token not in log + checked + examined


async def test_a_read_token_sees_and_changes_nothing(shared: Place):
    seen = await shared.reader.get("/status")
    refused = await shared.reader.post("/destinations/app/pause", json={})
    status = await shared.get("/destinations/app")

    assert seen.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (403, "read_only")
    assert status["state"] == "active"


async def test_without_a_configured_token_the_api_is_off_and_says_how_to_turn_it_on(
    tmp_path: Path,
):
    async with serving(tmp_path, config()) as running, client(running.url, "x") as one:
        answer = await one.get("/status")

    assert (answer.status_code, answer.json()["code"]) == (401, "api_off")
    assert "admin_token" in answer.json()["detail"]


async def test_with_an_admin_port_the_public_one_has_only_webhooks_and_probes(
    tmp_path: Path,
):
    toml = config(server=f'admin_port = 0\nadmin_token = "{ADMIN}"')
    async with serving(tmp_path, toml) as running:
        ready = await running.line("receiver.ready")
        async with httpx.AsyncClient() as http:
            token = {"authorization": f"Bearer {ADMIN}"}
            public = [
                (await http.get(running.url + path, headers=token)).status_code
                for path in ("/api/v1/status", "/metrics", "/api/openapi.json", "/")
            ]
            alive = await http.get(f"{running.url}/healthz")
            private = [
                (await http.get(str(ready["admin"]) + path, headers=token)).status_code
                for path in ("/api/v1/status", "/metrics", "/healthz")
            ]

    assert public == [404, 404, 404, 404]
    assert alive.status_code == 200
    assert private == [200, 200, 200]


# -- looking


async def test_events_are_found_by_what_they_are(place: Place):
    asked: dict[str, dict[str, Any]] = {
        "all": {},
        "subject": {"subject": "bat_one"},
        "type": {"type": "batch.f*"},
        "state": {"state": "failed"},
        "text": {"text": "BAT_TWO"},
        "source": {"source": "nobody"},
        "since": {"since": "1h"},
        "until": {"until": "1h"},
    }
    first = await place.accepted(subject="bat_one")
    second = await place.accepted("batch.failed", subject="bat_two")
    found = {
        what: [event["id"] for event in (await place.get("/events", **query))["items"]]
        for what, query in asked.items()
    }
    key = (await place.get(f"/events/{first}"))["key"]
    by_key = await place.get("/events", key=key)

    assert found == {
        "all": [second, first],
        "subject": [first],
        "type": [second],
        "state": [second],
        "text": [second],
        "source": [],
        "since": [second, first],
        "until": [],
    }
    assert [event["id"] for event in by_key["items"]] == [first]


@pytest.mark.parametrize("query", [{}, {"subject": "bat_same"}, {"text": "batch"}])
async def test_pages_have_every_event_once(place: Place, query: dict[str, Any]):
    made = [await place.accepted(kind, "bat_same") for kind in KINDS]
    pages: list[list[str]] = []
    after: dict[str, Any] = {}
    while True:
        page = await place.get("/events", limit=2, **query, **after)
        pages.append([event["id"] for event in page["items"]])
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert [one for page in pages for one in page] == made[::-1]
    assert [len(page) for page in pages] == [2, 1]


KINDS = ("batch.created", "batch.running", "batch.completed")


async def test_an_event_is_shown_in_full_without_its_signature(place: Place):
    event_id = await place.accepted(subject="bat_shown")
    await place.delivered(event_id)
    shown = await place.get(f"/events/{event_id}")
    raw = await place.client.get(f"/events/{event_id}/body")

    assert json.loads(shown["body"])["batch_id"] == "bat_shown"
    assert raw.content == shown["body"].encode()
    assert raw.headers["content-disposition"].startswith("attachment")
    assert [
        value for name, value in shown["headers"].items() if "signature" in name
    ] == ["***"]
    assert [d["destination"] for d in shown["deliveries"]] == ["app"]


async def test_an_event_is_explained_and_previewed(place: Place):
    event_id = await place.accepted()
    explained = await place.get(f"/events/{event_id}/explain")
    preview = await place.get(f"/events/{event_id}/preview", destination="app")
    without = await place.get(f"/events/{event_id}/preview", code=400)

    assert explained["today_destinations"] == ["app"]
    assert [(one["route"], one["verdict"]) for one in explained["today"]] == [
        ("all", "matched")
    ]
    assert place.target.url in json.dumps(preview)
    assert without["detail"] == "destination is missing"


async def test_a_delivery_is_shown_with_its_attempts(place: Place):
    delivery_id = await place.delivered(await place.accepted())
    shown = await place.get(f"/deliveries/{delivery_id}")
    listed = await place.get("/deliveries", status="delivered", destination="app")

    assert shown["delivery"]["status"] == "delivered"
    assert [attempt["outcome"]["result"] for attempt in shown["attempts"]] == ["ok"]
    assert [d["id"] for d in listed["items"]] == [delivery_id]
    assert listed["items"][0]["type"] == "batch.completed"
    assert listed["items"][0]["last"]["result"] == "ok"
    assert listed["items"][0]["wait"] is shown["wait"] is None


async def test_a_delivery_that_waits_says_for_what(place: Place):
    await place.post("/destinations/app/pause", {"reason": "they are moving"})
    event_id = await place.accepted()

    [one] = (await place.get("/deliveries", event=event_id))["items"]
    shown = await place.get(f"/deliveries/{one['id']}")

    assert one["last"] is None
    assert one["wait"] == shown["wait"]
    assert (one["wait"]["waits_for"], one["wait"]["why"]) == (
        "resume",
        "they are moving",
    )


async def test_what_an_attempt_sent_is_shown_as_it_arrived(place: Place):
    async def busy(_: Seen) -> web.Response:
        return web.Response(status=503)

    place.target.respond = busy
    event_id = await place.accepted()
    delivery_id = await place.delivered(event_id, "pending")
    [arrived] = await place.target.wait_for(1)
    shown = (await place.get(f"/deliveries/{delivery_id}/sent"))["payload"]

    assert (shown["method"], shown["body"]) == ("POST", arrived.body.decode())
    assert shown["headers"]["webhook-id"] == event_id
    assert shown["headers"].items() <= arrived.headers.items()


async def test_what_cannot_be_made_once_more_is_said(place: Place):
    delivery_id = await place.delivered(await place.accepted())
    await place.post("/prune", {"bodies": "0s"})

    gone = await place.get(f"/deliveries/{delivery_id}/sent", code=409)
    never = await place.get(f"/deliveries/dlv_{NOTHING}/sent", code=404)

    assert "body" in gone["detail"]
    assert never["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        f"/events/evt_{NOTHING}",
        "/events/nonsense",
        f"/events/dlv_{NOTHING}",
        f"/deliveries/dlv_{NOTHING}",
        f"/replays/rpl_{NOTHING}",
        f"/rejections/rej_{NOTHING}",
        "/destinations/nobody",
        "/nothing",
    ],
)
async def test_what_is_not_there_is_a_problem_in_one_shape(shared: Place, path: str):
    answer = await shared.client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().keys() == {"type", "title", "status", "code", "detail"}


async def test_who_misses_a_path_or_its_method_is_told_where_to_look(shared: Place):
    nowhere = await shared.get("/evnets", code=404)
    never = await shared.client.delete("/events")

    assert "/api/openapi.json" in nowhere["detail"]
    assert never.status_code == 405
    assert "no DELETE" in never.json()["detail"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "--5"}, "limit"),
        ({"limit": "9" * 300}, "limit"),
        ({"since": "yesterday"}, "is no time"),
        ({"state": "done"}, "state"),
        ({"colour": "red"}, "there are: source"),
        ({"after": "evt_1"}, "after"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(
    shared: Place, query: dict[str, Any], said: str
):
    refused = await shared.get("/events", code=400, **query)

    assert refused["code"] == "invalid_parameter"
    assert said in refused["detail"]


async def test_a_number_that_no_entry_can_have_is_refused(shared: Place):
    refused = await shared.get("/audit", code=400, after=2**63)

    assert refused["code"] == "invalid_parameter"


# -- changing


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"ids": [NaN]}', "not JSON"),
        (b'{"ids": ["\\ud800"]}', "not JSON"),
        (b"[]", "must be object"),
        (b"{}", "ids"),
        (b'{"ids": []}', "at least 1"),
        (b'{"ids": ["x"]}', "pattern"),
        (b'{"ids": ["dlv_0123456789abcdef"], "more": 1}', "more"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(
    shared: Place, body: bytes, said: str
):
    answer = await shared.client.post("/deliveries/retry", content=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert said in answer.json()["detail"]


async def test_a_body_that_is_too_large_is_refused(shared: Place):
    answer = await shared.client.post("/deliveries/retry", content=b" " * 1_100_000)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_dead_delivery_is_retried_and_who_did_it_is_kept(place: Place):
    async def gone(_: Seen) -> web.Response:
        return web.Response(status=410)

    place.target.respond = gone
    event_id = await place.accepted()
    await place.server.line("destination.paused")
    [delivery] = (await place.get(f"/events/{event_id}"))["deliveries"]
    place.target.respond = None
    changed = await place.post("/deliveries/retry", {"ids": [delivery["id"]]})
    resumed = await place.post("/destinations/app/resume")
    await place.delivered(event_id)
    audit = (await place.get("/audit"))["items"]

    assert (resumed, changed) == ({"changed": True}, {"changed": 1})
    assert [(entry["what"], entry["who"]) for entry in audit] == [
        ("destination.resumed", "admin token"),
        ("deliveries.retried", "admin token"),
    ]


async def test_a_destination_is_tested(place: Place):
    made = await place.post("/destinations/app/test")

    assert made["outcome"]["result"] == "ok"
    assert await place.target.wait_for(1)


async def test_a_destination_says_its_pace(shared: Place):
    found = await shared.get("/destinations/app")

    assert found["pace"].keys() == {
        "concurrency",
        "max_rate",
        "ordering",
        "timeout_s",
        "max_attempts",
        "max_age_s",
    }
    assert (found["pace"]["concurrency"], found["pace"]["max_rate"]) == (8, None)


async def test_a_rejection_is_shown_and_verified_again(place: Place):
    sent = sample("batch.completed", "bat_refused")
    async with httpx.AsyncClient() as http:
        await http.post(
            f"{place.server.url}/webhook/sora2",
            content=sent,
            headers=dict(signed(sent, "another secret")),
        )
    found = await place.until("/rejections", lambda page: page["items"])
    rejection_id = found["items"][0]["id"]
    shown = await place.get(f"/rejections/{rejection_id}")
    raw = await place.client.get(f"/rejections/{rejection_id}/body")
    again = await place.post("/rejections/reverify", {"ids": [rejection_id]})

    assert (shown["code"], shown["source"]) == ("signature_mismatch", "sora2")
    assert raw.content == sent
    assert [result["status"] for result in again["results"]] == ["signature_mismatch"]


# -- replays


async def test_a_replay_by_filter_delivers_again_and_can_be_watched(place: Place):
    events = [await place.accepted() for _ in range(3)]
    await place.accepted("batch.failed")
    asked = {"where": {"type": "batch.completed"}, "to": ["spare"]}
    would = await place.post("/replays/try", asked)
    made = await place.post("/replays", asked, code=201)
    done = await place.until(
        f"/replays/{made['id']}", lambda one: one["state"] == "done"
    )
    listed = await place.get("/replays")
    found = await place.get("/deliveries", destination="spare")

    assert would == {
        "events": 3,
        "deliveries": 3,
        "destinations": {"spare": 3},
        "more": False,
    }
    assert (done["events"], done["deliveries"], done["progress"]) == (3, 3, 1.0)
    assert [replay["id"] for replay in listed["items"]] == [made["id"]]
    assert {d["event_id"] for d in found["items"]} == set(events)


async def test_a_replay_goes_on_after_a_kill_and_makes_each_delivery_once(
    tmp_path: Path,
):
    spare = 'type = "http"\nurl = "http://127.0.0.1:9/"'
    toml = config(
        destinations={"app": spare},
        routes='[[routes]]\nsource = "sora2"\nwhen = "false"\nto = ["app"]',
        server=f'admin_token = "{ADMIN}"',
    )
    asked = {"where": {"since": "1h"}, "to": ["app"]}
    async with (
        serving(tmp_path, toml) as running,
        client(running.url, ADMIN) as admin,
        httpx.AsyncClient() as http,
    ):
        await admin.post("/destinations/app/pause", json={})
        for number in range(300):
            sent = sample("batch.completed", f"bat_{number}")
            await http.post(
                f"{running.url}/webhook/sora2",
                content=sent,
                headers=dict(signed(sent, SECRET)),
            )
        made = (await admin.post("/replays", json=asked)).json()
        await running.kill()
    async with serving(tmp_path, toml) as running, client(running.url, ADMIN) as admin:
        if (await admin.get(f"/replays/{made['id']}")).json()["state"] == "running":
            await running.line("replay.ended", replay=made["id"])
        done: Any = (await admin.get(f"/replays/{made['id']}")).json()
        status = (await admin.get("/status", params={"ledger": "true"})).json()

    assert (done["state"], done["events"], done["deliveries"]) == ("done", 300, 300)
    assert status["ledger"]["difference"] == 0
    assert status["queues"][0]["pending"] == 300


async def test_a_replay_is_either_by_name_or_by_filter(shared: Place):
    event_id = await shared.accepted()
    both = {"events": [event_id], "where": {}}
    refused = [await shared.post("/replays", body, code=400) for body in ({}, both)]
    unknown = await shared.post("/replays", {"events": [f"evt_{NOTHING}"]}, code=404)

    assert {one["detail"] for one in refused} == {"give either events or where"}
    assert unknown["code"] == "not_found"


async def test_nobody_replays_everything_by_leaving_something_out(shared: Place):
    before = (await shared.get("/replays"))["items"]
    refused = [
        await shared.post(path, {"where": {}}, code=400)
        for path in ("/replays", "/replays/try")
    ]

    assert {one["code"] for one in refused} == {"invalid_body"}
    assert (await shared.get("/replays"))["items"] == before


@pytest.mark.parametrize("rate", ["0", "-1", "1e-300", "1e-9", "1e999", "NaN"])
async def test_a_replay_has_a_rate_that_comes_to_an_end(shared: Place, rate: str):
    body = f'{{"where": {{"since": "1h"}}, "per_second": {rate}}}'
    refused = await shared.client.post("/replays", content=body)
    listed = await shared.get("/replays")

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_body")
    assert not [one for one in listed["items"] if one["state"] == "running"]


async def test_nothing_is_moved_under_a_replay_there_is_not(shared: Place):
    event_id = await shared.accepted()
    delivery_id = await shared.delivered(event_id)
    asked = {"ids": [delivery_id], "to": "spare", "replay": f"rpl_{NOTHING}"}
    refused = await shared.post("/deliveries/move", asked, code=404)

    assert refused["detail"] == f"there is no replay rpl_{NOTHING}"


async def test_a_replay_that_is_done_cannot_be_cancelled(shared: Place):
    made = await shared.post(
        "/replays", {"events": [await shared.accepted()]}, code=201
    )
    await shared.until(f"/replays/{made['id']}", lambda one: one["state"] == "done")
    refused = await shared.post(f"/replays/{made['id']}/cancel", code=409)

    assert refused["detail"] == f"{made['id']} is done already"


# -- the stream


async def test_the_stream_has_every_event_and_goes_on_where_it_was_left(place: Place):
    first = await place.accepted()
    second = await place.accepted()
    async with place.client.stream("GET", "/stream", params={"after": first}) as live:
        third = await place.accepted()
        seen = await messages(live, 2)
    back = {"last-event-id": seen[0]["id"]}
    async with place.client.stream("GET", "/stream", headers=back) as live:
        again = await messages(live, 1)

    assert [message["id"] for message in seen] == [second, third]
    assert [message["id"] for message in again] == [third]
    assert json.loads(seen[0]["data"])["source"] == "sora2"


async def test_a_stream_to_send_on_has_signatures_and_bodies_but_not_for_readers(
    place: Place,
):
    asked = {"after": await place.accepted(), "raw": "true"}
    event_id = await place.accepted()
    body = (await place.client.get(f"/events/{event_id}/body")).content
    async with place.client.stream("GET", "/stream", params=asked) as live:
        [message] = await messages(live, 1)
    refused = await place.reader.get("/stream", params=asked)

    shown = json.loads(message["data"])
    signatures = [
        (shown["headers"][name], value)
        for name, value in shown["raw"]["headers"].items()
        if "signature" in name
    ]
    assert base64.b64decode(shown["raw"]["base64"]) == body
    assert [masked for masked, _ in signatures] == ["***"]
    assert all(len(kept) > 40 for _, kept in signatures)
    assert (refused.status_code, refused.json()["code"]) == (403, "read_only")


async def test_a_stream_says_how_far_it_looked_before_there_is_anything(place: Place):
    async with place.client.stream("GET", "/stream") as live:
        lines = live.aiter_lines()
        async with asyncio.timeout(60):
            said = [await anext(lines) for _ in range(3)]
    first = await place.accepted()
    back = {"last-event-id": said[1].removeprefix("id: ")}
    async with place.client.stream("GET", "/stream", headers=back) as live:
        [message] = await messages(live, 1)

    assert said == [": connected", said[1], ""]
    assert message["id"] == first


async def test_an_open_stream_does_not_hold_up_a_stop(place: Place):
    async with place.client.stream("GET", "/stream") as live:
        assert live.status_code == 200
        async with asyncio.timeout(60):
            code = await place.server.stop()

    assert code == 0


async def messages(live: httpx.Response, count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    async with asyncio.timeout(60):
        async for line in live.aiter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                current[name] = value
            elif not line:
                found += [current] if "data" in current else []
                current = {}
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize(
    "subject",
    [" ", "\t\n", "\u00a0\u200b", "bat_1\n", "bat\x00_1", "bat_1\u2028"],
)
async def test_a_subject_nobody_can_have_named_is_refused(shared: Place, subject: str):
    body = {"source": "sora2", "subjects": ["bat_fine", subject]}

    refused = await shared.post("/subjects", body, 400)
    known = await shared.get("/batches", subject="bat_fine")

    assert refused["detail"] == (
        "body.subjects[1] must not be blank, nor have control characters or line ends in it"
    )
    assert known["items"] == []


async def test_a_subject_may_have_spaces_and_any_letters_in_it(place: Place):
    subjects = ["order 1", "заказ-1", "注文 👩\u200d💻"]

    made = await place.post("/subjects", {"source": "sora2", "subjects": subjects})

    assert made == {"registered": 3}
