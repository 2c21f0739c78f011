"""receiver prune, with a server and without, and what the other commands say then."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import clock
from receiver.models import Attempt, Decision, Outcome, Result, Status, Step, Trigger
from receiver.stores import Store, open_store
from tests.cli.conftest import Place
from tests.making import sample
from tests.stores.making import claim, event
from tests.web.wire import post

DAY = timedelta(days=1)
TO = Decision((("all", "matched"),), ("app",))


async def filled(
    folder: Path, *days: float, status: Status = Status.DELIVERED
) -> list[str]:
    """The ids of events that came so many days ago, and what became of them."""
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    try:
        return [await _settled(store, age, status) for age in days]
    finally:
        await store.close()


async def _settled(store: Store, age: float, status: Status) -> str:
    now = clock.now()
    given = event(body=b'{"a": 1}' * 300, subject=f"bat_{age:g}", at=now - age * DAY)
    added = await store.add(given, TO, {"total": 10})
    for one in (await claim(store, "app", now=now)).claims:
        outcome = Outcome(Result.OK, response="thanks")
        attempt = Attempt(1, Trigger.SCHEDULED, now, 3.0, outcome)
        await store.record(one, attempt, Step(status, now))
    return added.event_id


async def test_what_would_go_is_counted_and_stays(alone):
    await filled(alone.folder, 100, 40, 20)

    out, _ = await alone.run("prune", "--dry-run")
    found = await alone.json("prune", "--dry-run", "--older-than", "30d")
    sized = await alone.json("prune", "--dry-run", "--to-size", "1kB")

    assert out.startswith("would remove 1 event, 1 body, 1 delivery (0.0 MB")
    assert (found["events"], found["deliveries"], found["dry_run"]) == (2, 2, True)
    assert sized["events"] == 3
    assert len(await alone.json("events", "list")) == 3


async def test_by_default_what_the_configuration_calls_old_goes(alone):
    gone, empty, whole = await filled(alone.folder, 100, 40, 20)

    out, _ = await alone.run("prune", "--yes")
    again, _ = await alone.run("prune", "--yes")

    assert out.startswith("removed 1 event, 1 body, 1 delivery")
    assert again == "nothing is old enough\n"
    listed = await alone.json("events", "list")
    assert {e["id"]: bool(e["body_pruned_at"]) for e in listed} == {
        empty: True,
        whole: False,
    }
    _, err = await alone.run("events", "show", gone, code=1)
    assert "only keys are kept" in err
    status = await alone.json("status")
    assert (status["difference"], status["totals"]["events"]) == (0, 3)


async def test_only_bodies_go_where_that_is_asked(alone):
    await filled(alone.folder, 100, 40, 20)

    found = await alone.json("prune", "--older-than", "30d", "--bodies", "--yes")

    assert (found["events"], found["bodies"]) == (0, 2)
    assert len(await alone.json("events", "list")) == 3


async def test_the_store_is_pruned_to_a_size_and_the_file_is_shorter(alone):
    await filled(alone.folder, *(50 - i / 10 for i in range(300)))
    file = alone.folder / "receiver.db"
    before = file.stat().st_size

    found = await alone.json("prune", "--to-size", "700kB", "--yes")

    assert 0 < found["events"] < 300
    assert file.stat().st_size <= 700_000 < before
    assert len(await alone.json("events", "list", "--limit", "300")) == (
        300 - found["events"]
    )


async def test_nothing_goes_that_waits(alone):
    [waiting] = await filled(alone.folder, 100, status=Status.PENDING)

    out, err = await alone.run("prune", "--older-than", "1d", "--yes")

    assert out == "nothing is old enough\n"
    assert "1 event stay: a delivery waits" in err
    [listed] = await alone.json("events", "list")
    assert (listed["id"], listed["body_pruned_at"]) == (waiting, None)


async def test_of_what_has_no_body_the_commands_say_so(alone):
    [done] = await filled(alone.folder, 41)
    [dead] = await filled(alone.folder, 40, status=Status.DEAD)
    await alone.run("prune", "--yes")
    [delivery] = await alone.json("deliveries", "list", "--status", "dead")
    today = f"{clock.now():%Y-%m-%d}"

    shown, _ = await alone.run("events", "show", done)
    _, raw = await alone.run("events", "show", done, "--raw", code=1)
    explained, _ = await alone.run("explain", done)
    as_json = await alone.json("explain", done)
    _, replayed = await alone.run("replay", done, code=1)
    bulk, left_out = await alone.run("replay", "--source", "sora2", "--yes")
    _, previewed = await alone.run("preview", "app", done, code=1)
    _, retried = await alone.run("deliveries", "retry", delivery["id"], code=1)
    in_bulk = await alone.json("deliveries", "retry", "--status", "dead", "--yes")
    _, moved = await alone.run(
        "deliveries", "move", delivery["id"], "--to", "spare", code=1
    )

    assert f"pruned on {today}, with headers and query" in shown
    assert "bat_41" in shown
    for said in (raw, replayed, previewed):
        assert f"the body of {done} was pruned on {today}" in said
    assert "it cannot be said what today's configuration" in explained
    assert (as_json["today"], as_json["decided"]["destinations"]) == (None, ["app"])
    assert bulk.endswith(": 0 deliveries of 0 events\n")
    assert "2 events left out: the bodies were pruned" in left_out
    assert "the event's body was pruned" in retried
    assert "the event's body was pruned" in moved
    assert (in_bulk["matched"], in_bulk["changed"]) == (1, 0)
    assert (await alone.json("events", "show", dead))["body_pruned_at"]
    await alone.run("deliveries", "cancel", delivery["id"])


async def test_the_quick_status_leaves_out_what_reads_everything(alone):
    await filled(alone.folder, 100)
    await filled(alone.folder, 41, status=Status.DEAD)
    await filled(alone.folder, 40, 20)
    before, _ = await alone.run("status", "--quick")
    await alone.run("prune", "--yes")

    quick = await alone.json("status", "--quick")
    shown, _ = await alone.run("status")

    assert (quick["difference"], quick["totals"], quick["ledger"]) == (None, None, None)
    assert quick["store"]["pruned_events"] == 1
    assert "DIFFERENCE" not in before
    assert "bodies of the last 100 d" in before
    assert "there are dead deliveries" in before
    assert "4, 1 of them pruned" in shown
    assert "bodies of the last 20 d" in shown
    assert "there are dead deliveries" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--older-than", "soon"), "'soon' is no age"),
        (("--to-size", "big"), "'big' is no size"),
        (("--bodies",), "Add --older-than"),
        (("--older-than", "1d", "--to-size", "1GB"), "not both"),
        (("--older-than", "9999999d"), "is no age"),
    ],
)
async def test_what_cannot_be_meant_is_refused(alone, arguments, words):
    await filled(alone.folder, 1)

    _, err = await alone.run("prune", *arguments, code=2)

    assert words in err


async def test_it_asks_before_it_removes_anything(alone):
    await filled(alone.folder, 100)

    _, err = await alone.run("prune", code=2)

    assert "remove 1 event, 1 delivery (0.0 MB of bodies)? Add --yes" in err
    assert len(await alone.json("events", "list")) == 1


@pytest.mark.e2e
async def test_a_running_server_prunes_and_still_knows_what_it_had(place):
    server, body = place.server, sample("batch.completed", "bat_1")
    first = await post(server.url, body)
    await server.line("delivery.attempted", status="delivered")

    found = await pruned_by_the_server(place)
    again = await post(server.url, body)
    other = await post(server.url, body.replace(b"}", b" }", 1))
    line = await server.line("store.pruned")
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{server.url}/metrics")).text
    status = await place.json("status")

    assert (first.status, found["events"], found["deliveries"]) == (200, 1, 1)
    for answer in (again, other):
        assert (answer.status, answer.json["status"]) == (200, "duplicate")
        assert answer.json["id"] == first.json["id"]
    assert (line["events"], line["asked_by"]) == (1, "control socket")
    assert 'receiver_pruned_total{kind="events"} 1.0' in metrics
    assert "receiver_store_bytes " in metrics
    assert status["difference"] == 0
    [row] = status["ledger"]
    assert (row["decided"], row["by_status"]["delivered"]) == (1, 1)


async def pruned_by_the_server(place: Place) -> Any:
    """All there is; what nobody has followed yet takes another moment."""
    while True:
        found = await place.json("prune", "--older-than", "0s", "--yes")
        if found["events"]:
            return found
