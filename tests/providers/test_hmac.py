"""Senders whose signatures configuration describes, of every form there is."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Request
from receiver.providers.sending import outgoing
from receiver.providers.verification import verify
from tests.making import configured

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
KEY = b"sixteen bytes or more of a key"
WRITTEN = {
    "text": bytes.decode,
    "base64": lambda key: base64.b64encode(key).decode(),
    "hex": bytes.hex,
    "whsec": lambda key: "whsec_" + base64.b64encode(key).decode(),
}
HEADERS = {
    "id_header": "X-Id",
    "timestamp_header": "X-Time",
}


def signing(*signatures: dict[str, Any], secret: str = KEY.decode(), **table: Any):
    return configured("hmac", secrets=[secret], signatures=list(signatures), **table)


def problems(*signatures: dict[str, Any], **table: Any) -> dict[str, str]:
    return {f: m for f, m, _ in signing(*signatures, **table).problems()}


def request(headers: dict[str, str], body: bytes = b"{}") -> Request:
    return Request(headers, {}, body, NOW)


def code(provider: Any, asked: Request) -> str:
    with pytest.raises(Rejected) as caught:
        verify(provider, asked)
    return caught.value.code


templates = st.lists(
    st.sampled_from(
        [
            "{body}",
            "{sha256}",
            "{timestamp}",
            "{id}",
            "{header.X-More}",
            ".",
            "v0:",
            "\n",
        ]
    ),
    max_size=6,
).map(lambda parts: "{body}" + "".join(parts))

signatures = st.fixed_dictionaries(
    {
        "header": st.just("X-Signature"),
        "prefix": st.sampled_from(["", "sha256=", "v1="]),
        "algorithm": st.sampled_from(["sha256", "sha512", "sha1"]),
        "encoding": st.sampled_from(["hex", "base64"]),
        "key": st.sampled_from(list(WRITTEN)),
        "signed": templates,
        "timestamp_format": st.sampled_from(["unix", "unix_ms", "iso"]),
    }
).map(lambda table: {**HEADERS, **table})

in_one_header = st.sampled_from([",", " ", ";"]).map(
    lambda separator: {
        "header": "X-Signature",
        "signed": "{timestamp}.{body}",
        "prefix": "v1=",
        "separator": separator,
        "timestamp_header": "x-signature",
        "timestamp_prefix": "t=",
    }
)


@given(table=signatures | in_one_header, body=st.binary(max_size=300))
def test_every_way_of_signing_is_verified_and_covers_what_it_says(table, body):
    written = WRITTEN[table.get("key", "text")]
    provider = signing(table, secret=written(KEY), allow_sha1=True)
    assert not list(provider.problems())
    more = {"x-more": "more"}
    sent = outgoing(provider, body, NOW, headers=more, message_id="msg_1")
    asked = Request(sent.headers, {}, sent.body, NOW)

    verify(provider, asked)

    assert "x-signature" in provider.signature_headers
    assert code(provider, replace(asked, body=body + b" ")) == "signature_mismatch"
    for name in sorted(provider.schemes[0].headers):
        left = {n: v for n, v in asked.headers.items() if n != name}
        if name == "x-more":  # absent, it is signed as an empty text
            refused = code(provider, replace(asked, headers=left))
            assert refused in ("signature_mismatch", "header_missing")
        else:
            assert code(provider, replace(asked, headers=left)).endswith("_missing")
    stranger = signing(table, secret=written(KEY[::-1]), allow_sha1=True)
    assert code(stranger, asked) == "signature_mismatch"


@given(table=signatures, body=st.binary(max_size=50))
def test_what_is_signed_is_what_python_makes_of_the_template(table, body):
    table = {**table, "signed": "{id}.{timestamp}.{header.X-More}.{sha256}.{body}"}
    provider = signing(table, secret=WRITTEN[table["key"]](KEY), allow_sha1=True)
    sent = outgoing(
        provider, body, NOW, headers={"x-more": "é"}, message_id="msg_1"
    ).headers

    digest = hashlib.sha256(body).hexdigest()
    signed = f"msg_1.{sent['x-time']}.".encode() + b"\xe9." + digest.encode()
    made = hmac.digest(KEY, signed + b"." + body, table["algorithm"])
    hexed, based = made.hex(), base64.b64encode(made).decode()
    written = hexed if table["encoding"] == "hex" else based
    assert sent["x-signature"] == table["prefix"] + written


def test_any_of_several_signatures_may_hold():
    provider = signing({"header": "X-New", "prefix": "v2="}, {"header": "X-Old"})
    made = hmac.digest(KEY, b"{}", "sha256").hex()

    verify(provider, request({"x-old": made}))
    verify(provider, request({"x-new": f"v2={made}"}))
    verify(provider, request({"x-new": "v2=wrong", "x-old": made}))

    assert code(provider, request({"x-new": made})) == "signature_mismatch"
    assert code(provider, request({})) == "signature_missing"


def test_base64_has_to_be_written_as_it_is():
    provider = signing({"header": "X-S", "encoding": "base64"})
    made = base64.b64encode(hmac.digest(KEY, b"{}", "sha256")).decode()

    verify(provider, request({"x-s": made}))

    assert code(provider, request({"x-s": made.rstrip("=")})) == "signature_mismatch"
    assert code(provider, request({"x-s": made + "=="})) == "signature_mismatch"


def test_a_signed_time_is_held_against_the_clock_without_being_asked():
    table = {"header": "X-S", "signed": "{timestamp}.{body}", "timestamp_header": "X-T"}
    provider, patient = signing(table), signing(table, tolerance="1h")
    sent = outgoing(provider, b"{}", NOW - timedelta(minutes=6)).headers

    assert code(provider, request(dict(sent))) == "timestamp_out_of_range"
    verify(patient, request(dict(sent)))


@pytest.mark.parametrize(
    ("signature", "place", "message"),
    [
        ({"header": "X S"}, "header", "not the name of a header"),
        ({"signed": "{body}{bdy}"}, "signed", "{bdy} is not known"),
        ({"signed": "{body}{}"}, "signed", "{} is not known"),
        ({"signed": "{body}{header.a b}"}, "signed", "is not known"),
        ({"signed": "{timestamp}.{body}"}, "timestamp_header", "is required"),
        ({"signed": "{id}.{body}"}, "id_header", "is required"),
        ({"timestamp_header": "x-S"}, "timestamp_header", "signature's own header"),
        ({"algorithm": "sha1"}, "algorithm", "sha1 is weak"),
    ],
)
def test_a_signature_that_can_never_fit_is_a_problem(signature, place, message):
    good = {"header": "X-S"}

    found = problems(good, {**good, **signature})

    assert found.keys() == {f"signatures[1].{place}"}
    assert message in found[f"signatures[1].{place}"]


def test_sha1_can_be_allowed():
    assert not problems({"header": "X-S", "algorithm": "sha1"}, allow_sha1=True)


@pytest.mark.parametrize(
    ("table", "meetable"),
    [
        ({"signed": "{timestamp}.{body}", "timestamp_header": "X-T"}, True),
        ({"timestamp_header": "X-T"}, False),
        ({}, False),
    ],
)
def test_a_tolerance_for_a_time_that_is_not_signed_is_a_problem(table, meetable):
    provider = signing({"header": "X-S", **table}, tolerance="1h")

    fields = [field for field, _, _ in provider.problems()]

    assert fields == ([] if meetable else ["tolerance"])


def test_a_signature_that_leaves_the_body_out_is_warned_of():
    table = {"header": "X-S", "signed": "{header.x-id}"}

    [(field, message)] = signing({"header": "X-T"}, table).warnings()

    assert field == "signatures[1].signed"
    assert "body" in message
    assert not problems(table)


def test_a_secret_that_is_no_key_of_any_signature_is_a_problem():
    hexed = {"header": "X-S", "key": "hex"}

    assert problems(hexed).keys() == {"secrets[0]"}
    assert not problems(hexed, {"header": "X-S"})


def test_secrets_without_signatures_are_a_problem():
    [(field, message, hint)] = configured("hmac", secrets=["x"], token="t").problems()
    [(_, _, other)] = configured("luma", secrets=["x"], token="t").problems()

    assert (field, message) == ("secrets", "hmac does not sign its requests")
    assert "signatures" in hint
    assert "token" in other


def test_a_sender_that_does_not_sign_needs_another_condition():
    assert [field for field, _, _ in configured("hmac").problems()] == ["token"]
    for guard in (
        {"token": "t"},
        {"basic": "u:p"},
        {"bearer": "b"},
        {"require_headers": {"X-Key": "k"}},
        {"allow_unsigned": True},
    ):
        assert not list(configured("hmac", **guard).problems())


def test_what_the_sender_expects_is_told_to_the_web_edge():
    answer = {"status": "received", "code": 200, "ok": True}

    provider = configured("hmac", refused_status=503, asks_options=True, answer=answer)

    assert provider.answer == answer
    assert type(provider.answer["ok"]) is bool
    assert (provider.refused_status, provider.asks_options) == (503, True)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("text", " \n"),
        ("text", "whsec_"),
        ("text", "\udcff of an environment that is not UTF-8"),
        ("hex", "  "),
        ("text", "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="),
    ],
)
def test_what_everybody_may_know_or_guess_is_no_secret(key: str, secret: str):
    signature = {"header": "X-S", "key": key}

    sender = signing(signature, secret=secret)

    assert "secrets[0]" in problems(signature, secret=secret)
    assert not sender.keys(sender.schemes[0])
