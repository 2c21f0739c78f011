"""Several events as one message."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import examples, internal
from receiver.messages import Severity, blocks, compose_digest
from receiver.messages.mail import html_part, text_part
from receiver.models import Event, State
from tests.making import NOW, event
from tests.slack_stand_in import fault

TYPES = {
    State.SUCCEEDED: "batch.completed",
    State.PARTIAL: "batch.completed",
    State.FAILED: "batch.failed",
    State.RUNNING: "batch.running",
}


def batch(number: int, state: State = State.SUCCEEDED, **body: object) -> Event:
    return event(
        {"error_message": "no credits", **body},
        id=f"evt_{number:016}",
        type=TYPES[state],
        subject=f"bat_{number}",
        state=state,
        received_at=NOW + timedelta(seconds=number),
    )


def ledger(reserved: int, settled: int, refunded: int) -> dict[str, int]:
    return {"reserved": reserved, "settled": settled, "refunded": refunded}


def test_it_counts_what_came_and_names_the_worst_first():
    message = compose_digest(
        [
            batch(1),
            batch(2),
            batch(3, State.PARTIAL),
            batch(4, State.FAILED),
            batch(5, State.RUNNING),
        ]
    )

    assert message.title == (
        "5 events: 1 failed, 1 partly succeeded, 1 running, 2 succeeded"
    )
    assert message.summary == (
        "They came from 2026-01-24 10:02:08 UTC to 2026-01-24 10:02:12 UTC, from sora2."
    )
    assert (message.status, message.severity) == ("Failed", Severity.BAD)
    assert {fact.label: fact.value for fact in message.counters} == {
        "batch.completed, succeeded": "2",
        "batch.completed, partial": "1",
        "batch.failed, failed": "1",
        "batch.running, running": "1",
    }
    assert [failure.item for failure in message.failures] == ["bat_4", "bat_3"]
    assert message.failures[0].error == "no credits."
    assert [entry.label for entry in message.entries] == [
        "Batch bat_1 is complete",
        "Batch bat_2 is complete",
        "Batch bat_5 is running",
    ]


def test_events_are_told_in_the_order_they_came():
    message = compose_digest([batch(3), batch(1), batch(2)])

    assert [entry.label for entry in message.entries] == [
        f"Batch bat_{n} is complete" for n in (1, 2, 3)
    ]


def test_the_credits_of_a_batch_count_once():
    refunded = event(
        {"ledger": ledger(100, 90, 10), "refund_reason": "failed_items"},
        type="batch.refunded",
        subject="bat_1",
        received_at=NOW + timedelta(hours=1),
    )
    message = compose_digest(
        [
            batch(1, State.PARTIAL, ledger=ledger(100, 90, 0)),
            refunded,
            batch(2, ledger=ledger(50, 50, 0)),
            event({"credits_spent": 7}, subject="bat_3"),
        ]
    )

    assert {fact.label: fact.value for fact in message.credits} == {
        "Credits reserved": "150",
        "Credits settled": "140",
        "Credits refunded": "10",
        "Credits spent": "7",
    }


def test_links_are_named_once_and_until_the_first_of_them_ends():
    urls = ("https://x.example/1", "https://x.example/2")
    first = event(result_urls=urls, expires_at=NOW + timedelta(hours=2))
    second = event(result_urls=urls[1:], expires_at=NOW + timedelta(hours=1))

    message = compose_digest([first, second])

    assert [link.url for link in message.links] == list(urls)
    assert message.links_until == "2026-01-24 11:02:07 UTC"


def test_what_is_not_named_is_counted():
    urls = tuple(f"https://x.example/{n}" for n in range(60))
    many = [batch(n, State.FAILED if n % 2 else State.SUCCEEDED) for n in range(200)]

    message = compose_digest([*many, event(result_urls=urls, state=State.SUCCEEDED)])

    assert (len(message.failures), message.more_failures) == (30, 70)
    assert (len(message.entries), message.more_entries) == (30, 71)
    assert (len(message.links), message.more_links) == (30, 30)


def test_many_kinds_of_events_are_counted_together():
    kinds = [event(type=f"kind.{n}", id=f"evt_{n:016}") for n in range(20)]

    counters = compose_digest(kinds).counters

    assert [fact.label for fact in counters][-1] == "others"
    assert sum(int(fact.value) for fact in counters) == 20


def test_alerts_keep_their_commands():
    bodies = examples.samples(NOW)
    alerts = [
        event(
            internal.encoded(bodies[kind]),
            type=kind,
            provider=internal.SOURCE,
            source=internal.SOURCE,
        )
        for kind in ("delivery.dead", "destination.paused")
    ]

    message = compose_digest(alerts)

    assert [step.value for step in message.steps] == [
        "receiver deliveries retry --status dead --destination crm",
        "receiver destinations resume crm",
    ]


def test_the_text_of_a_digest_reads_like_this():
    failed, good = batch(1, State.FAILED), batch(2)

    text = text_part(compose_digest([failed, good]))

    assert text == (
        "2 events: 1 failed, 1 succeeded\n"
        "[Failed] They came from 2026-01-24 10:02:08 UTC to 2026-01-24 10:02:09 UTC, "
        "from sora2.\n"
        "\n"
        "What went wrong:\n"
        "- bat_1: no credits. (failed)\n"
        "\n"
        "batch.failed, failed: 1\n"
        "batch.completed, succeeded: 1\n"
        "\n"
        "What else came:\n"
        "- Batch bat_2 is complete (2026-01-24 10:02:09 UTC)\n"
        "\n"
        "--\n"
        "First event: evt_0000000000000001\n"
        "Last event: evt_0000000000000002\n"
    )


@pytest.mark.parametrize("count", [2, 50, 1000])
@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_any_number_of_the_longest_events_is_a_message_slack_takes(count, state):
    items = [{"video_url": f"https://x.example/{'<&>' * 20}{n}"} for n in range(9)]
    longest = [
        event(
            {"items": items, "error_message": "<&>🎬" * 300},
            id=f"evt_{n:016}",
            source="<&>" * 100,
            subject=f"{n}" + "<&>🎬" * 100,
            type="batch.failed" if state is State.FAILED else "<&>🎬" * 60 + str(n),
            state=state if n % 2 else State.FAILED,
            result_urls=(f"https://x.example/{n}?{'&' * 1500}",),
            expires_at=NOW,
        )
        for n in range(count)
    ]

    payload = blocks.payload(compose_digest(longest))

    assert fault(payload) == "ok"
    assert "<!" not in json.dumps(payload)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            event,
            body=st.binary() | st.dictionaries(st.text(), st.text()).map(json.dumps),
            subject=st.text(),
            type=st.text() | st.sampled_from(["batch.completed", "batch.refunded"]),
            source=st.text(min_size=1),
            state=st.sampled_from(State),
            result_urls=st.just(("https://x.example/1",)) | st.just(()),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_events_make_a_digest_for_slack_and_for_email(several):
    message = compose_digest(several)

    assert fault(blocks.payload(message)) == "ok"
    assert 0 < len(message.title) <= 140
    text_part(message).encode()
    assert len(html_part(message)) < 200_000
