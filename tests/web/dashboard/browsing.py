"""
A browser to look at the dashboard with: Debian's chromium, driven over its own protocol.

`axe.min.js` beside this file is axe-core 4.14.1 by Deque Systems, unchanged, under the
Mozilla Public License 2.0 (https://github.com/dequelabs/axe-core); only tests use it.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.web.dashboard.conftest import ADMIN, CHROMIUM

IN_A_BROWSER = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

AXE = Path(__file__).with_name("axe.min.js").read_text()
IMAGES = os.environ.get("DASHBOARD_IMAGES")
"""A folder to put pictures for the documentation in; unset: none are kept."""

PHONE = {"width": 390, "height": 844}


async def entered(browser: Browser, url: str, token: str = ADMIN, **how: Any) -> Page:
    """A page on which somebody has signed in; trouble on it fails the test."""
    context = await browser.new_context(**how)
    page = await context.new_page()
    page.set_default_timeout(60_000)
    await page.goto(url)
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Overview").wait_for()
    return page


async def violations(page: Page) -> list[str]:
    """What axe finds; it is run by the driver, for the page's policy forbids it."""
    await page.evaluate(AXE)
    found = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found["violations"]
    ]


async def picture(page: Page, name: str, region: str = "") -> None:
    """What is seen of the page, or all of a region of it."""
    if IMAGES:
        shown = page.locator(region) if region else page
        await shown.screenshot(path=f"{IMAGES}/{name}.png", scale="css")
