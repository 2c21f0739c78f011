"""A replay while it runs, as a browser shows it: its bar moves, and it can be stopped."""

import asyncio
import re

from playwright.async_api import Browser, Page

from tests.making import sample
from tests.web.dashboard.browsing import IN_A_BROWSER, entered
from tests.web.dashboard.conftest import Place

pytestmark = IN_A_BROWSER

NOTED = """
window.values = [];
const note = () => {
  const bar = document.querySelector("progress");
  if (bar && bar.value !== window.values.at(-1)) window.values.push(bar.value);
};
note();
new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
"""
"""Writes down each value that the bar shows; it is gone if the page is loaded anew."""


async def some_hundred(place: Place, count: int) -> None:
    for part in range(0, count, 20):
        bodies = [
            sample("batch.created", f"bat_{n:04}") for n in range(part, part + 20)
        ]
        await asyncio.gather(*map(place.took, bodies))
    await place.target.wait_for(count)


async def begun(browser: Browser, place: Place, a_second: int) -> Page:
    """The page of a replay of everything to `spare`, at a rate."""
    page = await entered(browser, place.server.url)
    await page.goto(f"{place.server.url}/ui/events")
    await page.get_by_role("link", name="Replay what is found…").click()
    await page.get_by_label("spare").check()
    await page.get_by_label("Events a second").fill(str(a_second))
    await page.get_by_role("button", name="Replay them").click()
    await page.get_by_text("The replay is on its way.").wait_for()
    await page.evaluate(NOTED)
    return page


async def test_the_bar_of_a_replay_moves_until_it_is_done(
    place: Place, chromium: Browser
):
    await some_hundred(place, 300)

    page = await begun(chromium, place, 60)
    await page.locator("h1 .state", has_text="done").wait_for()
    values = await page.evaluate("window.values")
    await place.target.wait_for(600)

    assert values == sorted(values)
    assert len([value for value in values if 0 < value < 1]) >= 2, values
    assert values[-1] == 1
    text = await page.locator("#replay").inner_text()
    assert re.search(r"deliveries made\s+300", text)
    assert await page.get_by_role("button", name="Stop it").count() == 0


async def test_a_replay_is_stopped_and_what_it_made_stays(
    place: Place, chromium: Browser
):
    await some_hundred(place, 300)

    page = await begun(chromium, place, 20)
    await page.get_by_role("button", name="Stop it").click()
    await page.get_by_text("The replay makes no more deliveries").wait_for()
    ended = await place.server.line("replay.ended", state="cancelled")
    await page.locator("h1 .state", has_text="cancelled").wait_for()
    text = await page.locator("#replay").inner_text()
    await place.target.wait_for(300 + ended["count"])
    status = await place.admin.see("/ui/ledger?add=up")

    assert 0 < ended["count"] < 300
    assert re.search(rf"deliveries made\s+{ended['count']}\b", text)
    assert await page.get_by_role("button", name="Stop it").count() == 0
    assert "It adds up" in status
    assert [seen.path for seen in place.target.seen].count("/") == 300 + ended["count"]
