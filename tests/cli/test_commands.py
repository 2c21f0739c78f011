"""Sending by hand, beside a real server; and what works without one."""

import json

from tests.cli.answers import refusing
from tests.serving import SECRET, serving

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
