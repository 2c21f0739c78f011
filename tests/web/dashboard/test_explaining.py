"""A refused request: why, what would fit, and how it becomes an event after all."""

import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.making import sample, signed
from tests.serving import SECRET, config, serving
from tests.sinks import sink
from tests.web.dashboard.browsing import IN_A_BROWSER, PHONE, entered, violations
from tests.web.dashboard.conftest import READ, TOKENS, Place
from tests.web.wire import post

pytestmark = IN_A_BROWSER

THEIRS = "the secret the provider really has"


@asynccontextmanager
async def looking_at(
    browser: Browser, place: Place, body: bytes, secret: str = THEIRS, **how: Any
) -> AsyncIterator[Page]:
    """The page of a request with this body, signed with this secret."""
    answer = await post(place.server.url, body, signed(body, secret))
    assert answer.status == 401
    await place.listed("/ui/rejections", r"rej_\w+")
    page = await entered(browser, place.server.url, **how)
    await page.get_by_role("link", name="Rejections", exact=True).click()
    await page.get_by_role("link", name="signature_mismatch").first.click()
    await page.get_by_role("heading", name="What is asked of it").wait_for()
    yield page
    await page.context.close()


def mend(place: Any) -> None:
    """Put the right secret into the configuration, and have it read."""
    file = place.folder / "receiver.toml"
    file.write_text(file.read_text().replace(SECRET, THEIRS))
    place.process.send_signal(signal.SIGHUP)


async def test_a_wrong_secret_is_explained_mended_and_the_request_delivered(
    tmp_path: Path, chromium: Browser
):
    body = sample("batch.completed", "bat_refused")
    async with sink() as target:
        app = f'type = "http"\nurl = "{target.url}"'
        toml = config(destinations={"app": app}, server=TOKENS)
        async with serving(tmp_path, toml) as running:
            answer = await post(running.url, body, signed(body, THEIRS))
            page = await entered(chromium, running.url)
            await page.get_by_text("1 refused request to sora2").click()
            await page.get_by_role("link", name="signature_mismatch").click()
            steps = page.get_by_role("region", name="What is asked of it")
            refused = await steps.inner_text()
            await page.get_by_role("button", name="See if it would").click()
            before = await page.get_by_role("table", name="Results").inner_text()

            mend(running)
            await running.line("reload.done")
            await page.go_back()
            await page.reload()
            mended = await steps.inner_text()
            await page.get_by_role("button", name="Verify again").click()
            await page.get_by_role("heading", name="Verified again").wait_for()
            await page.get_by_role("link", name=re.compile("^evt_")).click()
            await page.get_by_role("heading", name="batch.completed").wait_for()
            await page.locator("#deliveries .state", has_text="delivered").wait_for()
            [seen] = await target.wait_for(1)

    assert answer.status == 401
    assert "it would be refused: signature" in refused
    assert "no try explains it" in refused
    given = signed(body, THEIRS)["x-sora2-signature"].removeprefix("sha256=")
    expected = signed(body, SECRET)["x-sora2-signature"].removeprefix("sha256=")
    assert f"given is {given[:8]}..., secrets[0]" in refused
    assert f"gives {expected[:8]}..." in refused
    assert given[:16] not in refused
    assert "signature_mismatch" in before
    assert "it would be accepted" in mended
    assert seen.body == body


async def test_the_recipe_that_would_fit_is_named(place: Place):
    compact = sample("batch.completed", "bat_spelled")
    spread = json.dumps(json.loads(compact), indent=2).encode()
    compact = json.dumps(json.loads(compact), separators=(",", ":")).encode()
    headers = signed(compact, SECRET)
    answer = await post(place.server.url, spread, headers)
    found = await place.listed("/ui/rejections", r"rej_\w+")

    text = await place.admin.see(f"/ui/rejections/{found}")

    assert answer.status == 401
    assert "if the body is compact JSON" in text
    assert "pass on the raw bytes as they came" in text


async def test_secrets_are_on_no_page(place: Place):
    body = sample("batch.completed")
    secret = {"x-sora2-signature": SECRET, "content-type": "application/json"}
    answer = await post(place.server.url, body, secret)
    found = await place.listed("/ui/rejections", r"rej_\w+")

    text = await place.admin.see(f"/ui/rejections/{found}")
    again = await place.reader.see(f"/ui/rejections/{found}")

    assert answer.status == 401
    assert "holds the secret itself, and no signature" in text
    assert SECRET not in text
    assert SECRET not in again


async def test_a_large_body_is_explained_when_that_is_asked_for(
    place: Place, chromium: Browser
):
    body = json.loads(sample("batch.completed", "bat_large"))
    large = json.dumps({**body, "extra": "x" * 100_000}).encode()
    async with looking_at(chromium, place, large) as page:
        first = await page.get_by_role("region", name="What is asked").inner_text()
        await page.get_by_role("link", name="explain it").click()
        await page.get_by_role("table", name="Steps").wait_for()

    assert "Its body is large" in first


async def test_a_source_that_is_gone_is_said(place: Place):
    await place.refused()
    found = await place.listed("/ui/rejections", r"rej_\w+")
    file = place.server.folder / "receiver.toml"
    file.write_text(
        file.read_text()
        .replace("[sources.sora2]", "[sources.other]")
        .replace('source = "sora2"', 'source = "other"')
    )
    place.server.process.send_signal(signal.SIGHUP)
    await place.server.line("reload.done")

    text = await place.admin.see(f"/ui/rejections/{found}")

    assert "Its source is not configured any more." in text


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
async def test_an_explanation_is_fit_for_everybody(
    place: Place, chromium: Browser, theme: Any, size: Any
):
    how = {"viewport": size, "color_scheme": theme, "token": READ}
    body = sample("batch.completed", "b" * 150)
    async with looking_at(chromium, place, body, **how) as page:
        wrong = await violations(page)
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")

    assert wrong == []
    assert not wide
