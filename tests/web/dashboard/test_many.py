"""More deliveries than one form changes: what is left is said, and asked for again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from playwright.async_api import Browser, Page

from receiver import clock
from receiver.models import Status
from receiver.stores import DeliveryFilter, open_reader, open_store
from receiver.web.dashboard.many import AT_ONCE
from tests.serving import config, serving
from tests.stores.making import accepted
from tests.web.dashboard.browsing import IN_A_BROWSER, entered
from tests.web.dashboard.conftest import TOKENS

pytestmark = IN_A_BROWSER

MORE = 1_200
STEP = 2_000


@asynccontextmanager
async def with_many(folder: Path) -> AsyncIterator[str]:
    """A server with more than it changes at once, all for a destination that is paused."""
    url = f"sqlite:///{folder}/receiver.db"
    store = await open_store(url, min_free_bytes=0)
    now = clock.now()
    event_id = await accepted(store, at=now)
    replay = await store.create_replay({}, now)
    later = now + timedelta(hours=1)
    for begin in range(0, AT_ONCE + MORE, STEP):
        size = min(STEP, AT_ONCE + MORE - begin)
        wanted = [(event_id, "app", later)] * size
        await store.add_replayed(replay, wanted, as_new=True, now=now)
    await store.pause("app", "for a test", now)
    await store.close()
    app = 'type = "http"\nurl = "http://127.0.0.1:1"'
    toml = config(destinations={"app": app}, server=TOKENS)
    async with serving(folder, toml) as running:
        yield running.url


async def counted(folder: Path, status: Status) -> int:
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        found = await reader.deliveries(DeliveryFilter(status), limit=100_000)
    finally:
        await reader.close()
    return len(found)


async def asked(browser: Browser, url: str, button: str) -> Page:
    page = await entered(browser, url)
    await page.goto(f"{url}/ui/deliveries?status=pending&destination=app")
    await page.get_by_role("button", name=button).click()
    return page


async def test_what_is_left_of_very_many_is_said_and_cancelled_next(
    tmp_path: Path, chromium: Browser
):
    async with with_many(tmp_path) as url:
        page = await asked(chromium, url, "Cancel…")
        first = await page.locator("main").inner_text()
        await page.get_by_role("button", name="Cancel them").click()
        await page.get_by_text(
            f"{AT_ONCE:,} of the deliveries are cancelled"
        ).wait_for()
        second = await page.locator("main").inner_text()
        halfway = await counted(tmp_path, Status.PENDING)
        await page.get_by_role("button", name="Cancel them").click()
        await page.get_by_text(f"{MORE:,} of the deliveries are cancelled").wait_for()
        left = await counted(tmp_path, Status.PENDING)
        path = page.url

    assert "Cancel 1,000 or more deliveries?" in first
    assert "At most 10,000 at a time" in first
    assert "Cancel the 1,000 or more deliveries that are left?" in second
    assert (halfway, left) == (MORE, 0)
    assert "/ui/deliveries?" in path


async def test_none_is_tried_again_twice_though_it_stays_pending(
    tmp_path: Path, chromium: Browser
):
    async with with_many(tmp_path) as url:
        page = await asked(chromium, url, "Try again…")
        await page.get_by_role("button", name="Try them again").click()
        await page.get_by_text(f"{AT_ONCE:,} of the deliveries are tried").wait_for()
        await page.get_by_role("button", name="Try them again").click()
        await page.get_by_text(f"{MORE:,} of the deliveries are tried").wait_for()
