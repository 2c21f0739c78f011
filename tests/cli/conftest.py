"""A server with some history, and the commands run beside it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Serving, command, config, serving
from tests.sinks import Sink, sink


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

    async def send(self, *arguments: str) -> str:
        """Have an event accepted; its id."""
        url = f"{self.server.url}/webhook/sora2" if self.server else ""
        answer = await self.json("send", "sora2", *arguments, "--url", url)
        assert answer["status_code"] == 200
        event_id: str = answer["answer"]["id"]
        return event_id

    async def delivery(self, event_id: str, status: str = "") -> dict[str, Any]:
        """The event's only delivery, once it has this status."""
        while True:
            [found] = await self.json("deliveries", "list", "--event", event_id)
            if not status or found["status"] == status:
                return dict(found)


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
