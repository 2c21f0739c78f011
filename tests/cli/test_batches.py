"""batches: what became of each, its timeline, and its credits."""

import asyncio
import csv
import io
import json
import re

import pytest

from receiver.stores import open_reader
from receiver.subjects import SubjectFilter
from tests.cli.conftest import Place
from tests.making import sample
from tests.web.wire import post


async def followed(place: Place, subject: str, events: int) -> None:
    """Wait until so many events of a batch were folded."""
    where = SubjectFilter(subject=subject)
    reader = await open_reader(f"sqlite:///{place.folder}/receiver.db")
    try:
        async with asyncio.timeout(60):
            while not [
                one
                for one in await reader.subjects(where, limit=2)
                if one.events >= events
            ]:
                pass  # each look takes a moment in another thread
    finally:
        await reader.close()


async def sent(place: Place, kind: str, subject: str, **changes: object) -> str:
    assert place.server is not None
    body = json.loads(sample(kind, subject))
    answer = await post(place.server.url, json.dumps({**body, **changes}).encode())
    assert answer.status == 200
    return str(answer.json["id"])


@pytest.fixture
async def lived(place: Place) -> Place:
    """With one whole life, and one that has only begun."""
    times = {"batch.created": "10:00:00", "batch.running": "10:00:05"}
    times |= {"batch.completed": "10:02:05", "batch.refunded": "10:02:06"}
    for kind in times:
        await sent(place, kind, "bat_whole")
    await sent(place, "batch.created", "bat_open", request_id="order-open")
    await followed(place, "bat_whole", 4)
    await followed(place, "bat_open", 1)
    return place


async def test_batches_are_listed_with_what_became_of_them(lived: Place):
    out, _ = await lived.run("batches", "list")
    listed = await lived.json("batches", "list")

    assert "bat_whole" in out
    assert "partial" in out
    assert [one["subject"] for one in listed] == ["bat_open", "bat_whole"]
    assert listed[1]["credits"] == {"reserved": 100, "settled": 90, "refunded": 10}


async def test_batches_are_found_by_what_is_known_of_them(lived: Place):
    asked = [
        (("--final",), ["bat_whole"]),
        (("--open",), ["bat_open"]),
        (("--state", "partial"), ["bat_whole"]),
        (("--request-id", "order-open"), ["bat_open"]),
        (("--problem", "stalled"), []),
        (("--older-than", "1h"), []),
        (("--source", "sora2", "--since", "1h"), ["bat_open", "bat_whole"]),
        (("--until", "2026-01-01"), []),
        (("--limit", "1"), ["bat_open"]),
    ]

    found = await lived.each(("batches", "list", *args, "--json") for args, _ in asked)

    for (args, expected), (out, _) in zip(asked, found, strict=True):
        assert [one["subject"] for one in json.loads(out)] == expected, args


async def test_a_page_says_how_to_go_on(lived: Place):
    _, err = await lived.run("batches", "list", "--limit", "1")

    after = err.split()[-1]
    assert after.startswith("sub_")
    [found] = await lived.json("batches", "list", "--limit", "1", "--after", after)
    assert found["subject"] == "bat_whole"


async def test_a_batch_is_shown_with_its_life_its_credits_and_its_items(lived: Place):
    out, _ = await lived.run("batches", "show", "bat_whole")
    shown = await lived.json("batches", "show", "bat_whole")
    by_id = await lived.json("batches", "show", shown["id"])

    assert "reserved 100, settled 90, refunded 10" in out
    assert "order-bat_whole" in out
    lines = [line for line in out.splitlines() if "  o  " in line]
    assert [line.split("  o  ")[1].split()[:2] for line in lines] == [
        ["batch.created", "pending"],
        ["batch.running", "running"],
        ["batch.completed", "partial"],
        ["batch.refunded", "partial"],
    ]
    assert "bat_whole-001.mp4" in out
    assert "Model timeout" in out
    assert [step["type"] for step in shown["steps"]][-1] == "batch.refunded"
    assert len(shown["items"]) == 10
    assert len(shown["result_urls"]) == 9
    assert by_id == shown


async def test_a_batch_of_which_only_the_end_came_took_what_its_sender_says_or_nothing(
    place: Place,
):
    await sent(place, "batch.completed", "bat_said")
    await sent(place, "batch.completed", "bat_silent", duration_ms=None)
    await followed(place, "bat_said", 1)
    await followed(place, "bat_silent", 1)

    listed, _ = await place.run("batches", "list")
    said, _ = await place.run("batches", "show", "bat_said")
    silent, _ = await place.run("batches", "show", "bat_silent")

    assert " ms" not in listed
    assert re.search(r"ended +[^ ]+ [^ ]+Z, after 2 min 5 s\n", said)
    assert re.search(r"ended +[^ ]+ [^ ]+Z\n", silent)
    assert "after" not in silent


async def test_a_batch_nobody_has_heard_of_is_not_found(lived: Place):
    _, err = await lived.run("batches", "show", "bat_none", code=1)

    assert "nothing is known of 'bat_none'" in err


async def test_credits_are_added_up_for_people_programs_and_spreadsheets(lived: Place):
    out, _ = await lived.run("batches", "credits", "--since", "1h")
    [line] = await lived.json("batches", "credits", "--by", "source")
    text, _ = await lived.run("batches", "credits", "--by", "day", "--csv")

    assert "SETTLED" in out
    assert (line["day"], line["source"]) == (None, "sora2")
    assert (line["subjects"], line["reserved"], line["settled"]) == (1, 100, 90)
    headings, row = csv.reader(io.StringIO(text))
    assert headings[0] == "day"
    assert row[1:] == ["1", "100", "90", "10", "0", "0", "0"]


async def test_credits_are_csv_or_json_and_not_both(alone: Place):
    _, err = await alone.run("batches", "credits", "--csv", "--json", code=2)

    assert "either --csv or --json" in err


async def test_what_does_not_add_up_is_said_below_the_credits(place: Place):
    ledger = {"reserved": 100, "settled": 95, "refunded": 10}
    await sent(place, "batch.completed", "bat_odd", ledger=ledger)
    await followed(place, "bat_odd", 1)

    out, _ = await place.run("batches", "credits")
    shown, _ = await place.run("batches", "show", "bat_odd")

    assert out.splitlines()[0].split()[-3:] == ["MISSING", "OVER", "MISMATCHES"]
    assert out.splitlines()[1].split()[-6:] == ["100", "95", "10", "0", "5", "1"]
    assert "! 1 batch whose credits do not add up" in out
    assert (
        "! ledger: its credits do not add up (95 credits charged and 10 given back are "
        "more than the 100 that were held)"
    ) in shown
