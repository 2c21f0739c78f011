"""What waits: deliveries for what a sender's API says, events for others of their join."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser

from tests.apis import KEY, KieApi, kie_task
from tests.making import sample, signed
from tests.serving import SECRET, Serving, serving
from tests.sinks import Sink, sink
from tests.web.dashboard.browsing import IN_A_BROWSER, PHONE, entered, violations
from tests.web.dashboard.conftest import ADMIN, TOKENS, Person, browser

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

LONG = "https://films.example/" + "a-very-long-key/" * 20


def toml(api: Sink, to: Sink) -> str:
    return f"""
[server]
port = 0
{TOKENS}

[store]
url = "sqlite:///receiver.db"
min_free_bytes = 0

[sources.kie]
provider = "kie"
path = "/webhook/kie"
secrets = ["{SECRET}"]
api_key = "{KEY}"
api_url = "{api.url}"
confirm_within = "1m"

[sources.plain]
provider = "kie"
path = "/webhook/plain"
secrets = ["{SECRET}"]
api_key = "{KEY}"
api_url = "{api.url}"
confirm = false

[joins.film]
source = "plain"
when = "event.final && 'job' in request.query"
key = "request.query.job"
count = "int(request.query.parts)"

[destinations.app]
type = "http"
url = "{to.url}"

[[routes]]
source = "*"
to = ["app"]
"""


@dataclass
class Studio:
    """A server that asks an API and waits for parts, and somebody who looks at it."""

    server: Serving
    api: KieApi
    admin: Person
    client: httpx.AsyncClient

    async def post(self, task: str, source: str, **query: object) -> str:
        raw = sample("task.succeeded", task, "kie")
        answer = await self.client.post(
            f"{self.server.url}/webhook/{source}",
            content=raw,
            headers=signed(raw, SECRET, "kie"),
            params={name: str(value) for name, value in query.items()},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def joins(self, count: int, **query: str) -> Any:
        """What the API lists, once there are so many."""
        async with asyncio.timeout(60):
            while len((found := await self.asked("", 200, **query))["items"]) < count:  # noqa: ASYNC110 (over HTTP)
                await asyncio.sleep(0.05)
        return found

    async def asked(self, path: str, code: int = 200, **query: str) -> Any:
        answer = await self.client.get(
            f"{self.server.url}/api/v1/joins{path}",
            params=query,
            headers={"authorization": f"Bearer {ADMIN}"},
        )
        assert answer.status_code == code, answer.text
        return answer.json()


@asynccontextmanager
async def studio(folder: Path, tasks: Mapping[str, Any]) -> AsyncIterator[Studio]:
    api = KieApi(dict(tasks))
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with (
            serving(folder, toml(there, app)) as started,
            browser(started.url) as http,
            httpx.AsyncClient() as client,
        ):
            admin = Person(http)
            await admin.sign_in(ADMIN)
            yield Studio(started, api, admin, client)


async def test_a_held_delivery_is_shown_as_held_and_until_when(tmp_path: Path):
    tasks = {"t1": kie_task(taskId="t1", state="generating")}
    async with studio(tmp_path, tasks) as place:
        event_id = await place.post("t1", "kie")
        event = await place.admin.see(f"/ui/events/{event_id}")
        found = re.search(r"/ui/deliveries/(dlv_\w+)", event)
        assert found is not None
        delivery = await place.admin.see(found[0])

        await place.admin.send(f"{found[0]}/retry")
        await place.server.line("delivery.attempted", event_id=event_id)
        by_hand = await place.admin.see(f"/ui/events/{event_id}")

    for text in (event, delivery):
        assert "…</span> held" in text
        assert "the sender's API says the same" in text.replace("&#39;", "'")
        assert re.search(r"at most until <time [^>]+>in (1 min|\d\d s)<", text)
        assert "Deliver it now" in text
    assert "should nothing run by then" in delivery
    assert "✓</span> delivered" in by_hand


async def test_what_the_api_said_stays_on_the_page(tmp_path: Path):
    tasks = {
        "t1": kie_task(taskId="t1", consumeCredits=100),
        "t2": kie_task(taskId="t2", state="fail"),
    }
    async with studio(tmp_path, tasks) as place:
        good, bad = await place.post("t1", "kie"), await place.post("t2", "kie")
        await place.server.line("event.confirmed", id=good)
        await place.server.line("event.unconfirmed", id=bad)
        confirmed = await place.admin.see(f"/ui/events/{good}")
        contradicted = await place.admin.see(f"/ui/events/{bad}")

    assert "✓</span> confirmed" in confirmed
    assert "✕</span> contradicted" in contradicted
    assert "the API says failed, not succeeded" in contradicted


async def two_joins(place: Studio) -> tuple[str, Any, Any]:
    """One waits for a second part, one has ended: the first's event, and both."""
    event_id = await place.post("t1", "plain", job="film-1", parts=2)
    await place.post("t2", "plain", job="film-2", parts=1)
    [open_] = (await place.joins(1, state="open"))["items"]
    [ended] = (await place.joins(1, state="completed"))["items"]
    return event_id, open_, ended


