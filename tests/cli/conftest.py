"""A server with some history, and the commands run beside it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.making import sample
from tests.serving import Serving, command, config, serving
from tests.sinks import Sink, sink
from tests.web.wire import post

_numbers = itertools.count(1)
AT_ONCE = 3
"""Commands run at the same time, where nothing depends on their order."""


@dataclass
class Place:
    """A folder with a configuration, perhaps with a server in it."""

    folder: Path
    target: Sink
    server: Serving | None = None

    async def run(
        self, *arguments: str, code: int = 0, stdin: bytes = b""
    ) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with `code`."""
        found, out, err = await command(self.folder, *arguments, stdin=stdin)
        assert "Traceback" not in err, err
        assert "\x1b" not in out + err
        assert found == code, out + err
        return out, err

    async def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints with --json."""
        out, _ = await self.run(*arguments, "--json", code=code)
        return json.loads(out)

    async def each(
        self, several: Iterable[tuple[str, ...]], code: int = 0
    ) -> list[tuple[str, str]]:
        """What each of several commands prints; all of them end with `code`."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(arguments: tuple[str, ...]) -> tuple[str, str]:
            async with slots:
                return await self.run(*arguments, code=code)

        return await asyncio.gather(*(one(arguments) for arguments in several))

    async def accepted(self, kind: str = "batch.completed", subject: str = "") -> str:
        """Have an event accepted; its id."""
        assert self.server is not None
        subject = subject or f"bat_{next(_numbers)}"
        body = sample(kind, subject)
        answer = await post(self.server.url, body)
        assert answer.status == 200
        return str(answer.json["id"])

    async def refused(self) -> None:
        """Have a request refused for its signature, and kept."""
        assert self.server is not None
        before = len(await self.json("rejections", "list"))
        answer = await post(
            self.server.url, sample("batch.failed"), {"x-webhook-signature": "f0e9"}
        )
        assert answer.status == 401
        async with asyncio.timeout(10):
            while len(await self.json("rejections", "list")) == before:
                pass

    async def attempted(self, event_id: str, status: str) -> str:
        """The event's delivery that has this status after an attempt; its id."""
        assert self.server is not None
        line = await self.server.line(
            "delivery.attempted", event_id=event_id, status=status
        )
        return str(line["id"])

    async def delivery(self, event_id: str) -> str:
        """The event's only delivery; its id."""
        [found] = await self.json("deliveries", "list", "--event", event_id)
        return str(found["id"])


def destinations(target: Sink) -> dict[str, str]:
    quick = 'retry = { max_attempts = 1, waits = ["20ms"] }'
    return {
        "app": f'type = "http"\nurl = "{target.url}/app"\n{quick}',
        "spare": f'type = "http"\nurl = "{target.url}/spare"\n{quick}',
    }


ROUTES = """
[[routes]]
name = "all"
source = "sora2"
to = ["app"]

[[routes]]
name = "big"
source = "sora2"
when = "data.summary.total > 5000"
to = ["spare"]
"""


@pytest.fixture
async def target() -> AsyncIterator[Sink]:
    async with sink() as found:
        yield found


@pytest.fixture
async def place(tmp_path, target) -> AsyncIterator[Place]:
    """With a running server."""
    toml = config(destinations=destinations(target), routes=ROUTES)
    async with serving(tmp_path, toml) as server:
        yield Place(tmp_path, target, server)


@pytest.fixture
async def alone(tmp_path, target) -> Place:
    """With a configuration, and neither a server nor a store."""
    toml = config(destinations=destinations(target), routes=ROUTES)
    (tmp_path / "receiver.toml").write_text(toml)
    return Place(tmp_path, target)
