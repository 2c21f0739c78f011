"""Every command that changes what was accepted, beside a real server."""

import asyncio
import json
import os
import sys
from datetime import datetime

import httpx
import pytest

from tests.cli.answers import UNKNOWN, refusing

# -- mending


async def test_a_dead_delivery_can_be_retried(place):
    place.target.respond = refusing(500)
    event_id = await place.accepted()
    delivery = await place.attempted(event_id, "dead")
    shown, _ = await place.run("deliveries", "show", delivery)
    place.target.respond = None

    out, _ = await place.run("deliveries", "retry", delivery)
    await place.attempted(event_id, "delivered")
    again, why = await place.run("deliveries", "retry", delivery, code=1)
    line = await place.server.line("deliveries.retried")
    found = await place.json("deliveries", "show", delivery)

    assert "500 Internal Server Error" in shown
    assert "retry: 1 of 1 delivery" in out
    assert "retry: 0 of 1 delivery" in again
    assert why == f"{delivery}: already delivered\n"
    assert (line["count"], line["asked_by"]) == (1, "control socket")
    assert [a["trigger"] for a in found["attempts"]] == ["scheduled", "manual"]
    assert [a["outcome"]["result"] for a in found["attempts"]] == ["http_status", "ok"]


async def test_many_can_be_retried_by_filter_after_asking(place):
    place.target.respond = refusing(500)
    ids = [await place.accepted() for _ in range(3)]
    for event_id in ids:
        await place.attempted(event_id, "dead")
    place.target.respond = None
    bulk = ("deliveries", "retry", "--status", "dead")

    would, _ = await place.run(*bulk, "--dry-run")
    out, unasked = await place.run(*bulk, code=2, stdin=b"y\n")
    done = await place.json(*bulk, "--yes")

    assert would == "would retry 3 deliveries\n"
    assert out == ""
    assert "retry 3 deliveries? Add --yes" in unasked
    counts = {"matched": 3, "changed": 3, "skipped": {}, "dry_run": False}
    assert done == counts
    for event_id in ids:
        await place.attempted(event_id, "delivered")


async def test_deliveries_can_be_cancelled_and_moved(place):
    await place.run("destinations", "pause", "app")
    first = await place.accepted()
    second = await place.accepted()
    delivery = await place.delivery(first)

    cancelled, _ = await place.run("deliveries", "cancel", delivery)
    moved, _ = await place.run(
        "deliveries", "move", "--destination", "app", "--to", "spare", "--yes"
    )
    [seen] = await place.target.wait_for(1)
    status = await place.json("status")

    assert "cancel: 1 of 1 delivery" in cancelled
    assert "move: 1 of 1 delivery" in moved
    assert seen.path == "/spare"
    assert seen.headers["webhook-id"] == second
    assert status["difference"] == 0


async def test_what_was_delivered_is_not_moved(place):
    event_id = await place.accepted()
    delivered = await place.attempted(event_id, "delivered")
    move = ("deliveries", "move", "--to", "spare")

    out, why = await place.run(*move, delivered, code=1)
    await place.each(
        [
            (*move, "--destination", "app", "--status", "delivered", "--yes"),
            (*move, "--destination", "spare", "--yes"),
            (*move, "--destination", "app", "--dry-run", delivered),
        ],
        code=2,
    )
    found = await place.json("deliveries", "list")

    assert (out, why) == (
        "move: 0 of 1 delivery\n",
        f"{delivered}: already delivered\n",
    )
    assert [d["id"] for d in found] == [delivered]


async def test_the_server_moves_only_what_is_open_elsewhere_and_says_how_many(place):
    await place.run("destinations", "pause", "app")
    await place.run("destinations", "pause", "spare")
    waiting = await place.delivery(await place.accepted())
    gone = await place.delivery(await place.accepted())
    await place.run("deliveries", "cancel", gone)
    transport = httpx.AsyncHTTPTransport(uds=str(place.folder / "receiver.db.sock"))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://receiver/api/v1"
    ) as client:
        body = {"ids": [waiting, gone, waiting], "to": "spare"}
        answers = [await client.post("/deliveries/move", json=body) for _ in range(2)]
        unknown = await client.post("/deliveries/move", json={**body, "to": "nobody"})

    found = await place.json("deliveries", "list")
    line = await place.server.line("deliveries.moved")

    assert [answer.json()["changed"] for answer in answers] == [1, 0]
    assert unknown.status_code == 404
    assert sorted((d["destination"], d["status"]) for d in found) == [
        ("app", "cancelled"),
        ("app", "cancelled"),
        ("spare", "pending"),
    ]
    assert (line["count"], line["asked"], line["to"]) == (1, 3, "spare")


async def test_a_name_nobody_knows_is_wrong_usage_everywhere(place):
    said = await place.each(
        [
            ("deliveries", "list", "--destination", "ap"),
            ("deliveries", "cancel", "--destination", "ap", "--yes"),
            ("deliveries", "move", "--event", UNKNOWN["evt"], "--to", "ap"),
            ("destinations", "pause", "ap"),
            ("destinations", "resume", "ap"),
            ("replay", UNKNOWN["evt"], "--to", "ap", "--dry-run"),
        ],
        code=2,
    )
    sources = await place.each(
        [
            ("events", "list", "--source", "sora"),
            ("rejections", "list", "--source", "sora"),
            ("replay", "--source", "sora", "--dry-run"),
        ],
        code=2,
    )

    for _, err in said:
        assert "there is no destination 'ap' (did you mean \"app\"?)" in err
    for _, err in sources:
        assert "there is no source 'sora' (did you mean \"sora2\"?)" in err


