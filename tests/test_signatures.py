"""Signature arithmetic, against vectors and somebody else's implementation."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from receiver.signatures import (
    hmac_sha256_hex,
    matches_any,
    standard_key,
    standard_signature,
    within,
)

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTORS = json.loads((Path(__file__).parent / "samples/vectors.json").read_text())


def test_hmac_sha256_is_that_of_rfc_4231():
    found = hmac_sha256_hex(b"Jefe", b"what do ya want for nothing?")

    assert found == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_a_standard_signature_is_that_of_the_specification():
    [vector] = [v for v in VECTORS if v["note"] == "Standard Webhooks"]
    headers = vector["headers"]

    found = standard_signature(
        [standard_key(vector["secret"])],
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        vector["body"].encode(),
    )

    assert found == headers["webhook-signature"]


@given(key=st.binary(min_size=24, max_size=64), text=st.text())
def test_a_standard_signature_is_what_others_make_of_it(key, text):
    body = text.encode("utf-8", "replace")
    library = Webhook(key)

    found = standard_signature([key], "evt_1", int(NOW.timestamp()), body)

    assert found == library.sign("evt_1", NOW, body.decode())


def test_each_of_several_keys_signs():
    found = standard_signature([b"a" * 24, b"b" * 24], "evt_1", 1, b"{}")

    first, second = found.split(" ")
    assert first == standard_signature([b"a" * 24], "evt_1", 1, b"{}")
    assert second == standard_signature([b"b" * 24], "evt_1", 1, b"{}")
    assert first != second


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_short",
        SECRET.removeprefix("whsec_"),
        SECRET + "!",
        "whsec_" + "é" * 40,
        "whsec_" + "A" * 200,
        SECRET.replace("whsec", "whpk"),
    ],
)
def test_a_secret_of_another_form_is_refused(secret):
    with pytest.raises(ValueError, match="whsec_ and 24 to 64 bytes"):
        standard_key(secret)


def test_padding_may_be_left_out_of_a_secret():
    assert standard_key("whsec_" + "QUJD" * 8 + "QQ") == b"ABC" * 8 + b"A"
    assert standard_key("whsec_" + "QUJD" * 8 + "QQ==") == b"ABC" * 8 + b"A"


@given(given_=st.text(), expected=st.lists(st.text(alphabet="0123abc"), max_size=3))
def test_a_text_matches_only_what_is_expected(given_, expected):
    assert matches_any(given_, expected) is (given_ in expected)


def test_half_a_character_matches_nothing():
    assert not matches_any("\udcff", ["abc"])


@pytest.mark.parametrize(
    ("offset_s", "inside"), [(0, True), (10, True), (-10, True), (11, False)]
)
def test_a_moment_is_within_its_tolerance_on_both_sides(offset_s, inside):
    tolerance = timedelta(seconds=10)

    assert within(NOW + timedelta(seconds=offset_s), NOW, tolerance) is inside
    assert within(NOW - timedelta(seconds=offset_s), NOW, tolerance) is inside
