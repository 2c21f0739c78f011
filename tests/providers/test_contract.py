"""What every provider promises, and what is particular to some."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Reading, Request, Secret, State
from receiver.providers import PROVIDERS, Provider
from receiver.providers.body import parse
from receiver.settings import Source

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET, NEXT = Secret("the one secret"), Secret("the next secret")
VECTORS = json.loads((Path(__file__).parents[1] / "samples/vectors.json").read_text())
SAMPLES = [
    (name, kind)
    for name, provider in PROVIDERS.items()
    for kind in provider.samples("bat_1", NOW)
]

every_provider = pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
every_sample = pytest.mark.parametrize(("name", "kind"), SAMPLES)


def source(
    name: str, *secrets: str, tolerance: timedelta | None = None, **more: Any
) -> Source:
    chosen = tuple(map(Secret, secrets)) or (SECRET,)
    return Source("here", provider=name, secrets=chosen, tolerance=tolerance, **more)


def request(
    body: bytes, headers: Mapping[str, str] | None = None, now: datetime = NOW
) -> Request:
    return Request(headers or {}, {}, body, now)


def sent(provider: Provider, body: bytes, secret: Secret = SECRET) -> Request:
    return request(body, provider.sign(body, secret, NOW))


def sample(provider: Provider) -> bytes:
    return next(iter(provider.samples("bat_1", NOW).values()))


def refusal(provider: Provider, asked: Request, *secrets: str) -> str:
    with pytest.raises(Rejected) as caught:
        provider.verify(asked, source(provider.name, *secrets))
    assert caught.value.status == 401
    assert caught.value.message
    return caught.value.code


# -- every provider


@every_sample
def test_a_sample_verifies_and_can_be_read(name, kind):
    provider = PROVIDERS[name]
    body = provider.samples("bat_1", NOW)[kind]
    asked = sent(provider, body)

    provider.verify(asked, source(name))
    reading = provider.read(asked, parse(body))

    assert reading.subject == "bat_1"
    assert reading.type
    assert reading.key


@every_provider
def test_the_samples_of_another_subject_are_other_events(provider):
    def keys(subject: str) -> set[str]:
        return {
            provider.read(sent(provider, body), parse(body)).key
            for body in provider.samples(subject, NOW).values()
        }

    assert keys("bat_1").isdisjoint(keys("bat_2"))


@every_provider
def test_any_of_several_secrets_may_have_signed(provider):
    for secret in (SECRET, NEXT):
        provider.verify(
            sent(provider, sample(provider), secret),
            source(provider.name, SECRET, NEXT),
        )


@every_provider
def test_another_secret_is_refused(provider):
    asked = sent(provider, sample(provider), Secret("a stranger's"))

    assert refusal(provider, asked, SECRET, NEXT) == "signature_mismatch"


@every_provider
def test_a_request_without_a_signature_is_refused(provider):
    asked = request(sample(provider))

    assert refusal(provider, asked) == "signature_missing"


@every_provider
@pytest.mark.parametrize("value", ["", " ", "sha256=", "é", "\x80", "0" * 100_000, ","])
def test_a_signature_that_is_none_is_refused(provider, value):
    for name in provider.signature_headers:
        refusal(provider, request(sample(provider), {name: value}))


@every_provider
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"\0", b"x" * 4_000_000])
def test_bytes_of_any_kind_can_be_signed_and_verified(provider, body):
    asked = sent(provider, body)

    provider.verify(asked, source(provider.name))

    assert refusal(provider, request(body)) == "signature_missing"


@every_provider
def test_headers_that_carry_signatures_are_declared(provider):
    signatures = provider.sign(sample(provider), SECRET, NOW)

    assert provider.signature_headers & signatures.keys()
    assert all(name == name.lower() for name in provider.signature_headers)


def changed(provider: Provider, asked: Request, data: st.DataObject) -> Request:
    """The request with one byte of something that is signed replaced."""
    assert provider.signs <= {"body", "timestamp"}, "say here how others are changed"
    if data.draw(st.sampled_from(sorted(provider.signs))) == "timestamp":
        return changed_time(asked, data)
    i = data.draw(st.integers(0, len(asked.body) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != asked.body[i]))
    body = asked.body[:i] + bytes([byte]) + asked.body[i + 1 :]
    return Request(asked.headers, asked.query, body, asked.received_at)


def changed_time(asked: Request, data: st.DataObject) -> Request:
    """The request with one character of its timestamp header replaced."""
    name = next(name for name in asked.headers if name.endswith("timestamp"))
    value = asked.headers[name]
    i = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != value[i]))
    headers = {**asked.headers, name: value[:i] + other + value[i + 1 :]}
    return Request(headers, asked.query, asked.body, asked.received_at)


@every_sample
@given(data=st.data())
def test_a_change_of_one_byte_that_is_signed_is_refused(name, kind, data):
    provider = PROVIDERS[name]
    asked = sent(provider, provider.samples("bat_1", NOW)[kind])

    tampered = changed(provider, asked, data)

    assert refusal(provider, tampered) == "signature_mismatch"


@every_sample
@given(data=st.data())
def test_a_body_that_is_cut_short_is_refused(name, kind, data):
    provider = PROVIDERS[name]
    asked = sent(provider, provider.samples("bat_1", NOW)[kind])
    cut = asked.body[: data.draw(st.integers(0, len(asked.body) - 1))]

    assert refusal(provider, request(cut, asked.headers)) == "signature_mismatch"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = [
    *("event", "batch_id", "status", "summary", "ledger", "items", "timestamp"),
    *("total", "succeeded", "failed", "total_count", "success_count", "failed_count"),
    *("credits_spent", "refund_reason", "settled", "refunded", "video_url"),
]
likely = st.dictionaries(
    st.sampled_from(NAMES),
    json_values
    | st.sampled_from(["batch.refunded", "batch.completed", "partial"])
    | st.dictionaries(st.sampled_from(NAMES), json_values),
)


@every_provider
@given(data=json_values | likely)
def test_reading_anything_gives_a_reading_or_a_refusal(provider, data):
    try:
        reading = provider.read(request(b""), data)
    except Rejected as rejected:
        assert rejected.status == 400  # noqa: PT017 (either is right)
    else:
        assert isinstance(reading, Reading)
        assert reading.subject
        assert isinstance(reading.state, State)


@every_provider
@given(body=st.binary(max_size=100))
def test_any_bytes_can_be_looked_at_for_a_test_ping(provider, body):
    assert provider.is_test_ping(request(body)) in (True, False)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["provider"] in PROVIDERS],
    ids=lambda vector: f"{vector['provider']}: {vector['note']}",
)
def test_a_request_that_others_signed_is_accepted(vector):
    provider = PROVIDERS[vector["provider"]]
    body = vector["body"].encode()
    asked = request(body, vector["headers"], datetime.fromisoformat(vector["now"]))

    provider.verify(asked, source(provider.name, vector["secret"]))
    reading = provider.read(asked, parse(body))

    for name in {"type", "subject", "key"} & vector.keys():
        assert getattr(reading, name) == vector[name]
    wrong = source(provider.name, vector["secret"] + "x")
    with pytest.raises(Rejected):
        provider.verify(asked, wrong)


# -- sora2


SORA2 = PROVIDERS["sora2"]


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
    body = SORA2.samples("bat_1", NOW)[kind]
    headers = SORA2.sign(body, SECRET, NOW)
    asked = request(body, headers, NOW + timedelta(seconds=offset_s))

    SORA2.verify(asked, source("sora2"))
    strict = source("sora2", tolerance=timedelta(minutes=5))

    if code is None:
        SORA2.verify(asked, strict)
        return
    with pytest.raises(Rejected) as caught:
        SORA2.verify(asked, strict)
    assert (caught.value.status, caught.value.code) == (401, code)


def test_a_body_without_any_time_is_refused_where_a_tolerance_is_configured():
    body = b'{"event":"a","batch_id":"b"}'
    signed = SORA2.sign(body, SECRET, NOW)["x-sora2-signature"]
    asked = request(body, {"x-sora2-signature": signed})

    with pytest.raises(Rejected) as caught:
        SORA2.verify(asked, source("sora2", tolerance=timedelta(minutes=5)))

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
    body = sample(SORA2)
    digest = SORA2.sign(body, SECRET, NOW)["x-sora2-signature"].removeprefix("sha256=")

    SORA2.verify(
        request(body, {"x-sora2-signature": f"sha256={digest.upper()}"}),
        source("sora2"),
    )

    for value in (
        digest,
        f"sha1={digest}",
        f"sha256={digest}0",
        f"sha256={digest[1:]}",
    ):
        asked = request(body, {"x-sora2-signature": value})
        assert refusal(SORA2, asked) == "signature_mismatch"
