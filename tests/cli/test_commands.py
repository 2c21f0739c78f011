"""Every command that looks at or changes what was accepted, beside a real server."""

import asyncio
import json
import os
import sys

import httpx
from aiohttp import web

from tests.making import sample
from tests.serving import SECRET, serving
from tests.web.wire import event, post

UNKNOWN = {
    "evt": "evt_00000000000000ff",
    "dlv": "dlv_00000000000000ff",
    "rej": "rej_00000000000000ff",
}


def refusing(status: int):
    async def respond(_):
        return web.Response(status=status, text="no\x1b[31m\x9b")

    return respond


# -- send


async def test_every_sample_is_accepted(place):
    kinds = [
        *("batch.created", "batch.running", "batch.completed", "batch.failed"),
        *("batch.refunded", "as-sent"),
    ]
    url = ("--url", f"{place.server.url}/webhook/sora2", "--json")

    sent = await place.each(("send", "sora2", kind, *url) for kind in kinds)
    answers = [json.loads(out) for out, _ in sent]
    ids = [answer["answer"]["id"] for answer in answers]
    listed = {e["id"]: e for e in await place.json("events", "list")}

    assert {answer["status_code"] for answer in answers} == {200}
    assert [listed[i]["type"] for i in ids] == [*kinds[:5], "batch.completed"]
    assert all(listed[i]["decision"]["destinations"] == ["app"] for i in ids)


async def test_what_is_sent_is_told_in_a_line(place):
    url = f"{place.server.url}/webhook/sora2"
    (place.folder / "body.json").write_bytes(b'{"no": "batch"}')
    (place.folder / "list.json").write_bytes(b"[]")

    first, _ = await place.run("send", "sora2", "--subject", "b", "--url", url)
    again, _ = await place.run("send", "sora2", "--subject", "b", "--url", url)
    unsigned, _ = await place.run("send", "sora2", "--unsigned", "--url", url, code=1)
    odd, _ = await place.run(
        "send", "sora2", "--file", "body.json", "--url", url, code=1
    )
    listed, _ = await place.run(
        "send", "sora2", "--file", "list.json", "--url", url, code=1
    )
    invented, err = await place.run("send", "sora2", "batch.lost", code=1)

    assert first.startswith("200 accepted evt_")
    assert again.startswith("200 duplicate evt_")
    assert unsigned.startswith("401 signature_missing neither")
    assert odd.startswith("400 missing_batch_id")
    assert listed.startswith("400 malformed_body")
    assert invented == ""
    assert "no sample 'batch.lost'; there are: as-sent, batch.completed, " in err


async def test_a_batch_id_that_no_header_can_hold_is_refused(place):
    url = f"{place.server.url}/webhook/sora2"

    await place.run(
        "send", "sora2", "as-sent", "--subject", "b\u00e9", "--url", url, code=2
    )


async def test_without_a_server_sending_says_so(alone):
    _, err = await alone.run(
        "send", "sora2", "--url", "http://127.0.0.1:9/webhook/sora2", code=1
    )

    assert "cannot be reached" in err
    assert "is `receiver serve` running?" in err


# -- looking


async def test_without_a_store_commands_say_so_and_make_none(alone):
    said = await alone.each(
        [
            ("events", "list"),
            ("events", "show", UNKNOWN["evt"]),
            ("explain", UNKNOWN["evt"]),
            ("deliveries", "list"),
            ("deliveries", "show", UNKNOWN["dlv"]),
            ("destinations", "list"),
            ("rejections", "list"),
            ("rejections", "show", UNKNOWN["rej"]),
            ("replay", UNKNOWN["evt"]),
            ("status",),
            ("destinations", "pause", "app"),
            ("destinations", "resume", "app"),
            ("deliveries", "retry", "--status", "dead", "--yes"),
            ("deliveries", "move", "--destination", "app", "--to", "spare", "--yes"),
        ],
        code=2,
    )

    for _, err in said:
        assert "there is no store at receiver.db; start one with: receiver serve" in err
    assert [path.name for path in alone.folder.iterdir()] == ["receiver.toml"]


async def test_what_is_not_there_ends_with_1_and_is_named(place):
    several = [
        ("events", "show", UNKNOWN["evt"]),
        ("events", "show", "evt_1"),
        ("explain", "dlv_0123456789abcdef"),
        ("deliveries", "show", UNKNOWN["dlv"]),
        ("deliveries", "retry", UNKNOWN["dlv"]),
        ("deliveries", "cancel", UNKNOWN["dlv"]),
        ("deliveries", "move", UNKNOWN["dlv"], "--to", "spare"),
        ("rejections", "show", UNKNOWN["rej"]),
        ("replay", UNKNOWN["evt"]),
        ("replay", "not an id"),
    ]

    said = await place.each(several, code=1)

    for arguments, (out, err) in zip(several, said, strict=True):
        assert err.startswith("Error: ")
        assert next(word for word in arguments if "_" in word or " " in word) in err
        assert out == ""


