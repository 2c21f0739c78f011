"""A server whose API is on, with some history."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.making import sample
from tests.serving import Serving, config, serving
from tests.sinks import Sink, sink
from tests.web.wire import post

ADMIN, READ = "the admin token of these tests", "a token that may only look"
TOKENS = f'admin_token = "{ADMIN}"\nread_tokens = ["{READ}"]'
SERVER = f'{TOKENS}\ngrace = "5m"'  # what holds up a stop is noticed

_numbers = itertools.count(1)


@dataclass
class Place:
    """A running server, a destination of it, and a client that may do everything."""

    server: Serving
    target: Sink
    client: httpx.AsyncClient
    reader: httpx.AsyncClient = field(repr=False)

    async def accepted(self, kind: str = "batch.completed", subject: str = "") -> str:
        """Have an event accepted; its id."""
        subject = subject or f"bat_{next(_numbers)}"
        answer = await post(self.server.url, sample(kind, subject))
        assert answer.status == 200
        return str(answer.json["id"])

    async def delivered(self, event_id: str, status: str = "delivered") -> str:
        """The event's delivery that has this status after an attempt; its id."""
        line = await self.server.line(
            "delivery.attempted", event_id=event_id, status=status
        )
        return str(line["id"])

    async def get(self, path: str, code: int = 200, **query: object) -> Any:
        answer = await self.client.get(
            path, params={k: str(v) for k, v in query.items()}
        )
        assert answer.status_code == code, answer.text
        return answer.json()

    async def post(self, path: str, body: object = None, code: int = 200) -> Any:
        answer = await self.client.post(path, json={} if body is None else body)
        assert answer.status_code == code, answer.text
        return answer.json()

    async def until(self, path: str, done: Callable[[Any], object]) -> Any:
        """What a path answers, once that is as wanted."""
        async with asyncio.timeout(60):
            while not done(found := await self.get(path)):  # noqa: ASYNC110 (over HTTP)
                await asyncio.sleep(0.02)
        return found


def client(url: str, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"{url}/api/v1",
        headers={"authorization": f"Bearer {token}"} if token else {},
    )


@pytest_asyncio.fixture(loop_scope="module")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with running(tmp_path) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """For tests that leave everything as it was, or do not mind the others."""
    async with running(tmp_path_factory.mktemp("shared")) as found:
        yield found


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Place]:
    async with sink() as target:
        app = f'type = "http"\nurl = "{target.url}"'
        toml = config(
            destinations={"app": app, "spare": app}, server=SERVER, routes=ROUTES
        )
        async with serving(folder, toml) as server:
            url = server.url
            async with client(url, ADMIN) as admin, client(url, READ) as reader:
                yield Place(server, target, admin, reader)


ROUTES = '[[routes]]\nname = "all"\nsource = "sora2"\nto = ["app"]'
