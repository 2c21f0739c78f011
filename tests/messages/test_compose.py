"""What a person reads about an event."""

import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.messages import Failure, Link, Message, Severity, compose
from receiver.messages.batches import TYPES
from receiver.messages.mail import html_part, letter, text_part, written
from receiver.messages.words import clean, lasting
from receiver.models import Event, State
from tests import making
from tests.making import NOW

SAMPLES = Path(__file__).parent.parent / "samples"


def event(body: bytes | str | dict[str, Any] = b"{}", **changes: Any) -> Event:
    return making.event(body, **{"state": State.UNKNOWN, **changes})


def sample(name: str, kind: str, state: State) -> Message:
    body = (SAMPLES / f"sora2-{name}.json").read_bytes()
    subject = json.loads(body)["batch_id"]
    return compose(event(body, type=kind, state=state, subject=subject))


def facts(message: Message) -> dict[str, str]:
    groups = (*message.counters, *message.credits, *message.facts)
    return {fact.label: fact.value for fact in groups}


@pytest.mark.parametrize(
    ("name", "kind", "state", "title", "summary", "severity"),
    [
        (
            "batch-created",
            "batch.created",
            State.PENDING,
            "Batch bat_abc123def456 was created",
            "10 videos are waiting to be made, and 100 credits held.",
            Severity.INFO,
        ),
        (
            "batch-running",
            "batch.running",
            State.RUNNING,
            "Batch bat_abc123def456 is running",
            "Its videos are being made: 3 running, of 10.",
            Severity.INFO,
        ),
        (
            "batch-completed",
            "batch.completed",
            State.PARTIAL,
            "Batch bat_abc123def456 finished with failures",
            "Of 10 videos, 9 succeeded and 1 failed; 90 credits charged, 10 came back.",
            Severity.WARNING,
        ),
        (
            "batch-failed",
            "batch.failed",
            State.FAILED,
            "Batch bat_abc123def456 failed",
            "Not enough credits to process batch (INSUFFICIENT_CREDITS).",
            Severity.BAD,
        ),
        (
            "batch-refunded",
            "batch.refunded",
            State.PARTIAL,
            "Batch bat_abc123def456: 10 credits came back",
            "10 credits of 100 held came back because items failed; 90 stay charged.",
            Severity.WARNING,
        ),
        (
            "as-sent-completed",
            "batch.completed",
            State.SUCCEEDED,
            "Batch 7f3f1d0e-0000-4000-8000-000000000002 is complete",
            "All 3 videos succeeded; 30 credits charged.",
            Severity.GOOD,
        ),
        (
            "as-sent-partial",
            "batch.completed",
            State.PARTIAL,
            "Batch 7f3f1d0e-0000-4000-8000-000000000001 finished with failures",
            "Of 3 videos, 2 succeeded and 1 failed; 20 credits charged.",
            Severity.WARNING,
        ),
        (
            "as-sent-failed",
            "batch.failed",
            State.FAILED,
            "Batch 7f3f1d0e-0000-4000-8000-000000000003 failed",
            "All 3 videos failed; 0 credits charged.",
            Severity.BAD,
        ),
    ],
)
def test_each_batch_event_says_what_happened(
    name, kind, state, title, summary, severity
):
    message = sample(name, kind, state)

    assert (message.title, message.summary) == (title, summary)
    assert message.severity is severity


def test_a_partial_batch_names_its_failures_results_and_credits():
    message = sample("batch-completed", "batch.completed", State.PARTIAL)

    told = facts(message)
    assert message.failures == (
        Failure("item_002", "Model timeout", "timeout", "sku: PROD-002"),
    )
    assert message.links == (
        Link("item_001", "https://cdn.sora2aivideos.com/v/abc123.mp4"),
    )
    assert told["Credits reserved"] == "100"
    assert told["Credits refunded"] == "10"
    assert told["Request"] == "order-12345"
    assert told["Took"] == "2 min 5 s"
    assert told["Happened"] == "2026-01-24 10:02:07 UTC"


def test_a_refund_names_the_items_it_is_for():
    message = sample("batch-refunded", "batch.refunded", State.PARTIAL)

    assert message.failures == (
        Failure("item_002", "Model timeout", "10 credits came back"),
    )


