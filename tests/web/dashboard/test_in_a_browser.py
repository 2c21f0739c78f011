"""The dashboard as a browser shows it."""

import re
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.web.dashboard.browsing import (
    IN_A_BROWSER,
    PHONE,
    entered,
    picture,
    violations,
)
from tests.web.dashboard.conftest import READ, Place, refuse

pytestmark = IN_A_BROWSER


async def test_an_event_arrives_while_one_looks_and_is_opened(
    place: Place, chromium: Browser
):
    page = await entered(chromium, place.server.url)
    await page.goto(f"{place.server.url}/ui/events")
    await page.get_by_text("Live", exact=True).wait_for()

    event_id = await place.accepted(subject="bat_live")
    row = page.locator(f"tr#{event_id}")
    await row.wait_for()
    await row.get_by_role("rowheader").get_by_role("link").click()

    await page.get_by_role("heading", name=re.compile("batch.completed")).wait_for()
    await page.locator(".tree").get_by_text("order-bat_live").wait_for()


async def test_what_one_looks_for_is_kept_while_others_come(
    place: Place, chromium: Browser
):
    page = await entered(chromium, place.server.url)
    await page.goto(f"{place.server.url}/ui/events?subject=bat_mine")
    await page.get_by_text("Live", exact=True).wait_for()

    other = await place.accepted(subject="bat_other")
    mine = await place.accepted(subject="bat_mine")
    await page.locator(f"tr#{mine}").wait_for()

    assert await page.locator(f"tr#{other}").count() == 0


async def test_a_dead_delivery_is_tried_again_with_a_click(
    place: Place, chromium: Browser
):
    place.target.respond = refuse
    event_id = await place.accepted()
    await place.attempted(event_id, "dead")
    place.target.respond = None
    page = await entered(chromium, place.server.url)

    await page.get_by_role("link", name="1 dead delivery to app").click()
    await page.get_by_role("checkbox", name=re.compile("Choose dlv_")).check()
    await page.get_by_role("button", name="Try again…").click()
    await page.get_by_role("heading", name="Try again 1 delivery?").wait_for()
    await page.get_by_role("button", name="Try them again").click()
    await page.get_by_text("1 of the deliveries are tried again.").wait_for()

    await place.attempted(event_id, "delivered")


async def test_everything_works_without_a_script(place: Place, chromium: Browser):
    await place.accepted()
    page = await entered(chromium, place.server.url, java_script_enabled=False)

    await page.get_by_role("link", name="Destinations").first.click()
    await page.get_by_role("link", name="app", exact=True).click()
    await page.get_by_label("Why").fill("for a test")
    await page.get_by_role("button", name="Pause").click()

    await page.get_by_text("It is paused").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("Token").wait_for()


async def test_a_read_token_is_offered_nothing_to_do(place: Place, chromium: Browser):
    event_id = await place.accepted()
    page = await entered(chromium, place.server.url, READ)

    for path in (f"/ui/events/{event_id}", "/ui/destinations/app", "/ui/deliveries"):
        await page.goto(f"{place.server.url}{path}")
        names = await page.locator("main button").all_inner_texts()
        assert set(names) <= {"Find", "Copy"}, path


async def test_keys_lead_to_pages_and_to_the_search(place: Place, chromium: Browser):
    page = await entered(chromium, place.server.url)

    await page.keyboard.press("g")
    await page.keyboard.press("e")
    await page.get_by_role("heading", name="Events").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("ge?")
    focused = await page.evaluate("document.activeElement.value")
    await page.locator("h1").click()
    await page.keyboard.press("?")
    await page.get_by_role("dialog", name="Keys").wait_for()
    await page.keyboard.press("Escape")
    await page.keyboard.press("g")
    await page.keyboard.press("d")
    await page.get_by_role("heading", name="Deliveries").wait_for()

    assert focused == "ge?"


async def test_the_first_tab_skips_to_the_content(place: Place, chromium: Browser):
    page = await entered(chromium, place.server.url)

    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")

    assert await page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_signing_in_is_fit_for_everybody(
    place: Place, chromium: Browser, theme: Any
):
    page = await (await chromium.new_context(color_scheme=theme)).new_page()
    await page.goto(place.server.url)
    before = await violations(page)
    await page.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()

    assert before == []
    assert await violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
async def test_every_page_is_fit_for_everybody(
    place: Place, chromium: Browser, theme: Any, size: Any
):
    place.target.respond = refuse
    event_id = await place.accepted("batch.completed", "bat_example")
    delivery_id = await place.attempted(event_id, "dead")
    place.target.respond = None
    await place.accepted("batch.running", "bat_example")
    for i in range(12):
        await place.attempted(await place.accepted(subject=f"bat_{i:03}"))
    await place.refused()
    replay = await place.admin.send("/ui/replays/new", event=event_id, to=["spare"])
    await place.server.line("delivery.attempted", destination="spare")
    batch = await place.listed("/ui/batches?subject=bat_example", r"sub_\w+")
    rejection = await place.listed("/ui/rejections", r"rej_\w+")
    page = await entered(chromium, place.server.url, viewport=size, color_scheme=theme)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda said: errors.append(said.text) if said.type == "error" else None,
    )
    pages = {
        "overview": "/",
        "events": "/ui/events",
        "event": f"/ui/events/{event_id}",
        "deliveries": "/ui/deliveries?status=dead",
        "change": "/ui/deliveries/change?action=retry&status=dead",
        "delivery": f"/ui/deliveries/{delivery_id}",
        "destinations": "/ui/destinations",
        "destination": "/ui/destinations/app",
        "batches": "/ui/batches",
        "batch": f"/ui/batches/{batch}",
        "credits": "/ui/batches/credits",
        "replays": "/ui/replays",
        "replay": replay.url.path,
        "new_replay": "/ui/replays/new?type=batch.*",
        "rejections": "/ui/rejections",
        "rejection": f"/ui/rejections/{rejection}",
        "ledger": "/ui/ledger?add=up",
        "audit": "/ui/audit",
    }
    found: dict[str, list[str]] = {}
    wide: list[str] = []
    for name, path in pages.items():
        await page.goto(place.server.url + path)
        found[name] = await violations(page)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(name)
        phone = size is PHONE
        await picture(page, f"{name}{'-phone' if phone else ''}-{theme}")

    assert {name: those for name, those in found.items() if those} == {}
    assert wide == []
    assert errors == []