async def test_joins_are_found_and_shown_over_the_api(tmp_path: Path):
    async with studio(tmp_path, {}) as place:
        event_id, open_, ended = await two_joins(place)
        both = await place.asked("", limit="1")
        older = await place.asked("", limit="1", after=both["next"])
        by_key = await place.asked("", key="film-1")
        in_full = await place.asked(f"/{open_['id']}")
        nobody = await place.asked("/jon_00000000000000ff", code=404)

    assert (open_["key"], open_["parts"], open_["expected"]) == ("film-1", 1, 2)
    assert (ended["key"], ended["parts"], ended["failed"]) == ("film-2", 1, 0)
    assert both["items"] == [ended]
    assert (older["items"], older["next"]) == ([open_], None)
    assert by_key["items"] == [open_]
    assert [part["event_id"] for part in in_full["events"]] == [event_id]
    assert {**in_full, "events": 0} == {**open_, "events": 0}
    assert nobody["code"] == "not_found"


async def test_pages_show_the_joins_that_wait_and_how_others_ended(tmp_path: Path):
    async with studio(tmp_path, {}) as place:
        event_id, open_, ended = await two_joins(place)
        page = await place.admin.see("/ui/joins")
        one = await place.admin.see(f"/ui/joins/{open_['id']}")
        other = await place.admin.see(f"/ui/joins/{ended['id']}")
        found = await place.admin.see("/ui/joins?key=film-2")
        missing = await place.admin.see("/ui/joins/jon_00000000000000ff", 404)
        odd = await place.admin.see("/ui/joins?state=odd", 400)
        told = re.search(r'href="(/ui/events\?source=receiver[^"]+)"', other)
        assert told is not None
        event = await place.admin.see(told[1].replace("&amp;", "&"))

    waiting, _, over = page.partition("Ended</h2>")
    assert "1 of 2" in waiting
    assert re.search(r"<time [^>]+>in (1 h|59 min|60 min)<", waiting)
    assert ("film-1" in waiting, "film-2" in waiting) == (True, False)
    assert ("film-1" in over, "film-2" in over) == (False, True)
    assert f"/ui/events/{event_id}" in one
    assert "int(request.query.parts)" in one
    assert ("film-1" in found, "film-2" in found) == (False, True)
    assert "Not done" in missing
    assert "no such state" in odd
    assert "join.completed" in event


async def test_many_joins_are_on_several_pages(tmp_path: Path):
    async with studio(tmp_path, {}) as place:
        for i in range(52):
            await place.post(f"t{i}", "plain", job=f"film-{i:02}", parts=2)
        await place.joins(52, state="open", limit="100")
        first = await place.admin.see("/ui/joins")
        following = re.search(r'rel="next" href="([^"]+)"', first)
        assert following is not None
        second = await place.admin.see(following[1].replace("&amp;", "&"))

    keys = [re.findall(r">(film-\d\d)</a>", text) for text in (first, second)]
    assert keys[0] == [f"film-{i:02}" for i in range(51, 1, -1)]
    assert keys[1] == ["film-01", "film-00"]


async def test_only_who_has_joins_is_shown_the_way_to_them(shared: Any):
    assert 'href="/ui/joins"' not in await shared.admin.see("/")
    assert "None waits for anything." in await shared.admin.see("/ui/joins")


class TestInABrowser:
    pytestmark = IN_A_BROWSER[2:]

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
    async def test_what_waits_is_fit_for_everybody(
        self, tmp_path: Path, chromium: Browser, theme: Any, size: Any
    ):
        tasks = {"t1": kie_task(taskId="t1", state="generating")}
        async with studio(tmp_path, tasks) as place:
            event_id = await place.post("t1", "kie")
            await place.post("t2", "plain", job="film-1", parts=2)
            await place.post("t3", "plain", job=LONG[:400], parts=1)
            found = (await place.joins(2))["items"]
            how = {"viewport": size, "color_scheme": theme}
            page = await entered(chromium, place.server.url, **how)
            wrong: dict[str, object] = {}
            ids = [one["id"] for one in found]
            paths = ["joins", *(f"joins/{one}" for one in ids), f"events/{event_id}"]
            for path in paths:
                await page.goto(f"{place.server.url}/ui/{path}")
                wide = "document.documentElement.scrollWidth > innerWidth"
                wrong[path] = [*await violations(page), await page.evaluate(wide)]

        assert wrong == {path: [False] for path in paths}