async def test_where_nothing_matches_it_ends_with_0(place):
    several = [
        ("events", "list"),
        ("deliveries", "list"),
        ("destinations", "list"),
        ("rejections", "list"),
        ("status",),
        ("deliveries", "retry", "--status", "dead"),
        ("deliveries", "cancel", "--status", "dead"),
        ("deliveries", "move", "--destination", "app", "--to", "spare"),
        ("replay", "--source", "sora2"),
        ("check",),
    ]

    plain = await place.each(several)
    found = await place.each((*arguments, "--json") for arguments in several)

    for arguments, (out, _), (text, _) in zip(several, plain, found, strict=True):
        assert out
        assert isinstance(json.loads(text), dict | list)
        if arguments[0] == "replay" or arguments[1:2] in [("retry",), ("move",)]:
            assert out == "nothing matched\n"


async def test_events_are_listed_newest_first_and_filtered(place):
    first = await place.accepted("batch.created", "one")
    second = await place.accepted("batch.completed", "two")

    async def listed(*filters: str) -> list[str]:
        return [e["id"] for e in await place.json("events", "list", *filters)]

    assert await listed() == [second, first]
    assert await listed("--type", "*.created") == [first]
    assert await listed("--subject", "two") == [second]
    assert await listed("--since", "1h") == [second, first]
    assert await listed("--until", "1h") == []
    assert await listed("--limit", "1") == [second]
    assert await listed("--after", second) == [first]
    out, err = await place.run("events", "list", "--limit", "1")
    assert second in out
    assert f"more: --after {second}" in err


async def test_the_body_can_be_had_byte_for_byte(place):
    body = event("bat_1", note="\u00e9  \u2028")
    answer = await post(place.server.url, body)

    out, _ = await place.run("events", "show", answer.json["id"], "--raw")

    assert out.encode() == body


async def test_an_explanation_says_what_each_route_decided_and_would_today(place):
    event_id = await place.accepted()
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace("> 5000", "> 5"))

    out, _ = await place.run("explain", event_id)
    found = await place.json("explain", event_id)

    assert "its condition is false" in out
    assert "and send it to: app, spare" in out
    assert found["decided"]["destinations"] == ["app"]
    assert found["decided"]["routes"] == [["all", "matched"], ["big", "when"]]
    assert found["today_destinations"] == ["app", "spare"]
    assert [r["verdict"] for r in found["today"]] == ["matched", "matched"]


async def test_an_explanation_says_which_part_of_a_condition_is_false(place):
    event_id = await place.accepted()
    toml = place.folder / "receiver.toml"
    before = toml.read_text()
    toml.write_text(
        before.replace("> 5000", "> 5 && event.final && data.lost == 1 && !event.final")
    )
    try:
        out, _ = await place.run("explain", event_id)
        found = await place.json("explain", event_id)
    finally:
        toml.write_text(before)

    assert "the condition of big" in out
    [parts] = [r["operands"] for r in found["today"] if r["operands"]]
    values = [part["value"].partition(":")[0] for part in parts]
    assert values == ["true", "true", "failed", "false"]
    assert parts[1]["text"] == "event.final"


async def test_what_did_not_come_yet_can_be_explained(place):
    (place.folder / "next.json").write_bytes(sample("batch.completed", "bat_next"))
    (place.folder / "odd.json").write_bytes(b"{}")

    out, _ = await place.run("explain", "--source", "sora2", "--file", "next.json")
    found = await place.json("explain", "--source", "sora2", "--file", "next.json")
    _, err = await place.run(
        "explain", "--source", "sora2", "--file", "odd.json", code=1
    )
    _, usage = await place.run("explain", code=2)

    assert "bat_next" in out
    assert found["today_destinations"] == ["app"]
    assert "deliveries" not in found
    assert "it would be refused, 400 missing_batch_id" in err
    assert "name an event, or give --source and --file" in usage


async def test_refused_requests_are_listed_and_shown(place):
    await post(place.server.url, b'{"a": "\x1b[2J"}', {"x-webhook-signature": "f0e9"})
    async with asyncio.timeout(10):
        while not (listed := await place.json("rejections", "list")):
            pass

    out, _ = await place.run("rejections", "list")
    shown, _ = await place.run("rejections", "show", listed[0]["id"])
    found = await place.json("rejections", "show", listed[0]["id"])

    assert "signature_mismatch" in out
    assert "\N{REPLACEMENT CHARACTER}[2J" in shown
    assert "f0e9" not in shown
    assert found["headers"]["x-webhook-signature"] == "***"
    assert found["body_bytes"] == len(b'{"a": "\x1b[2J"}')


