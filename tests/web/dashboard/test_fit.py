"""Every page at a phone's width: with nothing on it, and with what strangers send."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.making import sample
from tests.serving import config, serving
from tests.web.dashboard.browsing import (
    IN_A_BROWSER,
    PHONE,
    entered,
    picture,
    violations,
)
from tests.web.dashboard.conftest import TOKENS, Place, refuse

pytestmark = IN_A_BROWSER

LONG = "x" * 180
LINK = f"https://cdn.example/{'path/' * 40}{LONG}.mp4?signature={LONG * 3}"

LISTS = {
    "overview": "/",
    "events": "/ui/events",
    "deliveries": "/ui/deliveries",
    "destinations": "/ui/destinations",
    "destination": "/ui/destinations/app",
    "batches": "/ui/batches",
    "credits": "/ui/batches/credits",
    "joins": "/ui/joins",
    "replays": "/ui/replays",
    "rejections": "/ui/rejections",
    "ledger": "/ui/ledger?add=up",
    "audit": "/ui/audit",
}


async def unfit(page: Page, url: str, pages: dict[str, str], name: str) -> Any:
    """What is wrong with each page; nothing, if all are well."""
    found: dict[str, list[str]] = {}
    for kind, path in pages.items():
        await page.goto(url + path)
        wrong = await violations(page)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append("it is too wide")
        if wrong:
            found[kind] = wrong
        await picture(page, f"{name}-{kind}")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_with_nothing_on_them_are_fit_for_a_phone(
    tmp_path: Path, chromium: Browser, theme: Any
):
    app = 'type = "http"\nurl = "http://127.0.0.1:1"'
    toml = config(destinations={"app": app}, server=TOKENS)
    async with serving(tmp_path, toml) as started:
        page = await entered(chromium, started.url, viewport=PHONE, color_scheme=theme)
        found = await unfit(page, started.url, LISTS, f"empty-{theme}")

    assert found == {}


def hostile() -> bytes:
    """A body in which whatever may be long is."""
    body = json.loads(sample("batch.completed", LONG))
    body |= {"request_id": LONG, LONG: {LONG: [LONG, LINK]}}
    for item in body["items"]:
        item |= {"video_url": LINK, "item_id": LONG, "error": LONG * 3}
    return json.dumps(body).encode()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
async def test_whatever_is_long_fits_its_page(
    place: Place, chromium: Browser, theme: Any, size: Any
):
    place.target.respond = refuse
    event_id = await place.took(hostile())
    delivery_id = await place.attempted(event_id, "dead")
    await place.refused()
    await place.admin.send("/ui/destinations/app/pause", reason=LONG * 2)
    replay = await place.admin.send("/ui/replays/new", event=event_id, to=["app"])
    batch = await place.listed("/ui/batches", r"/ui/batches/sub_\w+")
    rejection = await place.listed("/ui/rejections", r"/ui/rejections/rej_\w+")
    pages = LISTS | {
        "found": f"/ui/events?subject={LONG}&key={LONG}",
        "event": f"/ui/events/{event_id}",
        "delivery": f"/ui/deliveries/{delivery_id}",
        "batch": batch,
        "replay": replay.url.path,
        "rejection": rejection,
        "change": "/ui/deliveries/change?action=retry&status=dead&destination=app",
        "new replay": f"/ui/replays/new?subject={LONG}",
    }
    page = await entered(chromium, place.server.url, viewport=size, color_scheme=theme)
    phone = "-phone" if size is PHONE else ""

    found = await unfit(page, place.server.url, pages, f"long-{theme}{phone}")

    assert found == {}


async def test_links_to_results_can_be_followed_and_copied(
    place: Place, chromium: Browser
):
    event_id = await place.accepted(subject="bat_results")
    page = await entered(chromium, place.server.url)
    await page.goto(f"{place.server.url}/ui/events/{event_id}")
    first = page.locator("li", has=page.get_by_role("link", name="bat_results-001"))

    link = first.get_by_role("link")
    href, rel = await link.get_attribute("href"), await link.get_attribute("rel")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await first.get_by_role("button", name="Copy").click()
    await first.get_by_role("button", name="Copied").wait_for()
    copied = await page.evaluate("navigator.clipboard.readText()")

    assert href == "https://cdn.sora2aivideos.com/v/bat_results-001.mp4"
    assert "noreferrer" in str(rel).split()
    assert copied == href
