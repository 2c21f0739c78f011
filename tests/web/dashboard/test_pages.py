"""What the dashboard's pages show, and what its forms do."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from tests.making import sample
from tests.serving import config, serving
from tests.web.dashboard.conftest import (
    ADMIN,
    ROUTES,
    TOKENS,
    Person,
    Place,
    browser,
    refuse,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

NOTHING = "0123456789abcdef"


async def test_every_list_says_so_when_there_is_nothing(place: Place):
    said = {
        "/": "Nothing does.",
        "/ui/events": "No event has come yet.",
        "/ui/deliveries": "There is none yet.",
        "/ui/destinations": "active",
        "/ui/batches": "None in this time.",
        "/ui/batches/credits": "Nothing ended in this time.",
        "/ui/replays": "There is none.",
        "/ui/rejections": "Nothing was refused",
        "/ui/audit": "Nothing yet.",
        "/ui/ledger": "Add it up",
        "/ui/ledger?add=up": "It adds up",
    }

    for path, words in said.items():
        assert words in await place.admin.see(path), path
        assert words in await place.reader.see(path), path


@pytest.mark.parametrize(
    "path",
    [
        f"/ui/events/evt_{NOTHING}",
        "/ui/events/x",
        f"/ui/deliveries/dlv_{NOTHING}",
        f"/ui/replays/rpl_{NOTHING}",
        f"/ui/rejections/rej_{NOTHING}",
        f"/ui/batches/sub_{NOTHING}",
        "/ui/destinations/nobody",
        "/ui/nothing",
    ],
)
async def test_what_is_not_there_is_said_on_a_page(shared: Place, path: str):
    text = await shared.admin.see(path, 404)

    assert "Not done" in text


@pytest.mark.parametrize(
    "path",
    [
        "/ui/events?state=odd",
        "/ui/events?since=soon",
        "/ui/deliveries?status=odd",
        "/ui/deliveries?until=soon",
        "/ui/batches?state=odd",
        "/ui/batches?trouble=odd",
        "/ui/batches?since=soon",
        "/ui/batches/credits?since=soon",
    ],
)
async def test_a_filter_that_makes_no_sense_is_said_above_the_list(
    shared: Place, path: str
):
    assert 'role="alert"' in await shared.admin.see(path)


async def test_an_event_is_found_and_shown_with_all_there_is(shared: Place):
    event_id = await shared.accepted(subject="bat_shown")
    delivery_id = await shared.attempted(event_id)

    listed = await shared.admin.see("/ui/events?subject=bat_shown&type=batch.*")
    text = await shared.admin.see(f"/ui/events/{event_id}")
    body = await shared.admin.http.get(f"/ui/events/{event_id}/body")

    assert event_id in listed
    assert "order-bat_shown" in text
    assert "item_010" in text
    assert f"/ui/deliveries/{delivery_id}" in text
    assert "delivered" in text
    assert "matched" in text
    assert "x-batch-signature" in text.lower() or "signature" in text.lower()
    assert body.headers["content-disposition"].startswith("attachment")
    assert json.loads(body.content)["batch_id"] == "bat_shown"


async def test_an_id_leads_to_what_has_it(place: Place):
    event_id = await place.accepted()
    delivery_id = await place.attempted(event_id)
    await place.refused()
    rejection = await place.listed("/ui/rejections", "rej_[0-9a-f]{16}")
    batch = await place.listed("/ui/batches", "sub_[0-9a-f]{16}")

    folders = {
        event_id: "events",
        delivery_id: "deliveries",
        rejection: "rejections",
        batch: "batches",
    }
    for found, folder in folders.items():
        answer = await place.reader.http.get("/ui/events", params={"text": found})
        assert answer.url.path == f"/ui/{folder}/{found}"
    nothing = await place.admin.see(f"/ui/events?text=evt_{NOTHING}")
    assert "No event is like that" in nothing


async def test_a_long_list_goes_on_over_pages(shared: Place):
    made = [await shared.accepted("batch.created", f"bat_{i}") for i in range(53)]

    first = await shared.admin.see("/ui/events?type=batch.created")
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = await shared.admin.see(following[1].replace("&amp;", "&"))

    found = [re.findall(r'<tr id="(evt_\w+)"', text) for text in (first, second)]
    assert found[0] == made[:2:-1]
    assert found[1] == made[2::-1]


async def test_a_dead_delivery_is_what_needs_attention_and_can_be_tried_again(
    place: Place,
):
    place.target.respond = refuse
    event_id = await place.accepted()
    delivery_id = await place.attempted(event_id, "dead")
    overview = await place.admin.see("/")
    shown = await place.admin.see(f"/ui/deliveries/{delivery_id}")
    place.target.respond = None

    answer = await place.admin.send(f"/ui/deliveries/{delivery_id}/retry")
    await place.attempted(event_id, "delivered")

    assert "1 dead delivery to app" in overview
    assert "400" in shown
    assert "gone &lt;b&gt;for good&lt;/b&gt;" in shown
    assert "1 of the deliveries are tried again." in answer.text
    audit = await place.admin.see("/ui/audit")
    assert "deliveries.retried" in audit
    assert "admin token" in audit


async def test_many_dead_deliveries_are_tried_again_after_a_question(place: Place):
    place.target.respond = refuse
    events = [await place.accepted(subject=f"bat_{i}") for i in range(5)]
    for event_id in events:
        await place.attempted(event_id, "dead")
    listed = await place.admin.see("/ui/deliveries?status=dead")
    question = await place.admin.see(
        "/ui/deliveries/change?action=retry&status=dead&destination=app"
    )
    until = re.search(r'name="until" value="([^"]+)"', question)
    assert until is not None
    place.target.respond = None

    answer = await place.admin.send(
        "/ui/deliveries/change",
        action="retry",
        status="dead",
        destination="app",
        until=until[1],
    )
    for event_id in events:
        await place.attempted(event_id, "delivered")

    assert len(set(re.findall(r'name="id" value="(dlv_\w+)"', listed))) == 5
    assert "Try again 5 deliveries?" in question
    assert "5 of the deliveries are tried again." in answer.text


async def test_only_those_chosen_are_cancelled(place: Place):
    place.target.respond = refuse
    one = await place.attempted(await place.accepted(subject="bat_a"), "dead")
    other = await place.attempted(await place.accepted(subject="bat_b"), "dead")
    question = await place.admin.see(
        f"/ui/deliveries/change?action=cancel&status=dead&id={one}"
    )

    await place.admin.send("/ui/deliveries/change", action="cancel", id=[one])

    assert "Cancel 1 delivery?" in question
    assert "cancelled" in await place.admin.see(f"/ui/deliveries/{one}")
    dead = await place.admin.see("/ui/deliveries?status=dead")
    assert other in dead
    assert one not in dead


async def test_all_deliveries_at_once_are_never_changed(shared: Place):
    answer = await shared.admin.send("/ui/deliveries/change", action="cancel")

    assert answer.status_code == 400


async def test_a_destination_is_paused_resumed_and_tried_out(place: Place):
    paused = await place.admin.send(
        "/ui/destinations/app/pause", reason="<i>holiday</i>"
    )
    overview = await place.admin.see("/")
    tried = await place.admin.send("/ui/destinations/app/test")
    resumed = await place.admin.send("/ui/destinations/app/resume")
    again = await place.admin.send("/ui/destinations/app/resume")

    assert "It is paused" in paused.text
    assert "&lt;i&gt;holiday&lt;/i&gt;" in overview
    assert "app is paused" in overview
    assert "The test" in tried.text
    assert "given deliveries again" in resumed.text
    assert "nothing has changed" in again.text
    assert "destination.tested" in await place.admin.see("/ui/audit")


async def test_a_destination_says_how_fast_it_is_given_what_waits(tmp_path: Path):
    paced = """
        type = "http"
        url = "http://127.0.0.1:9/"
        concurrency = 3
        max_rate = "90/m"
        ordering = "subject"
    """
    toml = config(destinations={"app": paced}, server=TOKENS, routes=ROUTES)

    async with serving(tmp_path, toml) as started, browser(started.url) as http:
        person = Person(http)
        await person.sign_in(ADMIN)
        page = await person.see("/ui/destinations/app")

    assert "3 attempts at a time, begun at 90/m at most, each subject in order" in page
    assert "15 s for an attempt, 12 attempts in 7 days at most" in page
    assert "after 5 failures in a row it is asked seldom" in page


async def test_an_event_is_replayed_where_one_wants_it(place: Place):
    event_id = await place.accepted()
    await place.attempted(event_id)

    answer = await place.admin.send(
        "/ui/replays/new", event=event_id, to=["spare"], as_new="yes"
    )
    await place.server.line("delivery.attempted", destination="spare")

    assert answer.url.path.startswith("/ui/replays/rpl_")
    assert "The replay is on its way." in answer.text
    assert "<progress" in answer.text
    assert answer.url.path.rpartition("/")[2] in await place.admin.see("/ui/replays")


async def test_what_is_found_is_replayed_after_a_question(place: Place):
    for i in range(3):
        await place.attempted(await place.accepted(subject=f"bat_{i}"))
    question = await place.admin.see("/ui/replays/new?type=batch.*")

    answer = await place.admin.send("/ui/replays/new", type="batch.*")
    await place.target.wait_for(6)

    assert "Replay 3 events?" in question
    assert "3 to app" in question
    assert answer.status_code == 200


async def test_a_replay_that_is_over_cannot_be_stopped_and_that_is_said(place: Place):
    event_id = await place.accepted()
    begun = await place.admin.send("/ui/replays/new", event=event_id)
    await place.server.line("replay.ended")

    refused = await place.admin.send(f"{begun.url.path}/cancel")

    assert refused.status_code == 409
    assert "is done already" in refused.text
    assert "Stop it" not in await place.admin.see(begun.url.path)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "many"])
async def test_a_rate_that_is_none_is_refused(shared: Place, rate: str):
    answer = await shared.admin.send("/ui/replays/new", type="x", per_second=rate)

    assert answer.status_code == 400


async def test_a_refused_request_is_shown_and_verified_again(place: Place):
    await place.refused()
    found = await place.listed("/ui/rejections", r"rej_\w+")

    shown = await place.admin.see(f"/ui/rejections/{found}")
    tried = await place.admin.send("/ui/rejections/reverify", id=[found])
    none = await place.admin.send("/ui/rejections/reverify")

    assert "batch.failed" in shown
    assert "What it would come to" in tried.text
    assert found in tried.text
    assert none.status_code == 400
    assert "refused request to sora2 in the last day" in await place.admin.see("/")


async def test_a_batch_is_shown_with_its_life_and_its_results(place: Place):
    await place.accepted("batch.running", subject="bat_life")
    await place.accepted("batch.completed", subject="bat_life")
    found = await place.listed("/ui/batches?subject=bat_life", r"sub_\w+")

    shown = await place.admin.see(f"/ui/batches/{found}")
    credits_ = await place.admin.see("/ui/batches/credits")

    assert "item_001" in shown
    assert "https://cdn.sora2aivideos.com/v/bat_life-001.mp4" in shown
    assert 'rel="noopener noreferrer nofollow"' in shown
    assert "reserved" in shown
    assert "sora2" in credits_
    assert '<td data-label="Over">0</td>' in credits_


async def test_a_batch_of_which_only_the_end_came_took_what_its_sender_says(
    place: Place,
):
    await place.accepted("batch.completed", subject="bat_end")
    found = await place.listed("/ui/batches?subject=bat_end", r"sub_\w+")

    shown = await place.admin.see(f"/ui/batches/{found}")
    listed = await place.admin.see("/ui/batches?subject=bat_end")

    assert ", took 2 min 5 s" in shown
    assert '<td data-label="Took">-</td>' in listed


async def test_foreign_pictures_are_fetched_only_for_who_asks(place: Place):
    body = json.loads(sample("batch.completed", "bat_pictures"))
    for item in body["items"]:
        item["thumbnail_url"] = "https://pictures.example/1.png"
    await place.took(json.dumps(body).encode())
    found = await place.listed("/ui/batches?subject=bat_pictures", r"sub_\w+")

    path = f"/ui/batches/{found}"
    without = await place.admin.http.get(path)
    with_ = await place.admin.http.get(f"{path}?pictures=yes")

    assert "<img" not in without.text
    assert "https:" not in without.headers["content-security-policy"]
    assert '<img src="https://pictures.example/1.png"' in with_.text
    assert "img-src 'self' https:" in with_.headers["content-security-policy"]


async def test_the_page_is_told_when_something_has_changed(place: Place):
    async with place.admin.http.stream("GET", "/ui/live", timeout=60) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": connected"
        await place.accepted()
        async for line in lines:
            if line == "event: changed":
                break
        else:
            pytest.fail("nothing was said")

    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_nothing_is_streamed_to_who_is_not_signed_in(shared: Place):
    shared.reader.http.follow_redirects = False
    async with asyncio.timeout(60):
        kept = shared.reader.http.cookies
        shared.reader.http.cookies = type(kept)()
        answer = await shared.reader.http.get("/ui/live")
        shared.reader.http.cookies = kept
        shared.reader.http.follow_redirects = True

    assert answer.status_code == 303


async def test_pages_answer_while_nobody_can_be_delivered_to(place: Place):
    async def hang(_: object) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    place.target.respond = hang
    for i in range(20):
        await place.accepted(subject=f"bat_{i}")

    assert "pending" in await place.admin.see("/ui/deliveries?status=pending")
    assert "app" in await place.admin.see("/")


async def test_both_sides_of_a_delivery_are_on_its_page(place: Place):
    place.target.respond = refuse
    event_id = await place.accepted(subject="bat_both")
    delivery_id = await place.attempted(event_id, "dead")
    [arrived] = await place.target.wait_for(1)

    text = await place.admin.see(f"/ui/deliveries/{delivery_id}")

    for name in ("webhook-id", "webhook-timestamp", "receiver-attempt"):
        assert f'<th scope="row">{name}</th><td>{arrived.headers[name]}</td>' in text
    assert "bat_both-001.mp4" in text


async def test_an_event_whose_body_has_gone_still_has_a_page(place: Place):
    place.target.respond = refuse
    event_id = await place.accepted(subject="bat_old")
    delivery_id = await place.attempted(event_id, "dead")
    whole = await place.admin.see(f"/ui/events/{event_id}")
    answer = await place.admin.http.post(
        "/api/v1/prune",
        json={"bodies": "0s"},
        headers={"authorization": f"Bearer {ADMIN}"},
    )

    text = await place.admin.see(f"/ui/events/{event_id}")
    await place.admin.see(f"/ui/deliveries/{delivery_id}")

    assert answer.json()["bodies"] == 1
    assert "Replay this event" in whole
    assert "It was old and went" in text
    assert "bat_old" in text
    assert "dead" in text
    assert "matched" in text
    assert "Replay this event" not in text
    assert "Try again now" not in text