async def test_what_providers_send_does_not_drive_the_terminal(place):
    nasty = "a\x1b]0;owned\x07\x9b31m\u202eb\r\n\x00"
    body = (
        event(nasty, kind=nasty, items=[{"video_url": nasty}])
        .replace(b"\\u202e", "\u202e".encode())
        .replace(b"\\u009b", "\x9b".encode())
    )
    place.target.respond = refusing(500)
    answer = await post(place.server.url, body)
    event_id = answer.json["id"]
    delivery = await place.attempted(event_id, "dead")
    said: list[str] = []

    several = [
        ("events", "list"),
        ("events", "show", event_id),
        ("explain", event_id),
        ("deliveries", "list"),
        ("deliveries", "show", delivery),
        ("destinations", "list"),
        ("status",),
    ]
    both = [*several, *((*arguments, "--json") for arguments in several)]
    said += [out + err for out, err in await place.each(both)]
    out, _ = await place.run("destinations", "test", "app", code=1)
    said.append(out)

    everything = "".join(said)
    assert not any(c in everything for c in "\x1b\x07\x9b\u202e\x00\r")
    assert (await place.json("events", "show", event_id))["subject"] == nasty


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
    done = await place.json(*wanted, "--rate", "1/h", "--yes")
    await place.target.wait_for(5)
    waiting = await place.json("deliveries", "list", "--status", "pending")
    status = await place.json("status")

    assert "replay 3 events? Add --yes" in refused
    assert (dry["events"], dry["destinations"]) == (3, {"app": 3, "spare": 3})
    assert (done["events"], done["deliveries"]) == (3, 3)
    assert place.target.seen[4].headers["receiver-replay"] == done["replay"]
    assert len(waiting) == 2
    assert status["difference"] == 0


async def test_an_event_that_no_route_wants_is_not_replayed_anywhere(place):
    event_id = await place.accepted()
    toml = place.folder / "receiver.toml"
    await place.server.stop()
    toml.write_text(toml.read_text().partition("[[routes]]")[0])

    out, err = await place.run("replay", event_id)

    assert "0 deliveries of 1 event" in out
    assert "no route sends them anywhere" in err


# -- beside no server


async def test_what_changes_things_works_without_a_server_too(place):
    place.target.respond = refusing(500)
    event_id = await place.accepted()
    delivery = await place.attempted(event_id, "dead")
    await place.server.stop()

    retried, _ = await place.run("deliveries", "retry", delivery)
    await place.run("destinations", "pause", "spare")
    replayed = await place.json("replay", event_id, "--to", "spare")
    cancelled, _ = await place.run("deliveries", "cancel", delivery)
    waiting = await place.json("deliveries", "list", "--status", "pending")
    status = await place.json("status")

    assert "retry: 1 of 1 delivery" in retried
    assert "cancel: 1 of 1 delivery" in cancelled
    assert replayed["deliveries"] == 1
    assert [d["destination"] for d in waiting] == ["spare"]
    assert status["difference"] == 0
    assert status["totals"]["events"] == 1


async def test_status_adds_up_and_names_what_needs_attention(place):
    place.target.respond = refusing(500)
    event_id = await place.accepted()
    await place.attempted(event_id, "dead")

    out, _ = await place.run("status")
    found = await place.json("status")

    assert "difference 0: every decided delivery is accounted for" in out
    assert "there are dead deliveries" in out
    assert f"running (process {place.server.process.pid})" in out
    assert found["difference"] == 0
    assert found["ledger"][0]["by_status"]["dead"] == 1
    assert SECRET not in out + json.dumps(found)


async def test_status_names_what_keeps_failing_and_that_no_server_runs(place):
    place.target.respond = refusing(503)
    toml = place.folder / "receiver.toml"
    await place.server.stop()
    toml.write_text(toml.read_text().replace("max_attempts = 1", "max_attempts = 9"))
    async with serving(place.folder, None) as server:
        place.server = server
        delivery = await place.attempted(await place.accepted(), "pending")
        await place.server.stop()

    out, _ = await place.run("status")
    found = await place.json("status")

    assert "! no server is running: receiver serve" in out
    assert "of 1 delivery waiting for app some failed before" in out
    assert f"503 Service Unavailable: receiver deliveries show {delivery}" in out
    assert found["server"] is None
    assert found["destinations"][0]["queue"]["failing"]


async def test_orphaned_deliveries_are_named_with_what_to_do(place):
    await place.run("destinations", "pause", "app")
    await place.accepted()
    await place.server.stop()
    toml = place.folder / "receiver.toml"
    text = toml.read_text().replace("[destinations.app]", "[destinations.new]")
    toml.write_text(text.replace('to = ["app"]', 'to = ["new"]'))

    out, _ = await place.run("status")
    listed, _ = await place.run("destinations", "list")
    moved, _ = await place.run(
        "deliveries", "move", "--destination", "app", "--to", "new", "--yes"
    )
    after, _ = await place.run("status")

    assert "receiver deliveries move --destination app --to OTHER" in out
    assert "orphaned" in listed
    assert "orphaned" in out
    assert "move: 1 of 1 delivery" in moved
    assert "--to OTHER" not in after
    assert "difference 0" in after


async def test_a_store_that_is_not_one_is_named(alone):
    (alone.folder / "receiver.db").write_bytes(b"not a database" * 100)

    several = [("status",), ("serve",), ("destinations", "pause", "app")]

    for _, err in await alone.each(several, code=2):
        assert "not a SQLite database" in err
