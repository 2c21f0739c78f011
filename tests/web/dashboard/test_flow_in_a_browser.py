"""The first page as a browser shows it: the flow drawn, first steps, the ledger."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.making import sample
from tests.serving import SECRET, config, serving
from tests.web.dashboard.browsing import (
    IN_A_BROWSER,
    PHONE,
    entered,
    picture,
    violations,
)
from tests.web.dashboard.conftest import TOKENS, Place
from tests.web.dashboard.flow_example import history
from tests.web.wire import post

pytestmark = IN_A_BROWSER

THROUGH = 'type = "http"\nurl = "http://127.0.0.1:1"'


def large(sources: int, routes: int, destinations: int) -> str:
    """So many of each, with names as people give them."""
    names = [f"destination-number-{i}-of-the-archive" for i in range(destinations)]
    lines = [config(destinations=dict.fromkeys(names, THROUGH), server=TOKENS)]
    lines[0] = lines[0].partition("[[routes]]")[0]
    lines += [
        f"[sources.provider-number-{i}]\n"
        f'provider = "sora2"\npath = "/webhook/{i}"\nsecrets = ["{SECRET}"]'
        for i in range(1, sources)
    ]
    for i in range(routes):
        to = json.dumps([names[i % destinations], names[(i * 5 + 1) % destinations]])
        source = f"provider-number-{i % sources}" if i % sources else "*"
        lines.append(
            f'[[routes]]\nname = "what-{i}-is-for"\nsource = "{source}"\nto = {to}'
        )
    return "\n".join(lines)


@asynccontextmanager
async def overview(
    browser: Browser, folder: Path, toml: str, **how: Any
) -> AsyncIterator[Page]:
    async with serving(folder, toml) as started:
        yield await entered(browser, started.url, **how)


async def cut_off(page: Page) -> list[str]:
    """Boxes of the drawing that do not show all they say."""
    found: list[str] = await page.evaluate(
        "[...document.querySelectorAll('.flow li')]"
        ".filter((box) => box.scrollHeight > box.clientHeight + 1"
        "              || box.scrollWidth > box.clientWidth + 1)"
        ".map((box) => box.innerText)"
    )
    return found


async def is_too_wide(page: Page) -> bool:
    found: bool = await page.evaluate(
        "document.documentElement.scrollWidth > innerWidth"
    )
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "size", [{"width": 1280, "height": 900}, {"width": 800, "height": 900}, PHONE]
)
async def test_the_largest_flow_that_is_drawn_is_legible(
    tmp_path: Path, chromium: Browser, theme: Any, size: Any
):
    how = {"viewport": size, "color_scheme": theme}
    async with overview(chromium, tmp_path, large(12, 20, 12), **how) as page:
        boxes = await page.locator(".flow li").count()
        lines = await page.locator(".flow path").count()
        cut, wide = await cut_off(page), await is_too_wide(page)
        wrong = await violations(page)

    assert boxes == 12 + 20 + 12
    assert lines > 50
    assert cut == []
    assert not wide
    assert wrong == []


async def test_a_larger_flow_is_left_to_the_table(tmp_path: Path, chromium: Browser):
    async with overview(chromium, tmp_path, large(13, 20, 12)) as page:
        drawn = await page.locator(".flow").count()
        said = await page.locator("#drawing").inner_text()
        rows = await page.locator("#flow tbody tr").count()

    assert drawn == 0
    assert "too much of it to draw: 13 sources, 20 routes and 12 destinations" in said
    assert rows == 13


async def test_the_drawing_says_what_moves_as_it_does(place: Place, chromium: Browser):
    page = await entered(chromium, place.server.url)
    await page.get_by_text("Live", exact=True).wait_for()
    drawing = page.locator("#drawing")
    before = await drawing.inner_text()

    await place.attempted(await place.accepted())
    await drawing.locator("path.moving").nth(1).wait_for(state="attached")

    assert before.count("0/min") == 3
    assert (await drawing.inner_text()).count("1/min") == 2
    await place.admin.send("/ui/destinations/app/pause", reason="they move")
    await drawing.locator("path.still").wait_for(state="attached")
    await place.accepted(subject="bat_waits")
    await drawing.get_by_role("link", name="1 waiting").click()
    await page.get_by_role("heading", name="Deliveries").wait_for()
    assert await page.locator("tr[id^=dlv_]").count() == 1


async def test_a_drawing_can_be_read_without_seeing_it(place: Place):
    text = await place.admin.see("/")

    assert "from sora2 to app" in text
    assert re.search(r'<svg class="wires"[^>]+aria-hidden="true"', text)


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
async def test_a_fresh_start_says_what_to_do_next(
    tmp_path: Path, chromium: Browser, size: Any
):
    async with serving(tmp_path, config(server=TOKENS)) as started:
        page = await entered(chromium, started.url, viewport=size)
        steps = page.locator("#beginning")
        said = await steps.inner_text()
        await page.get_by_role("button", name="Copy").click()
        await page.get_by_role("button", name="Copied").wait_for()
        wide, wrong = await is_too_wide(page), await violations(page)
        answer = await post(started.url, sample("batch.completed"))
        await steps.wait_for(state="detached")

    assert f"{started.url}/webhook/sora2" in said
    assert "receiver send sora2" in said
    assert "add a destination and a route" in said
    assert answer.status == 200
    assert not wide
    assert wrong == []


async def test_an_address_with_a_secret_in_it_is_not_shown(
    tmp_path: Path, chromium: Browser
):
    token = "the secret in the address"
    toml = config(server=TOKENS, source=f'token = "{token}"')
    async with overview(chromium, tmp_path, toml) as page:
        said = await page.locator("#beginning").inner_text()

    assert "receiver url sora2 --base http" in said
    assert "--show-token" in said
    assert token not in said


async def test_what_the_ledger_said_last_stays_on_the_first_page(
    place: Place, chromium: Browser
):
    await place.attempted(await place.accepted())
    page = await entered(chromium, place.server.url)

    await page.get_by_role("link", name="Prove that nothing was lost").click()
    await page.get_by_role("button", name="Add it up").click()
    await page.get_by_text("It adds up: 1 event, nothing lost.").wait_for()
    await page.get_by_role("link", name="Overview").click()

    said = await page.locator("#queues").inner_text()
    assert "It adds up: 1 event, nothing lost. added up" in said
    assert "ago" in said or "now" in said


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
async def test_a_flow_with_trouble_in_it_is_fit_for_everybody(
    tmp_path: Path, chromium: Browser, theme: Any, size: Any
):
    async with history(tmp_path) as started:
        page = await entered(chromium, started.url, viewport=size, color_scheme=theme)
        states = await page.locator(".flow .state").all_inner_texts()
        cut, wrong = await cut_off(page), await violations(page)
        phone = "-phone" if size is PHONE else ""
        await picture(page, f"busy{phone}-{theme}")
        await picture(page, f"flow{phone}-{theme}", "#drawing")

    assert "! paused" in states
    assert {"! retrying", "! breaker open"} & set(states)
    assert "! 1/min refused" in states
    assert cut == []
    assert wrong == []
