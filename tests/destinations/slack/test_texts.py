"""Slack: the user's own texts, digests, and previews."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.destinations.slack import Slack, SlackSettings
from receiver.messages.blocks import sections
from receiver.models import Secret
from receiver.settings import TextFile
from tests.making import event, parcel
from tests.slack_stand_in import StandIn, fault, texts

# -- texts of the user's own


@asynccontextmanager
async def own(stand_in: StandIn, **templates: Any) -> AsyncIterator[Slack]:
    url = Secret(stand_in.url)
    found = SlackSettings(name="ops", type="slack", url=url, **templates)
    assert list(found.problems()) == []
    made = Slack(found)
    try:
        yield made
    finally:
        await made.close()


def shown(payload: dict[str, Any]) -> str:
    """All the text of a message."""
    return "\n".join(text["text"] for b in payload["blocks"] for text in texts(b))


FAILED = {"items": [{"item_id": "a", "status": "failed", "error": "too <slow>"}]}
FOR_EVER = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
)
WITHOUT_END = (
    "{% set n = namespace(x='a') %}"
    "{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)


async def test_a_template_makes_the_message(stand_in):
    template = (
        "<!here> *{{ message.title }}*\n"
        "{% for i in data.items %}• {{ i.item_id }}: {{ i.error }}{% endfor %}"
    )

    async with own(stand_in, template=template) as slack:
        outcome = await slack.send(parcel(event(FAILED)))

    assert outcome.detail == "posted"
    [payload] = stand_in.posted
    assert payload["text"] == "<!here> *Batch bat_1 finished with failures*"
    assert shown(payload) == payload["text"] + "\n• a: too &lt;slow&gt;"


async def test_a_template_makes_blocks(stand_in):
    template = """[
      {"type": "header", "text": {"type": "plain_text", "text": "{{ event.subject }}"}},
      {"type": "section", "text": {"type": "mrkdwn", "text": {{ data.items[0].error | tojson }}}}
    ]"""

    async with own(stand_in, blocks_template=template) as slack:
        await slack.send(parcel(event(FAILED)))

    [payload] = stand_in.posted
    assert shown(payload) == "bat_1\ntoo &lt;slow&gt;"
    assert payload["text"].startswith("⚠️ Batch bat_1 finished with failures")


async def test_with_both_templates_one_is_for_notifications(stand_in):
    section = '{"type": "section", "text": {"type": "mrkdwn", "text": "blocks"}}'
    both = {
        "template": "text of {{ event.subject }}",
        "blocks_template": f'{{"blocks": [{section}], "unfurl_links": false}}',
    }

    async with own(stand_in, **both) as slack:
        await slack.send(parcel())

    assert stand_in.posted[0]["text"] == "text of bat_1"
    assert stand_in.posted[0]["unfurl_links"] is False
    assert shown(stand_in.posted[0]) == "blocks"


@pytest.mark.parametrize(
    ("name", "template", "why"),
    [
        ("template", "a\n{{ data.total + 1 }}", "template: line 2: "),
        ("template", "{% if data.total %}news{% endif %}", "it says nothing"),
        ("template", FOR_EVER, "it takes too long"),
        ("template", "{{ 7 ** (10 ** 9) }}", "it takes too long"),
        ("template", WITHOUT_END, "it takes more memory than it may"),
        ("template", "{{ 'x' * 10 ** 10 }}", "it takes more memory than it may"),
        (
            "template",
            "{% for i in range(99999) %}0123456789{% endfor %}",
            "longer than",
        ),
        ("blocks_template", "not JSON", "not JSON"),
        ("blocks_template", "7", "there are no blocks"),
        ("blocks_template", "[" * 100_000, "nested too deeply"),
        ("blocks_template", '[{"text": "no type"}]', "block 1 is not an object"),
        ("blocks_template", '[{"type": "divider"}]' * 2, "not JSON"),
        (
            "blocks_template",
            '[{"type": "divider"}{% for i in range(50) %},{"type": "divider"}{% endfor %}]',
            "there are 51 blocks, and Slack takes 50",
        ),
        (
            "blocks_template",
            '[{"type": "header", "text": {"type": "plain_text", "text": "{{ "x" * 151 }}"}}]',
            "block 1 (header) has a text of 151 characters, more than 150",
        ),
        (
            "blocks_template",
            '[{"type": "section", "fields": [{"type": "mrkdwn", "text": " "}]}]',
            "block 1 (section) has an empty text",
        ),
        (
            "blocks_template",
            '{"blocks": [{"type": "divider"}], "channel": "#other"}',
            "'channel' is not one of",
        ),
    ],
)
async def test_where_a_template_fails_the_built_in_text_is_sent_and_says_why(
    stand_in, name, template, why
):
    async with own(stand_in, **{name: template}) as slack:
        outcome = await slack.send(parcel(event(FAILED)))

    assert outcome.ok
    assert outcome.detail.startswith("posted; the template failed")
    assert why in outcome.detail
    [payload] = stand_in.posted
    assert "Batch bat_1 finished with failures" in shown(payload)
    assert "Note: the template failed, so this is the built-in text" in shown(payload)


async def test_after_a_template_was_ended_it_is_tried_on_the_next_event(stand_in):
    template = f"{{% if data.slow %}}{FOR_EVER}{{% endif %}}{{{{ event.subject }}}}"

    async with own(stand_in, template=template) as slack:
        slow = await slack.send(parcel(event({"slow": True})))
        quick = await slack.send(parcel(event({"slow": False})))

    assert "it takes too long" in slow.detail
    assert quick.detail == "posted"
    assert shown(stand_in.posted[1]) == "bat_1"


async def test_where_slack_refuses_what_a_template_made_it_gets_the_built_in_text(
    stand_in,
):
    blocks = '[{"type": "unheard_of"}]'

    async with own(stand_in, blocks_template=blocks) as slack:
        stand_in.refuses = "invalid_blocks"
        outcome = await slack.send(parcel(event(FAILED)))

    assert outcome.ok
    assert "invalid_blocks" in outcome.detail
    [payload] = stand_in.posted
    assert "Note: the template failed" in shown(payload)


async def test_a_template_that_takes_for_ever_holds_up_nobody_else(stand_in):
    async with own(stand_in, template=FOR_EVER) as slow:
        held = asyncio.create_task(slow.send(parcel()))
        async with own(stand_in, template="{{ event.subject }}") as quick:
            outcome = await quick.send(parcel())

        assert outcome.ok
        assert not held.done()
        assert (await held).ok


async def test_an_attempt_that_is_cancelled_leaves_no_process(stand_in):
    async with own(stand_in, template=FOR_EVER) as slack:
        sending = asyncio.create_task(slack.send(parcel()))
        while not slack._templates.pool.pids:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(60):
            while slack._templates.pool.pids:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.01)

    assert stand_in.posted == []


async def test_without_templates_there_is_no_process_for_them(slack, stand_in):
    await slack.send(parcel())

    assert slack._templates.pool.pids == set()


@settings(deadline=None)
@given(
    st.text(alphabet="<>&\n `*x🎬ab|;", max_size=300),
    st.integers(1, 400),
    st.sampled_from(["", "\n"]),
)
def test_a_text_of_any_length_is_a_message_slack_takes(text, times, between):
    payload = sections("." + between.join([text.replace("<", "&lt;")] * times))

    assert fault(payload) == "ok"
    assert "<" not in json.dumps(payload)


def test_a_long_text_is_divided_between_lines_and_cut_at_the_end():
    lines = [f"{n:04} " + "x" * 95 for n in range(200)]

    payload = sections("\n".join(lines))

    parts = [block["text"]["text"] for block in payload["blocks"]]
    assert "\n".join(parts).removesuffix("…").startswith("\n".join(lines[:100]))
    assert all(part.startswith("0") for part in parts)
    assert parts[-1].endswith("…")


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"template": "a\n{{ x }"}, ("template", "line 2: unexpected '}'", "")),
        (
            {"template_file": TextFile(Path("ops.txt"), "{{ evnt }}")},
            ("template_file", 'ops.txt, line 1: there is no "evnt"', ""),
        ),
        (
            {"template": "a", "template_file": TextFile(Path("ops.txt"), "b")},
            ("template", "and template_file are both there", "keep one of them"),
        ),
        (
            {"blocks_template": "{% include 'x' %}"},
            ("blocks_template", "line 1: there are no other templates to use here", ""),
        ),
    ],
)
def test_a_template_that_cannot_work_is_a_problem(changes, wrong):
    url = Secret("https://hooks.slack.com/x")
    found = SlackSettings(name="ops", type="slack", url=url, **changes)

    [(key, message, hint)] = found.problems()

    assert (key, message.partition(" (")[0], hint) == wrong


# -- several events in one message


async def test_several_events_are_one_message(slack, stand_in):
    parcels = [
        parcel(event(FAILED, subject=f"bat_{n}", id=f"evt_{n:016}")) for n in range(3)
    ]

    outcome = await slack.send_many(parcels)

    assert outcome.ok
    [payload] = stand_in.posted
    assert payload["text"].startswith("⚠️ 3 events: 3 partly succeeded")
    assert shown(payload).count("• *bat_") == 3


async def test_an_event_that_comes_alone_is_told_as_ever(stand_in):
    async with own(stand_in, template="just {{ event.subject }}") as slack:
        await slack.send_many([parcel()])

    assert shown(stand_in.posted[0]) == "just bat_1"


async def test_a_digest_that_slack_does_not_take_now_is_tried_again(slack, stand_in):
    stand_in.answer = (429, "rate_limited", {"Retry-After": "7"})

    outcome = await slack.send_many([parcel(), parcel()])

    assert outcome.retry_after_s == 7
    assert not outcome.permanent


# -- previews


async def test_a_preview_is_what_would_be_posted_and_posts_nothing(slack, stand_in):
    preview = await slack.preview(parcel(event(FAILED)))
    before = list(stand_in.posted)
    await slack.send(parcel(event(FAILED)))

    assert before == []
    assert [preview.payload] == stand_in.posted
    assert "[header]\n⚠️ Batch bat_1 finished with failures" in preview.text
    assert "secretsecret" not in repr(preview)


async def test_a_preview_says_that_the_template_failed(stand_in):
    async with own(stand_in, template="{{ data.total + 1 }}") as slack:
        preview = await slack.preview(parcel())

    assert "the template failed" in preview.note
    assert "the template failed" in preview.text
