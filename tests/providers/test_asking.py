"""Which settings for asking an API make sense together."""

import pytest

from tests.making import configured


def fields(name: str, **table: object) -> dict[str, str]:
    found = configured(name, secrets=["a secret for tests"], **table).problems()
    return {field: message for field, message, _ in found}


def test_a_key_alone_is_enough():
    assert not fields("sora2", api_key="k")
    assert not fields("kie", api_key="k", reconcile="1m", confirm=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("reconcile", "1m"), ("confirm", True), ("api_url", "https://api.test/")],
)
def test_what_needs_a_key_says_so(field, value):
    assert "without a key" in fields("sora2", **{field: value})[field]


@pytest.mark.parametrize("name", ["hmac", "stripe", "github"])
def test_a_key_of_a_sender_without_an_api_does_nothing(name):
    assert "no status API" in fields(name, api_key="k")["api_key"]


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://proxy.example/kie", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:8000", True),
        ("http://api.example.com", False),
        ("https://user:secret@api.example.com", False),
        ("https://api.example.com/?a=b", False),
        ("ftp://api.example.com", False),
        ("https://", False),
        ("https://a:99999999", False),
        ("api.example.com", False),
    ],
)
def test_a_key_is_not_sent_just_anywhere(url, fits):
    found = fields("sora2", api_key="k", api_url=url)

    assert ("api_url" not in found) is fits
    assert "secret" not in str(found)


def test_a_key_that_no_header_can_carry_is_found_out():
    found = fields("sora2", api_key="a\nkey")

    assert "api_key" in found


def test_deliveries_wait_for_an_api_only_where_bodies_are_not_signed():
    secrets = ["a secret for tests"]

    assert configured("kie", secrets=secrets, api_key="k").confirms
    assert configured("sora2", allow_unsigned=True, api_key="k").confirms
    assert not configured("kie", secrets=secrets).confirms
    assert not configured("kie", secrets=secrets, api_key="k", confirm=False).confirms
    assert not configured("sora2", secrets=secrets, api_key="k").confirms
    assert configured("sora2", secrets=secrets, api_key="k", confirm=True).confirms


def test_cancelling_what_is_not_confirmed_needs_somebody_who_confirms():
    assert "on_unconfirmed" in fields("sora2", api_key="k", on_unconfirmed="cancel")
    assert not fields("kie", api_key="k", on_unconfirmed="cancel")
