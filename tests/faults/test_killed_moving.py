"""SIGKILL while deliveries are sent elsewhere: each is in one place, and arrives once."""

from pathlib import Path

import httpx
import pytest

from tests.faults.lives import trapped
from tests.making import sample
from tests.serving import config, serving
from tests.sinks import sink
from tests.web.api.conftest import ADMIN, ROUTES, TOKENS, client
from tests.web.wire import post

pytestmark = pytest.mark.e2e

COUNT = 5


@pytest.mark.parametrize(
    ("point", "moved"), [("before-replaying", 0), ("after-replaying", COUNT)]
)
async def test_a_move_that_is_killed_and_asked_for_again_delivers_everything_once(
    folder: Path, point: str, moved: int
):
    async with sink() as old, sink() as new:
        there = {
            "app": f'type = "http"\nurl = "{old.url}"',
            "spare": f'type = "http"\nurl = "{new.url}"',
        }
        toml = config(destinations=there, server=TOKENS, routes=ROUTES)
        program = trapped(POINT=f"{point}:1")
        async with serving(folder, toml, program=program) as server:
            async with client(server.url, ADMIN) as http:
                await http.post("/destinations/app/pause", json={})
                await http.post("/destinations/spare/pause", json={})
                sent = [
                    await post(server.url, sample("batch.completed", f"bat_{i}"))
                    for i in range(COUNT)
                ]
                waiting = (await http.get("/deliveries")).json()["items"]
                asked = {"ids": [one["id"] for one in waiting], "to": "spare"}
                with pytest.raises(httpx.HTTPError):
                    await http.post("/deliveries/move", json=asked)
            assert await server.ended() == -9

        async with serving(folder, None) as server, client(server.url, ADMIN) as http:
            found = (await http.get("/deliveries?status=pending")).json()["items"]
            again = (await http.post("/deliveries/move", json=asked)).json()
            for name in there:
                await http.post(f"/destinations/{name}/resume", json={})
            seen = await new.wait_for(COUNT)
            await server.lines("delivery.attempted", COUNT)
            left = (await http.get("/deliveries?status=pending")).json()["items"]

    elsewhere = [one for one in found if one["destination"] == "spare"]
    assert (len(found), len(elsewhere)) == (COUNT, moved)
    assert again["changed"] == COUNT - moved
    ids = {one.headers["webhook-id"] for one in seen}
    assert ids == {str(answer.json["id"]) for answer in sent}
    assert (len(seen), old.seen, left) == (COUNT, [], [])
