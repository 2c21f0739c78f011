"""Slack: the built-in message, and what Slack's answers mean."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.destinations.slack import Slack, SlackSettings, render
from receiver.models import Event, Result, Secret, State
from tests.making import event, parcel
from tests.slack_stand_in import PATH, fault

SAMPLES = Path(__file__).parent.parent.parent / "samples"


def batch(count: int) -> Event:
    """A batch of `count` items, half of which failed, with awkward texts."""
    items = [
        {"item_id": f"item_{n}", "status": "failed", "error": "<&>" * 200}
        if n % 2
        else {
            "item_id": f"item_{n}",
            "status": "succeeded",
            "video_url": f"https://cdn.example.com/v/{n}.mp4?a=1&b=" + "2" * 400,
        }
        for n in range(count)
    ]
    ledger = {"reserved": 10 * count, "settled": 5 * count, "refunded": 5 * count}
    summary = {"total": count, "succeeded": count // 2, "failed": count // 2}
    return event({"items": items, "ledger": ledger, "summary": summary})


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in SAMPLES.glob("sora2-*.json"))
)
async def test_every_sora2_event_is_posted(slack, stand_in, name):
    body = (SAMPLES / f"{name}.json").read_bytes()

    outcome = await slack.send(parcel(event(body)))

    assert outcome.result is Result.OK
    assert outcome.status_code == 200
    assert len(stand_in.posted) == 1


@pytest.mark.parametrize("count", [0, 1, 10, 1000])
async def test_a_batch_of_any_size_stays_within_slacks_limits(slack, stand_in, count):
    outcome = await slack.send(parcel(batch(count)))

    assert outcome.ok, outcome.detail
    assert len(stand_in.posted) == 1


def test_failed_items_come_before_the_numbers_and_the_results():
    body = (SAMPLES / "sora2-batch-completed.json").read_bytes()

    blocks = render(event(body))["blocks"]

    assert [block["type"] for block in blocks] == [
        "header",
        "section",
        "section",
        "section",
        "section",
        "context",
    ]
    assert blocks[0]["text"]["text"] == "⚠️ Batch bat_1 finished with failures"
    assert blocks[2]["text"]["text"] == (
        "*What went wrong*\n• *item_002*: Model timeout (timeout) [sku: PROD-002]"
    )
    assert blocks[3]["fields"][0]["text"] == "*Videos*\n10"
    assert blocks[4]["text"]["text"] == (
        "*Results*\n• <https://cdn.sora2aivideos.com/v/abc123.mp4|item_001>"
    )
    assert "Request: order-12345" in blocks[5]["elements"][0]["text"]


def test_what_did_not_fit_is_counted():
    blocks = render(batch(1000))["blocks"]

    shown = blocks[2]["text"]["text"]
    named = shown.count("•")
    assert shown.endswith(f"\n… and {500 - named} more")


def test_an_event_cannot_mention_people_or_make_links_of_its_own():
    hostile = "<!channel> <https://evil.example|ok> &"
    body = {"items": [{"item_id": hostile, "status": "failed", "error": hostile}]}

    payload = render(event(body, subject=hostile))

    everything = json.dumps(payload)
    assert "<!channel>" not in everything
    assert "<https://evil" not in everything
    assert "&lt;!channel&gt;" in payload["text"]
    assert payload["blocks"][2]["text"]["verbatim"] is True


@pytest.mark.parametrize("word", ["invalid_payload", "invalid_blocks", "no_text"])
async def test_a_message_slack_cannot_take_is_given_up(slack, stand_in, word):
    stand_in.answer = (400, word, {})

    outcome = await slack.send(parcel(event()))

    assert outcome.result is Result.REJECTED
    assert outcome.permanent
    assert not outcome.pause
    assert word in outcome.detail


@pytest.mark.parametrize(
    ("status", "word", "advice"),
    [
        (403, "action_prohibited", "an administrator of the workspace must allow"),
        (403, "invalid_token", "make a new incoming webhook"),
        (404, "channel_not_found", "its channel is gone"),
        (404, "no_service", "removed or disabled"),
        (410, "channel_is_archived", "unarchive it"),
        (400, "user_not_found", "its user is gone"),
        (404, "<html>nobody here</html>", "the webhook does not exist"),
    ],
)
async def test_a_webhook_that_cannot_work_pauses_the_destination_and_says_what_to_do(
    slack, stand_in, status, word, advice
):
    stand_in.answer = (status, word, {})

    outcome = await slack.send(parcel(event()))

    assert advice in outcome.pause
    assert not outcome.permanent
    assert outcome.status_code == status


@pytest.mark.parametrize(
    ("status", "word"), [(500, "rollup_error"), (503, ""), (302, "")]
)
async def test_trouble_at_slack_is_tried_again(slack, stand_in, status, word):
    stand_in.answer = (status, word, {})

    outcome = await slack.send(parcel(event()))

    assert outcome.result is Result.HTTP_STATUS
    assert not outcome.permanent
    assert not outcome.pause


async def test_a_rate_limit_is_waited_for(slack, stand_in):
    stand_in.answer = (429, "rate_limited", {"Retry-After": "30"})

    outcome = await slack.send(parcel(event()))

    assert outcome.retry_after_s == 30
    assert not outcome.permanent
    assert not outcome.pause


async def test_the_secret_address_is_in_no_answered_outcome(slack, stand_in):
    stand_in.answer = (404, f"no route for {PATH}", {})

    outcome = await slack.send(parcel(event()))

    assert "/***" in outcome.response
    assert "secretsecret" not in repr(outcome)


async def test_an_answer_is_not_cut_in_the_middle_of_the_secret_address(
    slack, stand_in
):
    stand_in.answer = (404, "x" * (500 - len(PATH)) + PATH + " is no route", {})

    outcome = await slack.send(parcel(event()))

    assert "secretse" not in repr(outcome)


async def test_a_refused_connection_is_named_without_the_secret_address():
    url = Secret("http://127.0.0.1:1" + PATH)
    slack = Slack(SlackSettings(name="ops", type="slack", url=url))

    outcome = await slack.send(parcel(event()))
    await slack.close()

    assert outcome.result is Result.CONNECT
    assert not outcome.permanent
    assert "secretsecret" not in repr(outcome)


@pytest.mark.parametrize("url", ["", "hooks.slack.com/x", "ftp://x/y", "https://[x"])
def test_an_address_that_is_none_is_a_problem(url):
    found = SlackSettings(name="ops", type="slack", url=Secret(url))

    assert [key for key, *_ in found.problems()] == ["url"]


def test_the_description_does_not_have_the_secret_path():
    url = Secret("https://hooks.slack.com" + PATH)

    found = SlackSettings(name="ops", type="slack", url=url)

    assert list(found.problems()) == []
    assert found.described() == "Slack at hooks.slack.com"
    assert "secretsecret" not in repr(found)


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                ["items", "summary", "ledger", "status", "error", "total", "item_id"]
            ),
            inner,
        )
    ),
    max_leaves=25,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    body=BODIES,
    kind=st.text() | st.sampled_from(["batch.completed", "batch.refunded"]),
    subject=st.text(alphabet="<>&🎬a", max_size=300),
    state=st.sampled_from(State),
    error=st.text(alphabet="<>&🎬 a", max_size=400),
    failed=st.integers(0, 60),
)
def test_any_event_makes_a_message_that_slack_takes(
    body, kind, subject, state, error, failed
):
    if isinstance(body, dict) and failed:
        row = {"status": "failed", "error": error, "item_id": error, "metadata": body}
        body = {**body, "items": [row] * failed}

    payload = render(
        event(json.dumps(body), type=kind, subject=subject, state=state, source=error)
    )

    assert fault(payload) == "ok"
    json.dumps(payload, ensure_ascii=False).encode()
