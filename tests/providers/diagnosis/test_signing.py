"""A wrong secret, way of signing or time is named, for every provider."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from receiver.errors import Rejected
from receiver.models import Reading, Request
from receiver.providers import Provider
from receiver.providers.copies import fingerprint
from receiver.providers.diagnosis import accepted, diagnose
from receiver.schemes import Algorithm, Scheme, key_of, sign, timestamp_text
from tests import making
from tests.providers.cases import NOW, Case
from tests.providers.diagnosis.damage import (
    OURS,
    PROVIDER,
    by_hmac,
    every_signing,
    first,
    refused,
    scheme_of,
    signed,
    sora2,
    steps,
    with_header,
    without,
    would,
)

# -- the secret


@every_signing
def test_a_stranger_s_signature_is_not_explained(case):
    found = refused(case, case.sent(first(case), case.stranger), "signature")

    assert "no try explains it" in found.hint


@every_signing
@pytest.mark.parametrize(
    ("copy", "says"),
    [
        (lambda secret: b"", "the secret is empty"),
        (lambda secret: b"undefined", "the secret is the word undefined"),
        (lambda secret: secret + b"\n", "with a line break at its end"),
        (lambda secret: b'"' + secret + b'"', "with double quotes around it"),
        (lambda secret: secret + b" ", "with a space at its end"),
        (base64.b64encode, "encoded in base64 once more"),
        (lambda secret: secret.hex().encode(), "encoded in hex once more"),
        (lambda secret: b"whsec_" + secret, "written with whsec_ before it"),
    ],
)
def test_a_secret_that_was_copied_wrongly_is_found(case, copy, says):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    asked = signed(case, sample, copy(case.secrets[0].encode()), scheme)

    assert says in refused(case, asked, "signature").hint


@pytest.mark.parametrize(
    ("configured", "key", "says"),
    [
        ("MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef", "taken as base64"),
        ("30313233343536373839", b"0123456789", "taken as hex digits"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef", "base64 without whsec"),
        ("whsec_0123456789", b"0123456789", "taken as text without whsec_"),
        (" our secret\n", b"our secret", "without the white space around it"),
        ("'our secret'", b"our secret", "without the quotes around it"),
        ("our%20secret", b"our secret", "without its %-escapes"),
        ("Our Secret", b"our secret", "in lower case"),
    ],
)
def test_a_secret_that_is_taken_in_another_way_is_found(configured, key, says):
    checks = diagnose(making.provider("sora2", configured), sora2(b"{}", key), NOW)

    assert says in steps(checks)["signature"].hint


def test_the_secret_of_another_source_is_found():
    elsewhere = {"staging": ("the secret of the other source",)}
    asked = sora2(b"{}", b"the secret of the other source")

    found = steps(diagnose(PROVIDER, asked, NOW, elsewhere=elsewhere))["signature"]

    number = fingerprint("the secret of the other source")
    assert f"secrets[0] ({number}) of the source staging" in found.hint


def test_a_secret_that_is_sent_instead_of_a_signature_is_told():
    asked = Request({"x-sora2-signature": OURS}, {}, b"{}", NOW)

    found = steps(diagnose(PROVIDER, asked, NOW))["signature"]

    assert "holds the secret itself" in found.words
    assert "make a new one" in found.hint


# -- the way of signing


@every_signing
def test_another_algorithm_is_named(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    other: Algorithm = "sha512" if scheme.algorithm == "sha1" else "sha1"
    key = key_of(scheme.key, case.secrets[0])

    asked = signed(case, sample, key, replace(scheme, algorithm=other))

    assert f"the algorithm is {other}" in refused(case, asked, "signature").hint


@every_signing
@pytest.mark.parametrize(
    "template",
    ["{body}", "{timestamp}{body}", "{timestamp}:{body}", "{body}.{timestamp}"],
)
def test_another_way_to_put_together_what_is_signed_is_named(case, template):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    if template == scheme.signed or not scheme.timestamp_header:
        pytest.skip("that is its own, or it has no timestamp")
    key = key_of(scheme.key, case.secrets[0])

    asked = signed(case, sample, key, replace(scheme, signed=template))

    found = refused(case, asked, "signature")
    assert f"what is signed is {template}" in found.hint or "is signed as" in found.hint


@every_signing
def test_an_id_from_another_place_is_found(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    if "{id}" not in scheme.signed or scheme.id_header:
        pytest.skip("it signs no id out of the body")
    body = json.dumps({**json.loads(sample.body), "elsewhere": {"no": "id_2"}}).encode()
    key = key_of(scheme.key, case.secrets[0])
    made = sign(scheme, body, key, NOW, message_id="id_2")

    found = refused(case, Request(made, {}, body, NOW), "signature")

    assert "the id is elsewhere.no in the body" in found.hint


class Tasks(Provider):
    """A sender that signs an id out of the body, and a time, but not the body."""

    schemes = (
        Scheme(
            header="x-task-signature",
            signed="{id}.{timestamp}",
            encoding="base64",
            timestamp_header="x-task-timestamp",
        ),
    )

    def ids(self, request: Request) -> list[str]:
        found = json.loads(request.body).get("task")
        return [found] if found else []

    def read(self, request: Request, data: Any) -> Reading:
        raise Rejected(400, "malformed_body", "nothing is read here")


def test_which_id_of_a_body_is_signed_is_found():
    provider = Tasks(making.provider("sora2", OURS).source)
    [scheme] = provider.schemes
    body = b'{"task":"t_1","data":{"list":[1,{"id":"t_2"}]}}'
    made = sign(scheme, body, OURS.encode(), NOW, message_id="t_2")
    asked = Request({**made, "x-request-id": "t_3"}, {}, body, NOW)
    in_header = sign(scheme, body, OURS.encode(), NOW, message_id="t_3")

    found = steps(diagnose(provider, asked, NOW))
    other = steps(
        diagnose(provider, replace(asked, headers={**asked.headers, **in_header}), NOW)
    )
    none = steps(diagnose(provider, replace(asked, body=b"{}"), NOW))

    assert "the id is data.list[1].id in the body" in found["signature"].hint
    assert "the id is that in x-request-id" in other["signature"].hint
    assert none["id"].words == "the body has no id"


def test_another_provider_s_way_is_recognised():
    body = making.sample("batch.completed")
    as_sophon = making.signed(body, OURS, "sophon", NOW)

    missing = diagnose(PROVIDER, Request(as_sophon, {}, body, NOW), NOW)
    both = {**as_sophon, "x-sora2-signature": "sha256=" + "0" * 64}
    wrong = diagnose(PROVIDER, Request(both, {}, body, NOW), NOW)

    for found in (steps(missing)["signature header"], steps(wrong)["signature"]):
        assert "this is signed as sophon signs, with a secret of this" in found.hint
        assert 'Set provider = "sophon"' in found.hint


# -- the timestamp


def timed(case: Case) -> Scheme:
    scheme = scheme_of(case, first(case))
    if "timestamp" not in case.provider().signs:
        pytest.skip("it signs no time")
    return scheme


@every_signing
@pytest.mark.parametrize(
    ("late", "says"),
    [
        (timedelta(days=3, minutes=11), "it would have been right at that time (--at "),
        (timedelta(hours=2, seconds=5), "the offset of a time zone"),
        (-timedelta(minutes=20), "the sender's clock is ahead"),
    ],
)
def test_a_timestamp_that_is_off_is_explained(case, late, says):
    timed(case)
    asked = case.sent(first(case))

    checks = diagnose(case.provider(), asked, NOW + late)

    assert steps(checks)["timestamp"].verdict == "failed"
    assert says in steps(checks)["timestamp"].hint
    assert steps(checks)["signature"].verdict == "ok"
    assert accepted(diagnose(case.provider(), asked, NOW))


@every_signing
def test_a_timestamp_that_is_missing_is_named(case):
    scheme = timed(case)
    if scheme.timestamp_header == scheme.header:
        pytest.skip("it is in the same header")
    asked = without(case.sent(first(case)), scheme.timestamp_header)

    found = refused(case, asked, "timestamp")

    assert found.words == f"{scheme.timestamp_header} is not there"


@every_signing
@pytest.mark.parametrize("form", ["unix", "unix_ms", "iso"])
def test_a_timestamp_in_another_form_is_named(case, form):
    scheme = timed(case)
    by_hmac(scheme)
    if form == scheme.timestamp_format:
        pytest.skip("that is its own")
    key = key_of(scheme.key, case.secrets[0])
    made = signed(case, first(case), key, replace(scheme, timestamp_format=form))
    if would(case.provider(), made):
        pytest.skip("it is understood all the same")

    found = refused(case, made, "timestamp")

    words = {"unix": "seconds", "unix_ms": "milliseconds", "iso": "ISO 8601"}
    assert words[form] in found.hint
    assert "expected is" in found.hint


@every_signing
def test_a_timestamp_that_was_changed_is_found(case):
    scheme = timed(case)
    by_hmac(scheme)
    if scheme.timestamp_format != "unix" or scheme.timestamp_header == scheme.header:
        pytest.skip("it is of another form")
    asked = case.sent(first(case))
    text = timestamp_text(scheme, asked)
    changed = with_header(asked, scheme.timestamp_header, f"{text}000")

    assert "signed in seconds" in refused(case, changed, "signature").hint