def test_the_result_urls_of_the_reading_are_the_links():
    message = compose(
        event(
            {"items": [{"item_id": "a", "video_url": "https://x.example/1"}]},
            result_urls=("https://x.example/1", "https://x.example/2"),
            expires_at=NOW,
        )
    )

    assert message.links == (
        Link("a", "https://x.example/1"),
        Link("Result 2", "https://x.example/2"),
    )
    assert facts(message)["Links expire"] == "2026-01-24 10:02:07 UTC"


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "https://x/a b", 'https://x/"onclick', "https://x/>|", 7],
)
def test_only_a_harmless_web_address_becomes_a_link(url):
    message = compose(event({"items": [{"item_id": "a", "video_url": url}]}))

    assert message.links == ()


def test_of_a_thousand_failures_fifty_are_named_and_all_are_counted():
    items = [{"item_id": f"i{n}", "status": "failed"} for n in range(1000)]

    message = compose(event({"items": items}, state=State.FAILED))

    assert len(message.failures) == 50
    assert message.more_failures == 950


def test_an_event_without_a_text_of_its_own_tells_what_its_body_says():
    body = (SAMPLES / "kie-sora2-fail.json").read_bytes()

    message = compose(
        event(body, source="kie", type="task", subject="t1", state=State.FAILED)
    )

    assert message.title == "task: t1 has failed"
    assert (
        message.summary
        == "kie reports that t1 has failed: Internal server error (500)."
    )
    assert facts(message)["data.failMsg"] == "Internal server error"
    assert facts(message)["data.createTime"] == "1755596341000"


@pytest.mark.parametrize(
    ("kind", "state", "body", "title", "said"),
    [
        (
            "task.failed",
            State.FAILED,
            {"code": 501, "data": {"failCode": "500", "failMsg": "Internal error"}},
            "Task t1 has failed",
            "task t1 has failed: Internal error (500).",
        ),
        (
            "task.failed",
            State.FAILED,
            {"code": 400, "msg": "Your prompt was flagged.", "data": {"taskId": "t1"}},
            "Task t1 has failed",
            "task t1 has failed: Your prompt was flagged (400).",
        ),
        (
            "task.succeeded",
            State.SUCCEEDED,
            {"code": 200, "msg": "success", "data": {"taskId": "t1"}},
            "Task t1 has succeeded",
            "task t1 has succeeded.",
        ),
        (
            "job.failed",
            State.FAILED,
            {"job_id": "t1", "status": "failed", "metadata": {}},
            "Job t1 has failed",
            "job t1 has failed.",
        ),
        (
            "video.failed",
            State.FAILED,
            {"data": {"id": "t1", "error": {"code": "moderation", "message": "No."}}},
            "Video t1 has failed",
            "video t1 has failed: No (moderation).",
        ),
        (
            "prediction",
            State.CANCELLED,
            {"id": "t1", "error": "stopped by hand"},
            "prediction: t1 was cancelled",
            "t1 was cancelled: stopped by hand",
        ),
        (
            "generation.failed",
            State.FAILED,
            {"failure": "SAFETY", "failureCode": "SAFETY", "error": '{"json": 1}'},
            "Generation t1 has failed",
            "generation t1 has failed: SAFETY",
        ),
    ],
)
def test_events_of_other_providers_are_told_in_their_words(
    kind, state, body, title, said
):
    message = compose(event(body, source="kie", type=kind, subject="t1", state=state))

    assert message.title == title
    assert message.summary == f"kie reports that {said}"


def test_links_that_end_say_so_where_they_are():
    urls, until = ("https://x.example/1",), "2026-01-24 10:02:07 UTC"

    message = compose(
        event({}, type="task.succeeded", result_urls=urls, expires_at=NOW)
    )

    assert f"Results, until {until}:\n- Result 1: " in text_part(message)
    assert f"Results, until {until}</h2>" in html_part(message)


def test_what_the_head_of_a_message_says_is_not_said_again():
    body = {"job_id": "t1", "type": "job.failed", "status": "failed"}

    found = facts(compose(event(body, type="job.failed", subject="t1")))

    assert "job_id" not in found
    assert "type" not in found
    assert found["status"] == "failed"


