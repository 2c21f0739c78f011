"""What the page of the API shows can be typed, and does what the page says."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from receiver.web.api import OPERATIONS
from tests.web.api.conftest import ADMIN, Place, running

pytestmark = pytest.mark.e2e

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
EXAMPLES = [block for block in BLOCKS if "curl" in block]
EVENT = "evt_0123456789abcdef"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with running(tmp_path_factory.mktemp("api")) as place:
        for kind in ("created", "completed"):
            await place.delivered(await place.accepted(f"batch.{kind}", "bat_page"))
        yield place


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
@pytest.mark.asyncio(loop_scope="module")
async def test_every_example_of_the_api_works(served: Place, number: int):
    [first, *_] = (await served.get("/events", type="batch.created"))["items"]
    script = EXAMPLES[number].replace("http://127.0.0.1:8080", served.server.url)
    script = script.replace("the-token-that-was-made", f"'{ADMIN}'")

    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script.replace(EVENT, first["id"]),
        cwd=served.server.folder,
        env={
            **os.environ,
            "RECEIVER_URL": served.server.url,
            "RECEIVER_TOKEN": ADMIN,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert process.returncode == 0, (out + err).decode()
    assert out.startswith((b"{", b": connected"))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_refusal_that_is_shown_is_what_is_answered(served: Place):
    [shown] = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

    async with httpx.AsyncClient() as nobody:
        answer = await nobody.get(f"{served.server.url}/api/v1/status")

    assert answer.json() == json.loads(shown)


def test_the_page_names_every_noun_of_the_api():
    nouns = {operation.path.split("/")[1] for operation in OPERATIONS}

    assert {noun for noun in nouns if f"/{noun}" not in PAGE} == set()
