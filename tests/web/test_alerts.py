"""Alerts of a real server reach whoever a route names."""

import json
from pathlib import Path

import httpx
from aiohttp import web

from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import Seen, sink

ROUTES = """
[[routes]]
name = "events"
source = "sora2"
when = "data.fragile > 0"
to = ["app"]
[[routes]]
name = "alerts"
source = "receiver"
types = ["*"]
to = ["ops"]
"""


def body(**more: object) -> bytes:
    batch = {"event": "batch.running", "batch_id": "bat_1", **more}
    return json.dumps(batch).encode()


async def test_conflicts_failing_routes_refusals_and_pauses_are_told(tmp_path: Path):
    async with sink() as there:
        where = f'type = "http"\nurl = "{there.url}"'
        toml = config(destinations={"app": where, "ops": where}, routes=ROUTES)
        async with (
            serving(tmp_path, toml) as running,
            httpx.AsyncClient(base_url=running.url) as client,
        ):
            for total in (10, 11):
                sent = body(summary={"total": total})
                headers = signed(sent, SECRET)
                await client.post("/webhook/sora2", content=sent, headers=headers)
            for _ in range(5):
                headers = signed(sent, "a stranger's")
                await client.post("/webhook/sora2", content=sent, headers=headers)
            await there.wait_for(3)
            await command(tmp_path, "destinations", "pause", "app")
            await command(tmp_path, "destinations", "resume", "app")
            seen = await there.wait_for(5)
            await running.stop()

    told = {json.loads(one.body)["type"]: json.loads(one.body) for one in seen}
    assert told.keys() == {
        *("event.conflict", "route.failing", "source.rejecting"),
        *("destination.paused", "destination.resumed"),
    }
    assert told["event.conflict"]["differences"] == [
        {"name": "total", "first": 10, "later": 11}
    ]
    assert told["route.failing"]["route"] == "events"
    assert told["source.rejecting"]["code"] == "signature_mismatch"
    assert {one.headers["receiver-source"] for one in seen} == {"receiver"}


FAILING = """
[[routes]]
name = "events"
source = "sora2"
to = ["dead", "gone"]
[[routes]]
name = "alerts"
source = "receiver"
to = ["ops", "deaf"]
"""


async def test_the_dead_and_the_paused_are_told_of_and_alerts_never_loop(
    tmp_path: Path,
):
    async def respond(seen: Seen) -> web.Response:
        path = seen.path.rpartition("/")[2]
        return web.Response(status={"ops": 200, "gone": 410}.get(path, 500))

    async with sink() as there:
        there.respond = respond
        once = "retry = { max_attempts = 1 }"
        toml = config(
            destinations={
                name: f'type = "http"\nurl = "{there.url}/{name}"\n{once}'
                for name in ("dead", "gone", "ops", "deaf")
            },
            routes=FAILING,
        )
        async with (
            serving(tmp_path, toml) as running,
            httpx.AsyncClient(base_url=running.url) as client,
        ):
            sent = body()
            headers = signed(sent, SECRET)
            await client.post("/webhook/sora2", content=sent, headers=headers)
            seen = await there.wait_for(6)
            await running.line("delivery.attempted", destination="deaf", status="dead")
            await running.stop()
        _, out, _ = await command(tmp_path, "events", "list", "--json")

    told = [json.loads(one.body) for one in seen if one.path.endswith("/ops")]
    assert {one["type"]: one["destination"] for one in told} == {
        "delivery.dead": "dead",
        "destination.paused": "gone",
    }
    kinds = sorted(event["type"] for event in json.loads(out))
    assert kinds == ["batch.running", "delivery.dead", "destination.paused"]
