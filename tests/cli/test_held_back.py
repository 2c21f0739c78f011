"""What status, list and metrics say of destinations that are given next to nothing."""

import json
from pathlib import Path

import httpx
from aiohttp import web

from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import Seen, sink

DEAD_AT_ONCE = "retry = { max_attempts = 1 }\nbreaker = { failures = 0 }"


async def post(url: str, number: int, batch: str = "bat_1") -> None:
    body = json.dumps({"event": f"step.{number}", "batch_id": batch}).encode()
    async with httpx.AsyncClient(timeout=60) as client:
        headers = signed(body, SECRET)
        answer = await client.post(
            f"{url}/webhook/sora2", content=body, headers=headers
        )
    assert answer.status_code == 200, answer.text


async def test_an_open_breaker_is_seen_everywhere_and_closed_by_a_retry(tmp_path: Path):
    async with sink() as there:
        statuses = [500] * 5

        async def respond(_: Seen) -> web.StreamResponse:
            return web.Response(status=statuses.pop() if statuses else 200)

        there.respond = respond
        toml = config(
            destinations={
                "app": f'type = "http"\nurl = "{there.url}/"\nconcurrency = 1\n'
                'breaker = { wait = "1h" }'
            }
        )
        async with serving(tmp_path, toml) as running:
            for number in range(7):
                await post(running.url, number)
            opened = await running.line("breaker.opened", destination="app")
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"{running.url}/metrics")).text
            _, status, _ = await command(tmp_path, "status")
            _, as_json, _ = await command(tmp_path, "status", "--json")
            _, listed, _ = await command(tmp_path, "destinations", "list")
            retried, _, _ = await command(
                tmp_path, "deliveries", "retry", "--status", "pending", "--yes"
            )
            await running.line("breaker.closed", destination="app")
            await there.wait_for(12)
            await running.stop()

    held = json.loads(as_json)["destinations"][0]["held_back"]
    assert "500" in opened["reason"]
    assert 'receiver_breaker_open{destination="app"} 1.0' in metrics
    assert "breaker open" in status
    assert "once mended, now: receiver deliveries retry dlv_" in status
    assert "breaker open" in listed
    assert "it does not answer: 500" in listed
    assert held["by"] == "breaker"
    assert retried == 0


async def test_a_dead_delivery_that_blocks_its_subject_is_named_with_what_to_do(
    tmp_path: Path,
):
    async with sink() as there:

        async def respond(seen: Seen) -> web.StreamResponse:
            bad = b"step.0" in seen.body and len(there.seen) == 1
            return web.Response(status=500 if bad else 200)

        there.respond = respond
        toml = config(
            destinations={
                "app": f'type = "http"\nurl = "{there.url}/"\nordering = "subject"\n'
                f'on_dead = "block"\n{DEAD_AT_ONCE}'
            }
        )
        async with serving(tmp_path, toml) as running:
            await post(running.url, 0)
            line = await running.line("delivery.attempted", status="dead")
            await post(running.url, 1)
            await post(running.url, 2, "bat_2")
            await running.line("delivery.attempted", subject="bat_2")
            _, status, _ = await command(tmp_path, "status")
            before = [json.loads(seen.body)["event"] for seen in there.seen]
            await command(tmp_path, "deliveries", "cancel", str(line["id"]))
            await there.wait_for(3)
            await running.stop()

    assert f"receiver deliveries show {line['id']}" in status
    assert "holds back its subject at app" in status
    assert before == ["step.0", "step.2"]
    assert json.loads(there.seen[2].body)["event"] == "step.1"
