"""What a repeat said is told of before the repeat is answered: no death loses it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.faults.lives import trapped
from tests.making import signed
from tests.serving import SECRET, Serving, config, serving
from tests.sinks import sink

pytestmark = pytest.mark.e2e

ROUTES = """
[[routes]]
name = "alerts"
source = "receiver"
to = ["ops"]
"""
REPEATS = {
    "event.conflict": {"total": 11},
    "event.supplemented": {"total": 10, "succeeded": 9},
}


def toml(url: str) -> str:
    return config(destinations={"ops": f'type = "http"\nurl = "{url}"'}, routes=ROUTES)


async def sent(server: Serving, summary: object) -> int:
    batch = {"event": "batch.running", "batch_id": "bat_1", "summary": summary}
    body = json.dumps(batch).encode()
    async with httpx.AsyncClient(base_url=server.url) as http:
        headers = signed(body, SECRET)
        answer = await http.post("/webhook/sora2", content=body, headers=headers)
    return answer.status_code


@pytest.mark.parametrize("kind", REPEATS)
@pytest.mark.parametrize(
    "point",
    [
        "before-commit:2",
        "after-commit:2",
        "before-keeping-a-variant:1",
        "after-keeping-a-variant:1",
    ],
)
async def test_killed_around_what_a_repeat_says_it_is_told_of_once_when_it_comes_again(
    folder: Path, point: str, kind: str
):
    async with sink() as ops:
        program = trapped(POINT=point)
        async with serving(folder, toml(ops.url), program=program) as server:
            first = await sent(server, {"total": 10})
            with pytest.raises(httpx.HTTPError):
                await sent(server, REPEATS[kind])
            assert await server.ended() == -9

        async with serving(folder, None) as server:
            again = [await sent(server, REPEATS[kind]) for _ in range(2)]
            seen = await ops.wait_for(1)
            await server.stop()

    assert (first, again) == (200, [200, 200])
    assert {json.loads(one.body)["type"] for one in seen} == {kind}
    with closing(sqlite3.connect(folder / "receiver.db")) as connection:
        [[alerts]] = connection.execute(
            "SELECT count(*) FROM events WHERE origin = 'internal'"
        )
        [[variants]] = connection.execute("SELECT count(*) FROM variants")
    assert (alerts, variants) == (1, 1)


@pytest.mark.parametrize("kind", REPEATS)
async def test_a_repeat_is_not_answered_200_while_it_cannot_be_told_of(
    folder: Path, kind: str
):
    async with sink() as ops, serving(folder, toml(ops.url)) as server:
        await sent(server, {"total": 10})
        with closing(sqlite3.connect(folder / "receiver.db")) as connection:
            connection.execute(
                "CREATE TRIGGER no_room BEFORE INSERT ON events"
                " WHEN NEW.origin = 'internal'"
                " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
            refused = await sent(server, REPEATS[kind])
            connection.execute("DROP TRIGGER no_room")
        answered = await sent(server, REPEATS[kind])
        [told] = await ops.wait_for(1)

    assert (refused, answered) == (503, 200)
    assert json.loads(told.body)["type"] == kind
