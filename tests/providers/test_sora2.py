"""What is particular to Sora2: two forms, and states that follow from the numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers.samples import samples
from receiver.providers.verification import verify
from tests import making

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET = "the one secret"
SORA2 = making.provider("sora2", SECRET)


def request(
    body: bytes, headers: Mapping[str, str] | None = None, now: datetime = NOW
) -> Request:
    return Request(headers or {}, {}, body, now)


def read(body: Mapping[str, Any]) -> Reading:
    return SORA2.read(request(b""), {"batch_id": "b", **body})


@pytest.mark.parametrize(
    ("total", "succeeded", "failed", "word", "state"),
    [
        (10, 10, 0, "succeeded", State.SUCCEEDED),
        (10, 9, 1, "partial", State.PARTIAL),
        (10, 9, 1, "succeeded", State.PARTIAL),
        (10, 0, 10, "failed", State.FAILED),
        (10, 0, 10, "succeeded", State.FAILED),
        (10, 10, 0, "failed", State.SUCCEEDED),
        (10, 9, 0, "succeeded", State.PARTIAL),
        (None, 3, 0, "failed", State.SUCCEEDED),
        (None, 3, 1, "", State.PARTIAL),
        (0, 0, 0, "succeeded", State.SUCCEEDED),
        (10, None, None, "partial", State.PARTIAL),
        (10, "9", "1", "failed", State.FAILED),
        (10, True, False, "partial", State.PARTIAL),
        (None, None, None, "cancelled", State.CANCELLED),
        (None, None, None, "invented", State.UNKNOWN),
        (None, None, None, None, State.UNKNOWN),
    ],
)
def test_the_state_follows_from_the_counts_where_there_are_any(
    total, succeeded, failed, word, state
):
    summary = {"total": total, "succeeded": succeeded, "failed": failed}
    counts = {"total_count": total, "success_count": succeeded, "failed_count": failed}

    documented = read({"event": "batch.completed", "status": word, "summary": summary})
    as_sent = read({"status": word, **counts})

    assert (documented.state, as_sent.state) == (state, state)
    assert documented.facts["state"] == state
    assert documented.final
    assert as_sent.final


@pytest.mark.parametrize(
    ("settled", "refunded", "reason", "state"),
    [
        (90, 10, "failed_items", State.PARTIAL),
        (100, 0, "failed_items", State.SUCCEEDED),
        (0, 100, "failed_items", State.FAILED),
        (0, 100, "batch_cancelled", State.CANCELLED),
        (50, 50, "batch_cancelled", State.PARTIAL),
        (None, 10, "failed_items", State.UNKNOWN),
        (90, "10", "system_error", State.UNKNOWN),
    ],
)
def test_the_state_of_a_refund_follows_from_the_credits(
    settled, refunded, reason, state
):
    ledger = {"reserved": 100, "settled": settled, "refunded": refunded}

    reading = read(
        {"event": "batch.refunded", "refund_reason": reason, "ledger": ledger}
    )

    assert reading.state is state
    assert reading.final


@pytest.mark.parametrize(
    ("kind", "state", "final"),
    [
        ("batch.created", State.PENDING, False),
        ("batch.running", State.RUNNING, False),
        ("batch.failed", State.FAILED, True),
        ("batch.invented", State.UNKNOWN, False),
    ],
)
def test_the_state_follows_from_the_type_where_nothing_else_tells(kind, state, final):
    reading = read({"event": kind})

    assert (reading.state, reading.final) == (state, final)


def test_refunds_of_other_credits_are_other_events():
    def key(refunded: int) -> str:
        return read({"event": "batch.refunded", "ledger": {"refunded": refunded}}).key

    assert key(10) == key(10)
    assert key(10) != key(20)


def test_both_forms_of_one_end_are_one_event():
    documented = read({"event": "batch.completed", "status": "partial"})
    as_sent = read({"status": "partial"})

    assert documented.key == as_sent.key
    assert documented.type == as_sent.type == "batch.completed"


def test_the_key_of_another_batch_is_another():
    first = SORA2.read(request(b""), {"batch_id": "a", "event": "batch.completed"})
    second = SORA2.read(request(b""), {"batch_id": "b", "event": "batch.completed"})

    assert first.key != second.key


def test_links_are_those_of_the_items_that_have_one():
    items = [{"video_url": "https://a.test/1"}, {"video_url": ""}, {}, 7, None]

    reading = read({"event": "batch.completed", "items": items})

    assert reading.result_urls == ("https://a.test/1",)


@pytest.mark.parametrize(
    "value", ["2026-01-24T10:02:05Z", "2026-01-24T11:02:05+01:00", 1769248925000]
)
def test_timestamps_are_text_or_milliseconds(value):
    reading = read({"event": "batch.completed", "timestamp": value})

    assert reading.occurred_at == datetime(2026, 1, 24, 10, 2, 5, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "", 10**30, -(10**30), True, [], 1.5])
def test_a_timestamp_that_cannot_be_read_is_none(value):
    assert read({"event": "a", "timestamp": value}).occurred_at is None


@pytest.mark.parametrize(
    ("offset_s", "code"),
    [
        (0, None),
        (299, None),
        (-299, None),
        (301, "timestamp_out_of_range"),
        (-301, "timestamp_out_of_range"),
    ],
)
@pytest.mark.parametrize("kind", ["batch.completed", "as-sent"])
def test_age_is_judged_where_a_tolerance_is_configured(offset_s, code, kind):
    body = samples("sora2", "bat_1", NOW)[kind].body
    headers = making.signed(body, SECRET, now=NOW)
    asked = request(body, headers, NOW + timedelta(seconds=offset_s))
    strict = making.provider("sora2", SECRET, tolerance=timedelta(minutes=5))

    verify(SORA2, asked)

    if code is None:
        verify(strict, asked)
        return
    with pytest.raises(Rejected) as caught:
        verify(strict, asked)
    assert (caught.value.status, caught.value.code) == (401, code)


def test_an_old_request_is_not_made_young_by_a_header_that_is_not_signed():
    body = samples("sora2", "bat_1", NOW)["batch.completed"].body
    later = NOW + timedelta(hours=1)
    headers = {**making.signed(body, SECRET, now=NOW), "x-sora2-timestamp": str(later)}
    strict = making.provider("sora2", SECRET, tolerance=timedelta(minutes=5))

    with pytest.raises(Rejected) as caught:
        verify(strict, request(body, headers, later))

    assert caught.value.code == "timestamp_out_of_range"


def test_a_body_without_any_time_is_refused_where_a_tolerance_is_configured():
    body = b'{"event":"a","batch_id":"b"}'
    signed = making.signed(body, SECRET, now=NOW)["x-sora2-signature"]
    asked = request(body, {"x-sora2-signature": signed})
    strict = making.provider("sora2", SECRET, tolerance=timedelta(minutes=5))

    with pytest.raises(Rejected) as caught:
        verify(strict, asked)

    assert caught.value.code == "timestamp_missing"


@pytest.mark.parametrize(
    ("body", "headers", "ping"),
    [
        (b'{"event":"test"}', {}, True),
        (b' { "event" : "test" } ', {}, True),
        (b'{"event":"test"}', {"x-sora2-signature": "sha256=0"}, False),
        (b'{"event":"test"}', {"x-webhook-signature": "0"}, False),
        (b'{"event":"test","batch_id":"b"}', {}, False),
        (b'{"event":"test"}' + b" " * 100, {}, False),
        (b"{", {}, False),
        (b"\xff", {}, False),
        (b"[" * 64, {}, False),
        (b"", {}, False),
    ],
)
def test_only_the_unsigned_test_is_a_test_ping(body, headers, ping):
    assert SORA2.is_test_ping(request(body, headers)) is ping


def test_the_signature_may_be_in_capitals_but_not_of_another_scheme():
    body = making.sample("batch.completed")
    header = making.signed(body, SECRET)["x-sora2-signature"]
    digest = header.removeprefix("sha256=")

    verify(SORA2, request(body, {"x-sora2-signature": f"sha256={digest.upper()}"}))

    for value in (
        digest,
        f"sha1={digest}",
        f"sha256={digest}0",
        f"sha256={digest[1:]}",
    ):
        with pytest.raises(Rejected) as caught:
            verify(SORA2, request(body, {"x-sora2-signature": value}))
        assert caught.value.status == 401
