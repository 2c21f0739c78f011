"""Why a delivery waits, or is dead, and of what event it is: `receiver deliveries`."""

import json
from pathlib import Path

from aiohttp import web

from tests.cli.answers import refusing
from tests.cli.test_held_back import post
from tests.serving import command, config, serving
from tests.sinks import Seen, sink


async def test_a_list_says_why_each_is_dead_and_of_what_event(place):
    place.target.respond = refusing(500)
    event_id = await place.accepted(subject="bat_why")
    delivery = await place.attempted(event_id, "dead")

    out, _ = await place.run("deliveries", "list", "--status", "dead")
    [found] = await place.json("deliveries", "list", "--status", "dead")
    shown, _ = await place.run("deliveries", "show", delivery)

    for text in ("batch.completed", "bat_why", "500 Internal Server Error", delivery):
        assert text in out
    assert (found["type"], found["subject"]) == ("batch.completed", "bat_why")
    assert found["last"]["result"] == "http_status"
    assert found["last"]["status_code"] == 500
    assert found["wait"] is None
    assert "bat_why" in shown


async def test_what_waits_for_a_paused_destination_says_so_without_a_server(place):
    await place.run("destinations", "pause", "app", "--reason", "until noon")
    await place.accepted()

    out, _ = await place.run("deliveries", "list")
    await place.server.stop()
    alone, said = await place.run("deliveries", "list")
    [found] = await place.json("deliveries", "list")

    assert "paused: until noon" in out
    assert "paused: until noon" in alone
    assert "no server is running" in said
    assert found["wait"] == {
        "waits_for": "resume",
        "why": "until noon",
        "until": None,
        "behind": None,
    }


async def test_what_waits_for_an_open_breaker_or_for_its_turn_says_so(tmp_path: Path):
    async with sink() as there:

        async def respond(_: Seen) -> web.StreamResponse:
            return web.Response(status=500)

        there.respond = respond
        toml = config(
            destinations={
                "app": f'type = "http"\nurl = "{there.url}/"\nordering = "subject"\n'
                'breaker = { failures = 1, wait = "1h" }\n'
                'retry = { waits = ["1s"] }'
            }
        )
        async with serving(tmp_path, toml) as running:
            for number in range(2):
                await post(running.url, number)
            await running.line("breaker.opened", destination="app")
            _, text, _ = await command(tmp_path, "deliveries", "list")
            _, out, _ = await command(tmp_path, "deliveries", "list", "--json")
            second, first = json.loads(out)
            _, shown, _ = await command(tmp_path, "deliveries", "show", first["id"])

    assert "breaker open: it does not answer: 500" in text
    assert f"behind {first['id']}, of the same subject" in text
    assert first["wait"]["waits_for"] == "breaker"
    assert first["wait"]["until"] > first["due_at"]
    assert (second["wait"]["waits_for"], second["wait"]["behind"]) == (
        "line",
        first["id"],
    )
    assert "breaker open" in shown


async def test_a_full_page_of_refused_requests_says_how_to_go_on(place):
    for _ in range(2):
        await place.refused()
    listed = await place.json("rejections", "list")

    _, said = await place.run("rejections", "list", "--limit", "1")
    rest = await place.json("rejections", "list", "--after", listed[0]["id"])
    _, all_said = await place.run("rejections", "list")

    assert said == f"\nmore: --after {listed[0]['id']}\n"
    assert rest == listed[1:]
    assert all_said == ""
