"""
Joins of a sender that does not sign its bodies: real processes and a stand-in of its API.

The callbacks are signed as kie.ai signs them, which says nothing of what is in them.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.apis import KEY, KieApi, kie_task
from tests.faults.lives import trapped
from tests.faults.points import CONFIRMING
from tests.making import sample, signed
from tests.serving import SECRET, Serving, command, serving
from tests.sinks import Sink, sink

pytestmark = [pytest.mark.e2e]

JOINED = """
[joins.film]
source = "kie"
when = "event.final && 'job' in request.query"
key = "request.query.job"
count = 2

[[routes]]
source = "receiver"
types = ["join.*"]
to = ["editor"]
"""


def toml(api: Sink, editor: Sink, more: str = 'confirm_within = "1m"') -> str:
    """No route wants the callbacks themselves: they are only parts."""
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
{more}

[destinations.editor]
type = "http"
url = "{editor.url}/"
retry = {{ waits = ["50ms"] }}
{JOINED}"""


async def called_back(running: Serving, task: str, **changes: Any) -> str:
    """A callback of a task that succeeded, its `data` changed; the event's id."""
    body = json.loads(sample("task.succeeded", task, "kie"))
    body["data"] |= changes
    raw = json.dumps(body).encode()
    headers = signed(raw, SECRET, "kie")
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{running.url}/webhook/kie?job=film-1", content=raw, headers=headers
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def batch(folder: Path, task: str) -> dict[str, Any]:
    code, out, err = await command(folder, "batches", "show", task, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


async def ended(folder: Path) -> list[str]:
    _, out, _ = await command(folder, "batches", "list", "--final", "--json")
    return [one["subject"] for one in json.loads(out)]


def parts(editor: Sink) -> list[list[str]]:
    """The events in each end that the editor was told of, by the id of that."""
    ends = {seen.headers["webhook-id"]: json.loads(seen.body) for seen in editor.seen}
    assert {end["type"] for end in ends.values()} <= {"join.completed"}
    return [[part["event_id"] for part in end["parts"]] for end in ends.values()]


async def test_what_is_confirmed_completes_a_join_once(tmp_path: Path):
    api = KieApi({task: kie_task(taskId=task) for task in "ab"})
    async with sink() as there, sink() as editor:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, editor)) as running:
            ids = [await called_back(running, task) for task in "ab"]

            await editor.wait_for(1)
            await called_back(running, "b")
            await running.stop()

    assert parts(editor) == [ids]


async def test_a_forged_callback_completes_nothing_and_the_true_one_does(
    tmp_path: Path,
):
    api = KieApi({task: kie_task(taskId=task) for task in "ab"})
    wrong = json.dumps({"resultUrls": ["https://example.com/not-mine.mp4"]})
    async with sink() as there, sink() as editor:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, editor)) as running:
            first = await called_back(running, "a")
            await running.line("event.confirmed", id=first)
            forged = await called_back(running, "b", resultJson=wrong)
            await running.line("event.unconfirmed", id=forged)
            then = await batch(tmp_path, "b")

            true = await called_back(running, "b")
            await editor.wait_for(1)
            now = await batch(tmp_path, "b")

    assert (then["state"], then["final"], then["events"]) == ("unknown", False, 0)
    assert [step["standing"] for step in then["steps"]] == ["contradicted"]
    assert parts(editor) == [[first, true]]
    assert (now["state"], now["final"], now["events"]) == ("succeeded", True, 1)
    assert [step["event_id"] for step in now["steps"]] == [forged, true]


async def test_while_it_waits_it_is_shown_and_ends_nothing(tmp_path: Path):
    api = KieApi({task: kie_task(taskId=task, state="generating") for task in "ab"})
    async with sink() as there, sink() as editor:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, editor)) as running:
            for task in "ab":
                await called_back(running, task)
            await there.wait_for(2)
            _, listed, _ = await command(
                tmp_path, "batches", "list", "--problem", "unconfirmed", "--json"
            )
            _, told, _ = await command(tmp_path, "batches", "show", "a")

    assert sorted(one["subject"] for one in json.loads(listed)) == ["a", "b"]
    assert "not confirmed yet: does not count" in told
    assert editor.seen == []


@pytest.mark.parametrize("policy", ["deliver", "cancel"])
async def test_what_is_never_confirmed_counts_or_does_not_as_configured(
    tmp_path: Path, policy: str
):
    more = f'confirm_within = "1s"\non_unconfirmed = "{policy}"'
    async with sink() as there, sink() as editor:

        async def down(_: object) -> web.Response:
            return web.Response(status=500)

        there.respond = down
        async with serving(tmp_path, toml(there, editor, more)) as running:
            ids = [await called_back(running, task) for task in "ab"]
            await running.lines("event.unconfirmed", 2)
            if policy == "deliver":
                await editor.wait_for(1)
            await running.stop()
        async with serving(tmp_path, None) as running:  # all is followed by then
            found = await batch(tmp_path, "a")

    counts = policy == "deliver"
    assert parts(editor) == ([ids] if counts else [])
    assert found["final"] is counts
    standing = "unconfirmed" if counts else "cancelled"
    assert [step["standing"] for step in found["steps"]] == [standing]


@pytest.mark.parametrize("point", CONFIRMING)
async def test_killed_between_a_decision_and_what_follows_each_part_counts_once(
    tmp_path: Path, point: str
):
    api = KieApi({task: kie_task(taskId=task) for task in "ab"})
    async with sink() as there, sink() as editor:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, editor)) as running:
            ids = [await called_back(running, "a")]
            async with asyncio.timeout(60):
                while not await ended(tmp_path):
                    pass
            await running.stop()
        program = trapped(POINT=f"{point}:1")
        async with serving(tmp_path, None, program=program) as running:
            ids.append(await called_back(running, "b"))
            assert await running.ended() == -9
        async with serving(tmp_path, None) as running:
            await editor.wait_for(1)
            found = [await batch(tmp_path, task) for task in "ab"]
            await running.stop()

    assert parts(editor) == [ids]
    assert [(one["events"], one["state"]) for one in found] == [(1, "succeeded")] * 2
    assert [s["standing"] for one in found for s in one["steps"]] == ["confirmed"] * 2
