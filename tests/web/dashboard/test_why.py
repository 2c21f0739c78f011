"""Why something is dead or waits, and what was done by hand: in words, on the pages."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser

from tests.sinks import Seen
from tests.web.dashboard.browsing import IN_A_BROWSER, PHONE, entered, violations
from tests.web.dashboard.conftest import Place, refuse
from tests.web.dashboard.test_waiting import studio

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]


def text_of(page: str) -> str:
    """What is read of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("&#39;", "'")


async def test_the_list_says_why_a_delivery_is_dead_and_of_what_event_it_is(
    place: Place,
):
    place.target.respond = refuse
    event_id = await place.accepted(subject="bat_why")
    await place.attempted(event_id, "dead")

    page = await place.admin.see("/ui/deliveries?status=dead")

    assert f'<a href="/ui/events/{event_id}">batch.completed</a>' in page
    assert "bat_why" in page
    assert "400 Bad Request" in text_of(page)


async def test_what_waits_for_a_paused_destination_says_so_everywhere(place: Place):
    await place.admin.send("/ui/destinations/app/pause", reason="<b>noon</b>")
    event_id = await place.accepted()
    listed = await place.admin.see("/ui/deliveries?status=pending")
    found = re.search(r"/ui/deliveries/dlv_\w+", listed)
    assert found is not None
    one = await place.admin.see(found[0])
    event = await place.admin.see(f"/ui/events/{event_id}")
    overview = await place.admin.see("/")
    destination = await place.admin.see("/ui/destinations/app")

    for page in (listed, one, event):
        assert "paused: &lt;b&gt;noon&lt;/b&gt;" in page
    assert "once it need not wait for that" in one
    assert "app is paused: &lt;b&gt;noon&lt;/b&gt; (1 waiting)" in overview
    assert re.search(r"noon&lt;/b&gt;, since <time [^>]+>(now|\d+ s ago)<", destination)


async def test_an_open_breaker_is_said_in_english_with_a_time_that_is_relative(
    place: Place,
):
    async def fail(_: Seen) -> web.StreamResponse:
        return web.Response(status=500)

    place.target.respond = fail
    for number in range(5):
        await place.accepted(subject=f"bat_{number}")
    await place.server.line("breaker.opened", destination="app")
    await place.accepted(subject="bat_waits")
    overview = await place.admin.see("/")
    listed = await place.admin.see("/ui/deliveries?status=pending")

    assert "breaker open: it does not answer: 500" in listed
    assert "app is given next to nothing: it does not answer: 500" in overview
    assert re.search(r"\d waiting\)</a>; tried again <time [^>]+>(in |now)", overview)
    assert not re.search(r">[^<]*20\d\d-\d\d-\d\dT[^<]*<", overview)


async def test_replays_and_changes_are_told_in_words(place: Place):
    event_id = await place.accepted(subject="bat_1")
    await place.attempted(event_id)
    asked = {"type": "batch.*", "since": "2h"}
    made = await place.admin.send(
        "/ui/replays/new", **asked, to=["spare"], per_second="10"
    )
    await place.server.line("replay.ended")
    question = await place.admin.see("/ui/replays/new?since=2026-01-24T10:00:00Z")
    await place.admin.send("/ui/destinations/app/pause", reason="until noon")

    replays, audit = (
        await place.admin.see("/ui/replays"),
        await place.admin.see("/ui/audit"),
    )

    for page in (made.text, replays):
        assert "type batch.*" in text_of(page).replace("typebatch", "type batch")
        assert re.search(r"since</dt><dd><time [^>]+>2 h ago<", page)
        assert "<dd>spare</dd>" in page
        assert "10 a second" in page
        assert "{&#34;" not in page
    assert re.search(r"since</dt><dd><time [^>]+>\d+ d ago<", question)
    assert "paused a destination" in audit
    assert '<a href="/ui/destinations/app">app</a>' in audit
    assert "asked for a replay" in audit
    assert f'<a href="{made.url.path}">' in audit
    assert "{&#34;" not in audit


async def test_joins_are_found_by_key_and_state_together(tmp_path: Path):
    async with studio(tmp_path, {}) as place:
        await place.post("t1", "plain", job="film-1", parts=2)
        await place.joins(1, state="open")
        waiting = await place.admin.see("/ui/joins?key=film-1&state=open")
        ended = await place.admin.see("/ui/joins?key=film-1&state=completed")

    assert "/ui/joins/jon_" in waiting
    assert "/ui/joins/jon_" not in ended
    assert "None is like that." in ended
    assert 'href="/ui/joins?state=failed&amp;key=film-1"' in ended


async def test_an_event_says_of_which_join_it_is_a_part(tmp_path: Path):
    async with studio(tmp_path, {}) as place:
        first = await place.post("t1", "plain", job="film-1", parts=2)
        none = await place.post("t0", "plain")
        [join] = (await place.joins(1, state="open"))["items"]
        waits = await place.admin.see(f"/ui/events/{first}")
        second = await place.post("t2", "plain", job="film-1", parts=2)
        await place.joins(1, state="completed")
        late = await place.post("t3", "plain", job="film-1", parts=2)
        pages = [
            text_of(await place.admin.see(f"/ui/events/{one}"))
            for one in (first, second, late, none)
        ]

    assert f'<a href="/ui/joins/{join["id"]}">film film-1</a>' in waits
    assert "1 of 2 have come; it still waits, and its time is up in" in text_of(waits)
    for page in pages[:2]:
        assert "Part of the join film film-1 ✓ completed: 2 of 2 have come." in page
    assert "Not counted in the join film film-1" in pages[2]
    assert "the join" not in pages[3]


class TestInABrowser:
    pytestmark = IN_A_BROWSER[2:]

    @pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
    async def test_what_is_told_is_fit_for_everybody(
        self, place: Place, chromium: Browser, size: Any
    ):
        place.target.respond = refuse
        event_id = await place.accepted(subject="a-very-long-subject-" * 10)
        dead = await place.attempted(event_id, "dead")
        await place.admin.send("/ui/replays/new", type="batch.*", to=["spare"])
        await place.admin.send("/ui/destinations/app/pause", reason="noon " * 80)
        await place.accepted()
        page = await entered(chromium, place.server.url, viewport=size)
        wrong: dict[str, object] = {}
        paths = ["deliveries", f"deliveries/{dead}", "replays", "audit", "destinations"]
        for path in paths:
            await page.goto(f"{place.server.url}/ui/{path}")
            wide = "document.documentElement.scrollWidth > innerWidth"
            wrong[path] = [await page.evaluate(wide), *await violations(page)]

        assert wrong == {path: [False] for path in paths}
