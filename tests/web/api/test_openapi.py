"""
The OpenAPI document says what the API does.

Schemathesis asks whatever the document allows, and much that it does not, and holds
every answer against it.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis

from tests.making import sample, signed
from tests.web.api.conftest import ADMIN, Place

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

EXAMPLES = 8
"""For each operation, beside those at the edges of what is allowed."""


async def test_the_api_does_what_its_document_says_and_nothing_else(
    place: Place, tmp_path: Path
):
    ids = await _history(place)
    (tmp_path / "schemathesis.toml").write_text(_known(ids))

    code, said = await _schemathesis(
        tmp_path, "run", f"{place.server.url}/api/openapi.json"
    )

    assert code == 0, said
    assert "error" not in {line.get("level") for line in place.server.log}


async def _history(place: Place) -> dict[str, list[str]]:
    """One of everything that has an id."""
    events = [
        await place.accepted(f"batch.{kind}", "bat_known")
        for kind in ("created", "running", "completed", "refunded")
    ]
    deliveries = [await place.delivered(event) for event in events]
    asked = {"events": events[:1], "to": ["spare"]}
    replay = await place.post("/replays", asked, code=201)
    sent = sample("batch.completed", "bat_refused")
    async with httpx.AsyncClient() as http:
        await http.post(
            f"{place.server.url}/webhook/sora2",
            content=sent,
            headers=dict(signed(sent, "another secret")),
        )
    rejections = await place.until("/rejections", lambda page: page["items"])
    batches = await place.until("/batches", lambda page: page["items"])
    return {
        "events": events,
        "deliveries": deliveries,
        "replays": [replay["id"]],
        "rejections": [one["id"] for one in rejections["items"]],
        "batches": [one["id"] for one in batches["items"]],
    }


def _known(ids: dict[str, list[str]]) -> str:
    """What is there, so that not every answer is 404."""
    found = [
        f"generation.max-examples = {EXAMPLES}",
        "generation.deterministic = true",
        f'headers = {{ Authorization = "Bearer {ADMIN}" }}',
        *_dictionary("destinations", ["app", "spare"]),
    ]
    for noun, known in ids.items():
        found += _dictionary(noun, known)
    for noun in (*ids, "destinations"):
        name = "name" if noun == "destinations" else "id"
        found += [
            "[[operations]]",
            f'include-path-regex = "^/api/v1/{noun}/"',
            "[operations.parameters]",
            f'"path.{name}" = {{ dictionary = "{noun}", probability = 0.7 }}',
            f'"body.ids[*]" = {{ dictionary = "{noun}", probability = 0.7 }}',
            '"body.to" = { dictionary = "destinations", probability = 0.7 }',
            '"query.destination" = { dictionary = "destinations", probability = 0.7 }',
        ]
    return "\n".join(found)


def _dictionary(name: str, values: Sequence[str]) -> list[str]:
    return [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]


async def _schemathesis(folder: Path, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *arguments,
        "--checks=all",
        "--phases=examples,coverage,fuzzing",
        "--exclude-path=/api/v1/stream",  # which has no end
        "--warnings=off",
        "--generation-database=none",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_an_endpoint_that_streams_says_so_and_refuses_like_the_others(
    shared: Place,
):
    described = await _document(shared)
    stream = described["paths"]["/api/v1/stream"]["get"]
    async with shared.client.stream("GET", "/stream") as live:
        media_type = live.headers["content-type"].partition(";")[0]
    refused = [
        (await shared.client.get("/stream", params=query)).status_code
        for query in ({"after": "evt_1"}, {"body": "yes"}, {"colour": "red"})
    ]

    assert list(stream["responses"]["200"]["content"]) == [media_type]
    assert refused == [400, 400, 400]


async def test_the_document_is_openapi(shared: Place):
    found = schemathesis.openapi.from_dict(await _document(shared))

    assert found.specification.name == "Open API 3.1.0"
    found.validate()


async def test_a_path_says_which_methods_it_has(shared: Place):
    url = f"{shared.server.url}/api/v1"
    async with httpx.AsyncClient() as http:
        asked = {
            path: (await http.request("OPTIONS", url + path)).headers["allow"]
            for path in ("/replays", "/replays/try", "/events/evt_1")
        }

    assert asked == {
        "/replays": "POST, GET, HEAD",
        "/replays/try": "POST",
        "/events/evt_1": "GET, HEAD",
    }


async def _document(place: Place) -> Any:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{place.server.url}/api/openapi.json")).json()
