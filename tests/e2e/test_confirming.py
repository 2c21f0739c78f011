"""Deliveries of a sender that does not sign its bodies wait for its API: real processes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.apis import KEY, KieApi, kie_task
from tests.making import sample, signed
from tests.serving import SECRET, Serving, command, serving
from tests.sinks import Sink, sink

pytestmark = pytest.mark.e2e

RESULT = "https://example.com/generated.mp4"


def toml(api: Sink, to: Sink, source: str = 'confirm_within = "1m"') -> str:
    return f"""
[server]
port = 0

[store]
url = "sqlite:///receiver.db"
min_free_bytes = 0

[sources.kie]
provider = "kie"
path = "/webhook/kie"
secrets = ["{SECRET}"]
api_key = "{KEY}"
api_url = "{api.url}"
{source}

[destinations.app]
type = "http"
url = "{to.url}/"

[destinations.bell]
type = "http"
url = "{to.url}/alerts"

[[routes]]
source = "kie"
to = ["app"]

[[routes]]
source = "receiver"
to = ["bell"]
"""


async def post(running: Serving, task: str, **changes: Any) -> str:
    """A callback of a task that succeeded, its `data` changed; the event's id."""
    body = json.loads(sample("task.succeeded", task, "kie"))
    body["data"] |= changes
    raw = json.dumps(body).encode()
    headers = signed(raw, SECRET, "kie")
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{running.url}/webhook/kie", content=raw, headers=headers
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def results(*urls: str) -> str:
    return json.dumps({"resultUrls": urls})


async def shown(folder: Path, event_id: str) -> dict[str, Any]:
    code, out, err = await command(folder, "events", "show", event_id, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


async def test_what_the_api_says_too_is_delivered(tmp_path: Path):
    api = KieApi({"t1": kie_task(taskId="t1", consumeCredits=100)})
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app)) as running:
            event_id = await post(running, "t1")

            await app.wait_for(1)
            line = await running.line("event.confirmed")

        assert line["id"] == event_id
        assert [seen.headers["webhook-id"] for seen in app.seen] == [event_id]
        assert KEY not in "\n".join(running.raw)


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        ({"resultJson": results("https://example.com/another.mp4")}, "link"),
        ({"resultJson": results(RESULT, "https://example.com/2.mp4")}, "link"),
        ({"state": "fail"}, "succeeded, not failed"),
        ({"consumeCredits": 7}, "credits"),
    ],
)
async def test_what_the_api_contradicts_is_cancelled_and_told_of(
    tmp_path: Path, forged: dict[str, Any], why: str
):
    api = KieApi({"t1": kie_task(taskId="t1", consumeCredits=100)})
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app)) as running:
            event_id = await post(running, "t1", **forged)

            [alert] = await app.wait_for(1)
            line = await running.line("event.unconfirmed")
            _, out, _ = await command(tmp_path, "deliveries", "list", "--json")
            _, told, _ = await command(tmp_path, "explain", event_id)

    body = json.loads(alert.body)
    assert (body["type"], body["event_id"]) == ("event.unconfirmed", event_id)
    assert body["delivered"] is False
    assert why in body["reason"]
    assert why in line["why"]
    [delivery] = [d for d in json.loads(out) if d["destination"] == "app"]
    assert delivery["status"] == "cancelled"
    assert why in told


async def test_while_it_waits_everybody_can_see_why(tmp_path: Path):
    api = KieApi({"t1": kie_task(taskId="t1", state="generating")})
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app)) as running:
            event_id = await post(running, "t1")
            await there.wait_for(1)

            found = await shown(tmp_path, event_id)
            _, told, _ = await command(tmp_path, "explain", event_id)
            _, listed, _ = await command(tmp_path, "deliveries", "list", "--json")
            [delivery] = json.loads(listed)
            _, one, _ = await command(tmp_path, "deliveries", "show", delivery["id"])
            retried = await command(tmp_path, "deliveries", "retry", delivery["id"])
            await app.wait_for(1)

    assert found["confirmation"]["verdict"] is None
    assert "held" in told
    assert "held" in one
    assert delivery["status"] == "pending"
    assert retried[0] == 0
    assert [seen.headers["webhook-id"] for seen in app.seen] == [event_id]


@pytest.mark.parametrize("policy", ["deliver", "cancel"])
async def test_what_is_never_confirmed_is_delivered_or_cancelled_as_configured(
    tmp_path: Path, policy: str
):
    source = f'confirm_within = "2s"\non_unconfirmed = "{policy}"'
    async with sink() as there, sink() as app:

        async def down(_):
            return web.Response(status=500)

        there.respond = down
        async with serving(tmp_path, toml(there, app, source)) as running:
            event_id = await post(running, "t1")

            line = await running.line("event.unconfirmed")
            await app.wait_for(2 if policy == "deliver" else 1)  # one is the alert
            found = await shown(tmp_path, event_id)

    delivered = [seen for seen in app.seen if seen.path == "/"]
    assert line["delivered"] is (policy == "deliver")
    assert len(delivered) == (1 if policy == "deliver" else 0)
    assert found["confirmation"]["verdict"] == "unconfirmed"


async def test_what_was_held_when_it_was_killed_is_decided_after_the_next_start(
    tmp_path: Path,
):
    api = KieApi({name: kie_task(taskId=name, state="waiting") for name in "ab"})
    source = 'confirm_within = "5m"\non_unconfirmed = "cancel"'
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app, source)) as running:
            right = await post(running, "a")
            wrong = await post(running, "b")
            await there.wait_for(2)
            await running.kill()
        api.tasks["a"] = kie_task(taskId="a")
        api.tasks["b"] = kie_task(taskId="b", state="fail", resultJson=None)
        async with serving(tmp_path, toml(there, app, source)) as running:
            await app.wait_for(2)
            verdicts = [
                (await shown(tmp_path, one))["confirmation"]["verdict"]
                for one in (right, wrong)
            ]

    assert verdicts == ["confirmed", "contradicted"]
    assert [s.headers["webhook-id"] for s in app.seen if s.path == "/"] == [right]


async def test_a_wrong_key_is_said_once_and_asked_with_no_more(tmp_path: Path):
    async with sink() as there, sink() as app:
        there.respond = KieApi().respond
        config = toml(there, app).replace(KEY, "another key")
        async with serving(tmp_path, config) as running:
            await post(running, "t1")
            await app.wait_for(2)
            await post(running, "t2")
            await app.wait_for(3)

            refused = [x for x in running.log if x.get("event") == "api.key_refused"]
            assert "another key" not in "\n".join(running.raw)

    assert len(there.seen) == 1
    assert [line["source"] for line in refused] == ["kie"]


async def test_confirming_is_not_in_the_way_of_answers(tmp_path: Path):
    stuck = asyncio.Event()

    async def slow(_):
        await stuck.wait()
        return web.Response(status=500)

    async with sink() as there, sink() as app:
        there.respond = slow
        async with serving(tmp_path, toml(there, app)) as running:
            async with asyncio.timeout(60):  # the API never answers
                for number in range(20):
                    await post(running, f"t{number}")

        assert app.seen == []
        stuck.set()
