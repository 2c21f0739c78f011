"""A receiver with a bit of everything: busy and silent senders, a pause, an outage."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.making import sample
from tests.serving import SECRET, Serving, config, serving
from tests.sinks import sink
from tests.web.dashboard.conftest import ADMIN, TOKENS, Person, browser
from tests.web.wire import post

ROUTES = """
[sources.staging]
provider = "sora2"
path = "/webhook/staging"
secrets = ["{secret}"]

[sources.kie]
provider = "kie"
path = "/webhook/kie"
secrets = ["{secret}"]

[[routes]]
name = "results"
source = "sora2"
types = ["batch.completed", "batch.failed"]
to = ["app", "editor"]

[[routes]]
name = "everything"
source = "*"
to = ["archive"]

[[routes]]
name = "clips"
source = "kie"
to = ["editor"]

[[routes]]
name = "alerts"
source = "receiver"
to = ["mail"]
"""
NOBODY = "http://127.0.0.1:1"


@asynccontextmanager
async def history(folder: Path) -> AsyncIterator[Serving]:
    """A server to which that happened a moment ago."""
    async with sink() as target:

        def http(url: str) -> str:
            return f'type = "http"\nurl = "{url}"'

        to = {
            "app": http(target.url),
            "editor": http(target.url),
            "archive": http(NOBODY),
            "mail": http(target.url),
        }
        toml = config(
            destinations=to, server=TOKENS, routes=ROUTES.replace("{secret}", SECRET)
        )
        async with serving(folder, toml) as started:
            async with browser(started.url) as http_client:
                await _lived(started, Person(http_client))
            yield started


async def _lived(started: Serving, admin: Person) -> None:
    await admin.sign_in(ADMIN)
    await admin.send("/ui/destinations/editor/pause", reason="the editor moves")
    for i in range(40):
        kind = "batch.completed" if i % 3 else "batch.running"
        answer = await post(started.url, sample(kind, f"bat_{i:03}"))
        assert answer.status == 200
    async with httpx.AsyncClient() as http:
        refused = await http.post(f"{started.url}/webhook/staging", content=b"{}")
    assert refused.status_code == 401
    await started.lines("delivery.attempted", 26, destination="app")
    await started.line("delivery.attempted", destination="archive")
