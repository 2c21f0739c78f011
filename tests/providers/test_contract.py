"""What every provider promises, held against all of them."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers import names
from receiver.providers.body import parse
from receiver.providers.samples import Sample
from receiver.providers.sending import Outgoing, spoiled
from receiver.providers.verification import verify
from receiver.schemes import check, timestamp_text
from tests import making
from tests.providers.cases import (
    CASES,
    NOW,
    SIGNING,
    SUBJECT,
    TOKEN,
    Case,
    accept,
    knowing,
)

VECTORS = json.loads((Path(__file__).parents[1] / "samples/vectors.json").read_text())
SAMPLES = [
    pytest.param(case, sample, id=f"{case.name}-{sample.name}")
    for case in CASES
    for sample in case.samples().values()
]
SIGNED = [param for param in SAMPLES if param.values[0] in SIGNING]

every_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_signing = pytest.mark.parametrize("case", SIGNING, ids=lambda case: case.name)
every_sample = pytest.mark.parametrize(("case", "sample"), SAMPLES)
every_signed = pytest.mark.parametrize(("case", "sample"), SIGNED)


def first(case: Case) -> Sample:
    return next(iter(case.samples().values()))


def refusal(case: Case, asked: Request) -> str:
    with pytest.raises(Rejected) as caught:
        accept(case.provider(), asked)
    assert caught.value.status == 401
    assert caught.value.message
    return caught.value.code


# -- every provider


@every_sample
def test_a_sample_gets_in_and_can_be_read(case, sample):
    provider = case.provider()
    asked = case.sent(sample)

    accept(provider, asked)
    reading = provider.read(asked, parse(asked.body))

    assert reading.subject == SUBJECT
    assert reading.type
    assert reading.key


@every_provider
def test_there_are_samples_and_each_is_an_event_of_its_own(case):
    provider = case.provider()
    keys = [
        provider.read(case.sent(sample), parse(sample.body)).key
        for sample in case.samples().values()
    ]

    assert keys
    assert len(set(keys)) >= len(keys) - len(SAME_EVENT.get(case.name, ()))


SAME_EVENT = {
    "sora2": ("as-sent",),
    "fal": ("without-payload",),
    "kie": (
        *("task.failed", "veo.succeeded", "veo.failed", "veo-4k.failed"),
        *("suno.complete", "suno.failed", "runway.succeeded", "aleph.failed"),
        *("luma.succeeded", "midjourney.succeeded"),
    ),
}
"""Samples that are another form, or another end, of one that is there."""


@every_provider
def test_the_samples_of_another_subject_are_other_events(case):
    provider = case.provider()

    def keys(subject: str) -> set[str]:
        return {
            provider.read(case.sent(sample), parse(sample.body)).key
            for sample in case.samples(subject).values()
        }

    assert keys("sub_1").isdisjoint(keys("sub_2"))


@every_signing
def test_any_of_several_secrets_may_have_signed(case):
    for secret in case.secrets:
        accept(case.provider(), case.sent(first(case), secret))


@every_signing
def test_another_secret_is_refused(case):
    asked = case.sent(first(case), case.stranger)

    assert refusal(case, asked) == "signature_mismatch"


@every_signed
def test_a_signature_made_wrong_to_try_it_out_is_refused(case, sample):
    asked = case.sent(sample)
    right = Outgoing(asked.headers, dict(asked.query), asked.body)

    wrong = spoiled(case.provider(), right)

    assert refusal(case, replace(asked, headers=wrong.headers)) == "signature_mismatch"
    assert wrong.body == asked.body
    lengths = {name: len(value) for name, value in asked.headers.items()}
    assert {name: len(value) for name, value in wrong.headers.items()} == lengths


@every_signing
def test_a_request_without_a_signature_is_refused(case):
    asked = case.sent(first(case))
    bare = {
        name: value
        for name, value in asked.headers.items()
        if name not in case.provider().signature_headers
    }

    assert refusal(case, replace(asked, headers=bare)) == "signature_missing"


@every_signed
def test_a_request_that_lacks_what_is_signed_is_refused(case, sample):
    provider, asked = case.provider(), case.sent(sample)
    scheme = provider.scheme_for(asked.body)

    for name in scheme.headers:
        left = {n: v for n, v in asked.headers.items() if n != name}
        refusal(case, replace(asked, headers=left))


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.schemes], ids=lambda case: case.name
)
def test_a_sender_that_does_not_sign_needs_the_token_in_the_address(case):
    asked = case.sent(first(case))

    assert asked.query == {"token": TOKEN}
    assert refusal(case, replace(asked, query={})) == "token_missing"
    assert refusal(case, replace(asked, query={"token": "x"})) == "token_mismatch"


@every_signing
@pytest.mark.parametrize("value", ["", " ", "sha256=", "é", "\x80", "0" * 100_000, ","])
def test_a_signature_that_is_none_is_refused(case, value):
    asked, names = case.sent(first(case)), case.provider().signature_headers
    others = {n: v for n, v in asked.headers.items() if n not in names}
    for name in names:
        refusal(case, replace(asked, headers={**others, name: value}))


@every_signing
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"\0", b"x" * 4_000_000])
def test_bytes_of_any_kind_are_verified_without_being_understood(case, body):
    provider = case.provider()
    if "body" not in provider.signs:
        pytest.skip("its signature is over something in the body")
    asked = case.sent(Sample("", body))

    accept(provider, asked)

    stale = replace(asked, headers={})
    assert refusal(case, stale) == "signature_missing"


@every_signing
def test_headers_that_carry_signatures_are_declared(case):
    asked = case.sent(first(case))
    declared = case.provider().signature_headers

    assert declared & asked.headers.keys()
    assert all(name == name.lower() for name in declared)


@every_signing
@pytest.mark.parametrize("offset_s", [-301, 301])
def test_a_signed_time_is_held_against_the_clock(case, offset_s):
    provider = case.provider()
    if "timestamp" not in provider.signs:
        pytest.skip("it signs no time")
    asked = case.sent(first(case))
    late = replace(asked, received_at=NOW + timedelta(seconds=offset_s))

    accept(provider, asked)

    assert refusal(case, late) == "timestamp_out_of_range"


def changed(case: Case, asked: Request, data: st.DataObject) -> Request:
    """The request with one byte of something that is signed replaced."""
    provider = case.provider()
    what = data.draw(st.sampled_from(sorted(provider.signs)))
    scheme = provider.scheme_for(asked.body)
    assert scheme is not None
    if what == "timestamp":
        text = timestamp_text(scheme, asked)
        assert text is not None
        name, old = scheme.timestamp_header, text
    elif what == "id" and scheme.id_header:
        name, old = scheme.id_header, asked.headers[scheme.id_header]
    elif what == "id":
        old = next(iter(provider.ids(asked)))
        new = one_changed(old, data)
        body = asked.body.replace(json.dumps(old).encode(), json.dumps(new).encode())
        return replace(asked, body=body)
    else:
        i = data.draw(st.integers(0, len(asked.body) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda b: b != asked.body[i]))
        body = asked.body[:i] + bytes([byte]) + asked.body[i + 1 :]
        return replace(asked, body=body)
    value = asked.headers[name].replace(old, one_changed(old, data), 1)
    return replace(asked, headers={**asked.headers, name: value})


def one_changed(text: str, data: st.DataObject) -> str:
    """The text with one character replaced by a harmless other one."""
    i = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(
        st.sampled_from("0123456789abcdef").filter(lambda c: c != text[i])
    )
    return text[:i] + other + text[i + 1 :]


@every_signed
@given(data=st.data())
def test_a_change_of_one_byte_that_is_signed_is_refused(case, sample, data):
    asked = case.sent(sample)

    tampered = changed(case, asked, data)

    assert refusal(case, tampered) in (
        "signature_mismatch",
        "signature_missing",  # the change was to an item of the header's
        "timestamp_missing",
        "id_missing",
    )


@every_signed
@given(data=st.data())
def test_a_body_that_is_cut_short_is_refused(case, sample, data):
    provider = case.provider()
    asked = case.sent(sample)
    cut = asked.body[: data.draw(st.integers(0, len(asked.body) - 1))]

    if "body" in provider.signs:
        assert refusal(case, replace(asked, body=cut)) == "signature_mismatch"
    else:
        assert refusal(case, replace(asked, body=cut)) == "id_missing"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


def keys_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {k for inner in value.values() for k in keys_in(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in keys_in(inner)}
    return set()


@every_provider
@given(data=st.data())
def test_reading_anything_gives_a_reading_or_a_refusal(case, data):
    known = {k for s in case.samples().values() for k in keys_in(json.loads(s.body))}
    words = st.sampled_from(sorted(known))
    inner = json_values | st.dictionaries(words, json_values)
    body = data.draw(json_values | st.dictionaries(words, inner))
    headers = first(case).headers

    try:
        reading = case.provider().read(Request(headers, {}, b"", NOW), body)
    except Rejected as rejected:
        assert rejected.status == 400  # noqa: PT017 (either is right)
    else:
        assert isinstance(reading, Reading)
        assert isinstance(reading.subject, str)
        assert isinstance(reading.key, str)
        assert reading.key
        assert reading.type
        assert isinstance(reading.state, State)


@every_sample
@given(data=st.data())
def test_a_sample_with_any_field_replaced_gives_a_reading_or_a_refusal(
    case, sample, data
):
    body = json.loads(sample.body)
    place = body
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(json_values)
        break

    try:
        reading = case.provider().read(Request(sample.headers, {}, b"", NOW), body)
    except Rejected as rejected:
        assert rejected.status == 400  # noqa: PT017 (either is right)
    else:
        assert reading.key
        assert all(isinstance(url, str) for url in reading.result_urls)


@every_provider
@given(body=st.binary(max_size=100))
def test_any_bytes_can_be_looked_at_for_a_test_ping(case, body):
    assert case.provider().is_test_ping(Request({}, {}, body, NOW)) in (True, False)


@every_signing
@given(body=st.binary(max_size=200), value=st.text(max_size=100))
def test_no_bytes_get_in_by_chance(case, body, value):
    headers = dict.fromkeys(case.provider().signature_headers, value)

    refusal(case, Request(headers, {}, body, NOW))


@every_provider
def test_a_source_that_anybody_could_post_to_is_a_problem(case):
    bare = making.provider(case.name)
    if not bare.needs_secret:
        pytest.skip("its keys are public")

    problems = [field for field, _, _ in bare.problems()]

    assert problems
    assert not list(case.provider().problems())
    assert not list(making.provider(case.name, allow_unsigned=True).problems())


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["provider"] in names()],
    ids=lambda vector: f"{vector['provider']}: {vector['note']}",
)
def test_a_known_request_verifies(vector):
    body = vector["body"].encode()
    moment = datetime.fromisoformat(vector["now"])
    asked = Request(vector["headers"], {}, body, moment)
    provider = knowing(vector["provider"], vector["secret"])

    verify(provider, asked)

    if {"type", "subject", "key"} & vector.keys():
        reading = provider.read(asked, parse(body))
        for name in {"type", "subject", "key"} & vector.keys():
            assert getattr(reading, name) == vector[name]
    for scheme in provider.schemes:
        with pytest.raises(Rejected):
            check(scheme, asked, [b"another key"], provider.ids(asked))
