"""Batches over the API: found, shown, added up."""

import json
from typing import Any

import pytest

from tests.making import sample
from tests.serving import command
from tests.web.api.conftest import Place
from tests.web.wire import post

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

BY: dict[str, dict[str, Any]] = {"day": {"by": "day"}, "both": {}}


async def lived(place: Place) -> None:
    """One whole life, and one that has only begun; both folded."""
    for kind in ("created", "running", "completed", "refunded"):
        await place.accepted(f"batch.{kind}", "bat_whole")
    begun = json.loads(sample("batch.created", "bat_open"))
    answer = await post(
        place.server.url, json.dumps({**begun, "request_id": "order-open"}).encode()
    )
    assert answer.status == 200
    await place.until(
        "/batches",
        lambda page: (
            {one["subject"]: one["events"] for one in page["items"]}
            == {"bat_whole": 4, "bat_open": 1}
        ),
    )


async def test_batches_are_found_by_what_is_known_of_them(place: Place):
    asked: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["bat_open", "bat_whole"]),
        ({"final": "true"}, ["bat_whole"]),
        ({"final": "false"}, ["bat_open"]),
        ({"state": "partial"}, ["bat_whole"]),
        ({"subject": "bat_open"}, ["bat_open"]),
        ({"request_id": "order-open"}, ["bat_open"]),
        ({"problem": "stalled"}, []),
        ({"older_than": "1h"}, []),
        ({"source": "sora2", "since": "1h"}, ["bat_open", "bat_whole"]),
        ({"until": "2026-01-01"}, []),
    ]
    await lived(place)
    found = [
        [one["subject"] for one in (await place.get("/batches", **query))["items"]]
        for query, _ in asked
    ]
    first = await place.get("/batches", limit=1)
    second = await place.get("/batches", limit=1, after=first["next"])

    assert found == [expected for _, expected in asked]
    assert [one["subject"] for one in first["items"]] == ["bat_open"]
    assert [one["subject"] for one in second["items"]] == ["bat_whole"]
    assert second["next"] is None


async def test_a_batch_and_its_credits_are_what_the_commands_show(place: Place):
    await lived(place)
    listed = (await place.get("/batches"))["items"]
    shown = await place.get(f"/batches/{listed[1]['id']}")
    added = {
        by: (await place.get("/batches/credits", since="2025-01-01", **query))["items"]
        for by, query in BY.items()
    }
    folder = place.server.folder
    said = [
        json.loads((await command(folder, "batches", *arguments, "--json"))[1])
        for arguments in (
            ("list",),
            ("show", "bat_whole"),
            ("credits", "--since", "2025-01-01", "--by", "day"),
            ("credits", "--since", "2025-01-01"),
        )
    ]

    assert said == [listed, shown, added["day"], added["both"]]
    assert added["both"][0]["settled"] == 90
    assert added["both"][0]["over"] == 0
    assert len(shown["items"]) == 10
    assert [step["type"] for step in shown["steps"]][-1] == "batch.refunded"


async def test_a_batch_nobody_heard_of_is_not_there(shared: Place):
    refused = await shared.get("/batches/sub_0123456789abcdef", code=404)

    assert refused["code"] == "not_found"