async def test_nobody_is_changed_without_an_answer_and_questions_leave_the_output_alone(
    place,
):
    await place.run("destinations", "pause", "app")
    await place.accepted()
    cancel = ("deliveries", "cancel", "--destination", "app", "--json")

    no, yes = (
        await answered(place, b"n\n", *cancel),
        await answered(place, b"y\n", *cancel),
    )

    assert no == (1, b"")
    assert yes[0] == 0
    assert json.loads(yes[1])["changed"] == 1


async def answered(place, keys: bytes, *arguments: str) -> tuple[int | None, bytes]:
    """A command on a terminal, its question answered; exit code, standard output."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *arguments, cwd=place.folder,
        stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, keys)
    out, _ = await process.communicate()
    os.close(ours)
    return process.returncode, out


async def test_output_that_nobody_takes_is_no_fault(place):
    await place.accepted()

    codes: list[int | None] = []
    for output in ("/dev/full", "a closed pipe"):
        if output == "/dev/full":
            end = os.open(output, os.O_WRONLY)
        else:
            reading, end = os.pipe()
            os.close(reading)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "status", cwd=place.folder,
            stdout=end, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(end)
        _, err = await process.communicate()
        codes.append(process.returncode)
        assert b"Traceback" not in err
        assert (b"No space left" in err) == (output == "/dev/full")

    assert codes == [1, 0]


async def test_a_destination_can_be_paused_and_resumed(place):
    reason = "maintenance until noon"
    first, _ = await place.run("destinations", "pause", "app", "--reason", reason)
    again, _ = await place.run("destinations", "pause", "app")
    event_id = await place.accepted()
    out, _ = await place.run("destinations", "list")
    needs, _ = await place.run("status")
    resumed = await place.json("destinations", "resume", "app")
    not_paused, _ = await place.run("destinations", "resume", "app")
    await place.attempted(event_id, "delivered")

    assert first == "app: paused\n"
    assert again == "app was paused already\n"
    assert reason in out
    assert "receiver destinations resume app" in needs
    assert resumed == {"changed": True}
    assert not_paused == "app was not paused\n"


async def test_a_destination_can_be_tried_out(place):
    good, _ = await place.run("destinations", "test", "app")
    place.target.respond = refusing(404)
    bad, _ = await place.run("destinations", "test", "app", code=1)
    found = await place.json("destinations", "test", "app", code=1)
    stored = await place.json("events", "list")

    assert good.startswith("ok in ")
    assert "404 Not Found" in bad
    assert found["outcome"]["status_code"] == 404
    assert stored == []
    assert json.loads(place.target.seen[0].body)["type"] == "receiver.test"


# -- replays


async def test_an_event_can_be_replayed_as_itself_elsewhere_or_as_new(place):
    event_id = await place.accepted()
    await place.target.wait_for(1)

    dry, _ = await place.run("replay", event_id, "--dry-run")
    same, _ = await place.run("replay", event_id)
    elsewhere = await place.json("replay", event_id, "--to", "spare")
    anew = await place.json("replay", event_id, "--as-new", "--to", "app")
    twice = ("--to", "app", "--to", "app")
    again, _ = await place.run("replay", event_id, event_id, *twice)
    _, nobody = await place.run("replay", event_id, "--to", "nobody", code=2)
    seen = await place.target.wait_for(5)

    assert dry == "would replay 1 event: 1 delivery (app 1)\n"
    assert "1 delivery of 1 event" in again
    assert "1 delivery of 1 event" in same
    assert (elsewhere["events"], elsewhere["deliveries"]) == (1, 1)
    assert "there is no destination 'nobody'" in nobody
    by_replay = {s.headers.get("receiver-replay"): s for s in seen}
    assert by_replay[elsewhere["replay"]].path == "/spare"
    assert by_replay[elsewhere["replay"]].headers["webhook-id"] == event_id
    assert by_replay[anew["replay"]].headers["webhook-id"] != event_id
    assert len({s.body for s in seen}) == 1


async def test_many_can_be_replayed_by_filter_at_a_rate(place):
    for number in range(3):
        await place.accepted("batch.created", f"b{number}")
    await place.accepted("batch.failed")
    await place.target.wait_for(4)
    wanted = ("replay", "--type", "batch.created", "--since", "1h")

    _, refused = await place.run(*wanted, code=2, stdin=b"y\n")
    dry = await place.json(*wanted, "--to", "app", "--to", "spare", "--dry-run")
    done = await place.json(*wanted, "--rate", "1/s", "--yes")
    await place.target.wait_for(7)
    shown = await place.json("deliveries", "list")
    status = await place.json("status")

    assert "replay 3 events? Add --yes" in refused
    assert (dry["events"], dry["destinations"]) == (3, {"app": 3, "spare": 3})
    assert (done["events"], done["deliveries"]) == (3, 3)
    assert place.target.seen[4].headers["receiver-replay"] == done["replay"]
    again = [one for one in shown if one["replay_id"] == done["replay"]]
    first, _, last = sorted(datetime.fromisoformat(one["due_at"]) for one in again)
    assert (last - first).total_seconds() == pytest.approx(2, abs=0.5)
    assert status["difference"] == 0


async def test_an_event_that_no_route_wants_is_not_replayed_anywhere(place):
    event_id = await place.accepted()
    toml = place.folder / "receiver.toml"
    await place.server.stop()
    toml.write_text(toml.read_text().partition("[[routes]]")[0])

    out, err = await place.run("replay", event_id)

    assert "0 deliveries of 1 event" in out
    assert "no route sends them anywhere" in err
