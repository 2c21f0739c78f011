"""Every command that looks at what was accepted, beside a real server."""

import asyncio
import json

from tests.cli.answers import UNKNOWN, refusing
from tests.making import sample
from tests.web.wire import event, post


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


async def test_both_sides_of_a_delivery_are_shown(place):
    place.target.respond = refusing(500)
    event_id = await place.accepted(subject="bat_both")
    [arrived] = await place.target.wait_for(1)
    line = await place.server.line("delivery.attempted", event_id=event_id)

    out, _ = await place.run("deliveries", "show", line["id"])
    shown = await place.json("deliveries", "show", line["id"])

    assert "sent last" in out
    assert "answered last" in out
    assert '"batch_id":"bat_both"' in out
    headers = shown["sent"]["payload"]["headers"]
    assert headers["webhook-timestamp"] == arrived.headers["webhook-timestamp"]
    assert shown["sent"]["payload"]["body"] == arrived.body.decode()


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
    async with asyncio.timeout(60):
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
