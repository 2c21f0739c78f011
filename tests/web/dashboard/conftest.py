"""A server with a dashboard and some history, and people who are signed in to it."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, async_playwright

from tests.making import sample, signed
from tests.serving import Serving, config, serving
from tests.sinks import Seen, Sink, sink
from tests.web.wire import post

ADMIN, READ = "the admin token of these tests", "a token that may only look"
TOKENS = f'admin_token = "{ADMIN}"\nread_tokens = ["{READ}"]'
ROUTES = '[[routes]]\nname = "all"\nsource = "sora2"\nto = ["app"]'

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


class Person:
    """Somebody with a browser that keeps cookies and follows redirects."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def sign_in(self, token: str, **fields: str) -> httpx.Response:
        return await self.http.post("/ui/sign-in", data={"token": token, **fields})

    async def see(self, path: str, status: int = 200) -> str:
        """A page's HTML."""
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    async def form_token(self) -> str:
        found = _TOKEN.search(await self.see("/"))
        assert found is not None
        return found[1]

    async def send(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """A form of ours, sent."""
        token = await self.form_token()
        return await self.http.post(path, data={"form_token": token, **fields})


@dataclass
class Place:
    """A running server, where it delivers to, and two people who are signed in."""

    server: Serving
    target: Sink
    admin: Person
    reader: Person

    async def accepted(
        self, kind: str = "batch.completed", subject: str = "bat_1"
    ) -> str:
        """Have an event accepted; its id."""
        return await self.took(sample(kind, subject))

    async def took(self, body: bytes) -> str:
        answer = await post(self.server.url, body)
        assert answer.status == 200, answer.json
        return str(answer.json["id"])

    async def attempted(self, event_id: str, status: str = "delivered") -> str:
        """The event's delivery once an attempt left it like this; its id."""
        line = await self.server.line(
            "delivery.attempted", event_id=event_id, status=status
        )
        return str(line["id"])

    async def refused(self) -> None:
        """Have a request refused for its signature, and kept."""
        body = sample("batch.failed")
        answer = await post(self.server.url, body, signed(body, "another secret"))
        assert answer.status == 401

    async def listed(self, path: str, pattern: str) -> str:
        """The first of a kind of id on a page, once there is one."""
        async with asyncio.timeout(60):
            while not (found := re.search(pattern, await self.admin.see(path))):  # noqa: ASYNC110 (over HTTP)
                await asyncio.sleep(0.1)
        return found[0]


def browser(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, follow_redirects=True)


@asynccontextmanager
async def running(folder: Path, server: str = "") -> AsyncIterator[Place]:
    async with sink() as target:
        app = f'type = "http"\nurl = "{target.url}"\nretry = {{ max_attempts = 1 }}'
        toml = config(
            destinations={"app": app, "spare": app},
            server=f"{TOKENS}\n{server}",
            routes=ROUTES,
        )
        async with (
            serving(folder, toml) as started,
            browser(started.url) as one,
            browser(started.url) as two,
        ):
            admin, reader = Person(one), Person(two)
            await admin.sign_in(ADMIN)
            await reader.sign_in(READ)
            yield Place(started, target, admin, reader)


@pytest_asyncio.fixture(loop_scope="module")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with running(tmp_path) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """For tests that do not mind each other."""
    async with running(tmp_path_factory.mktemp("dashboard")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


async def refuse(_: Seen) -> web.StreamResponse:
    """What a destination answers that will never take it."""
    return web.Response(status=400, text="gone <b>for good</b>")
