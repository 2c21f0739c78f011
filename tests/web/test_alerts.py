"""Alerts of a real server reach whoever a route names."""

import json
from pathlib import Path

import httpx

from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import sink

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