def test_what_looks_like_a_secret_is_not_shown():
    message = compose(event({"api_key": "s3cret", "x": {"token": "s3cret"}}, type="t"))

    assert "s3cret" not in text_part(message)


@pytest.mark.parametrize(
    "body",
    [b"", b"not JSON", b"\xff\xfe", b"[" * 100_000, b"null", b"[1, 2]", b'"text"'],
)
def test_a_body_that_is_no_object_still_makes_a_message(body):
    message = compose(event(body, subject=""))

    assert message.title == "sora2 sent batch.completed"
    assert message.summary == "sora2 sent batch.completed."


def test_markup_in_an_event_is_only_text_in_the_html():
    message = compose(
        event({"items": [{"status": "failed", "error": "<img src=x> & more"}]})
    )

    page = html_part(message)

    assert "&lt;img src=x&gt; &amp; more" in page
    assert "<img" not in page


def test_the_html_loads_nothing_and_says_the_status_in_a_word():
    page = html_part(sample("batch-completed", "batch.completed", State.PARTIAL))

    assert "src=" not in page
    assert "url(" not in page
    assert "<strong>Partly succeeded.</strong>" in page
    assert 'href="https://cdn.sora2aivideos.com/v/abc123.mp4"' in page


def test_the_text_part_reads_like_this():
    text = text_part(sample("batch-refunded", "batch.refunded", State.PARTIAL))

    assert text.startswith(
        "Batch bat_abc123def456: 10 credits came back\n"
        "[Partly succeeded] 10 credits of 100 held came back because items failed; "
        "90 stay charged.\n"
        "\n"
        "What went wrong:\n"
        "- item_002: Model timeout (10 credits came back)\n"
        "\n"
        "Credits reserved: 100\n"
        "Credits settled: 90\n"
        "Credits refunded: 10\n"
        "\n"
        "--\n"
        "Subject: bat_abc123def456\n"
        "Request: order-12345\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nBcc: x", "a Bcc: x"),
        ("a\x00\x1b[31mb", "a [31mb"),
        ("a\u202eb\ud800c", "a b c"),
        ("x" * 20, "x" * 9 + "…"),
    ],
)
def test_text_becomes_one_short_visible_line(text, shown):
    assert clean(text, 10) == shown


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (850, "850 ms"),
        (42_999, "42 s"),
        (125_000, "2 min 5 s"),
        (11_400_000, "3 h 10 min"),
        (-1, ""),
    ],
)
def test_how_long_it_took_is_said_in_two_units(milliseconds, words):
    assert lasting(milliseconds) == words


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["failed", "https://x.example/v.mp4", "\r\nBcc: x", "<!here>"])
)
KEYS = st.text(max_size=5) | st.sampled_from(
    [
        *("summary", "ledger", "items", "refund_details", "metadata", "status"),
        *("total", "succeeded", "failed", "running", "reserved", "settled"),
        *("refunded", "total_count", "success_count", "failed_count", "item_id"),
        *("credits_spent", "error", "error_message", "refund_reason", "duration_ms"),
        *("video_url", "request_id", "credits", "reason", "failMsg", "data"),
    ]
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=25,
)
EVENTS = st.builds(
    lambda body, **rest: event(json.dumps(body), **rest),
    BODIES | st.dictionaries(KEYS, BODIES, min_size=3),
    type=st.text() | st.sampled_from(sorted(TYPES)),
    state=st.sampled_from(State),
    subject=st.text(),
    source=st.text(min_size=1),
    result_urls=st.lists(st.text() | st.just("https://x.example/v.mp4")).map(tuple),
    occurred_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS)
def test_any_body_makes_a_bounded_clean_message_and_email(hostile):
    message = compose(hostile)
    mail = written(
        letter(message),
        sender="r@example.com",
        recipients=["a@example.com"],
        message_id="<1@example.com>",
        event_id=hostile.id,
        now=NOW,
    )

    assert 0 < len(message.title) <= 140
    assert 0 < len(message.summary) <= 500
    assert len(message.failures) <= 50
    assert len(message.links) <= 50
    texts = [message.title, message.summary, *facts(message).values()]
    texts += [f.error + f.item + f.kind + f.note for f in message.failures]
    assert all(clean(text, 1000) == text for text in texts)
    assert len(mail.as_bytes()) < 200_000
    assert mail.as_bytes().isascii()
