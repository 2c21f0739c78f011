"""Sessions, attempts and origins: the rules at the door, without a server."""

from datetime import UTC, datetime, timedelta

import pytest

from receiver.models import Secret
from receiver.settings import Server
from receiver.web.attempts import FROM_ONE, IN_ALL, MOST_KNOWN, WINDOW_S, Attempts
from receiver.web.dashboard.origin import is_foreign, local_path
from receiver.web.dashboard.session import LASTS, begun, is_ours, of_cookie
from tests.web.dashboard.conftest import ADMIN, READ

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SERVER = Server(admin_token=Secret(ADMIN), read_tokens=(Secret(READ),))


# -- sessions


def test_a_session_holds_for_whose_token_it_is():
    admin, reader = begun(SERVER, ADMIN, NOW), begun(SERVER, READ, NOW)

    assert admin is not None
    assert reader is not None
    assert of_cookie(SERVER, admin.cookie, NOW) == admin
    assert of_cookie(SERVER, reader.cookie, NOW) == reader
    assert (admin.who.may_write, reader.who.may_write) == (True, False)


@pytest.mark.parametrize("token", ["", "wrong", ADMIN[:-1], ADMIN + "x", "é", "\ud800"])
def test_a_wrong_token_begins_no_session(token: str):
    assert begun(SERVER, token, NOW) is None


def test_a_session_ends_after_twelve_hours():
    session = begun(SERVER, ADMIN, NOW)

    assert session is not None
    assert of_cookie(SERVER, session.cookie, NOW + LASTS - timedelta(seconds=1))
    assert of_cookie(SERVER, session.cookie, NOW + LASTS) is None


def test_a_session_ends_when_its_token_is_changed():
    session = begun(SERVER, ADMIN, NOW)

    assert session is not None
    changed = Server(admin_token=Secret("another"), read_tokens=(Secret(READ),))
    assert of_cookie(changed, session.cookie, NOW) is None


def test_a_cookie_changed_in_any_place_is_no_session():
    session = begun(SERVER, READ, NOW)
    assert session is not None
    cookie = session.cookie

    changed = [
        cookie[:i] + ("1" if letter != "1" else "2") + cookie[i + 1 :]
        for i, letter in enumerate(cookie)
    ]

    assert len(changed) > 90
    assert [other for other in changed if of_cookie(SERVER, other, NOW)] == []


@pytest.mark.parametrize(
    "cookie", ["", ".", "..", "9" * 14 + ".x.y", "é.é.é", "1" * 5000, "٣.a.b", "-1.a.b"]
)
def test_what_is_no_cookie_of_ours_is_no_session(cookie: str):
    assert of_cookie(SERVER, cookie, NOW) is None


def test_a_form_is_ours_only_with_the_token_of_its_session():
    one, other = begun(SERVER, ADMIN, NOW), begun(SERVER, ADMIN, NOW)
    assert one is not None
    assert other is not None

    assert is_ours(one, one.form_token)
    assert not is_ours(one, other.form_token)
    assert not is_ours(one, one.cookie)
    assert not is_ours(one, "")


# -- attempts


def test_one_address_may_be_wrong_a_few_times_a_minute():
    attempts = Attempts()
    for i in range(FROM_ONE):
        assert attempts.wait_s("a", i) == 0
        attempts.failed("a", i)

    assert attempts.wait_s("a", FROM_ONE) == WINDOW_S - FROM_ONE
    assert attempts.wait_s("b", FROM_ONE) == 0
    assert attempts.wait_s("a", WINDOW_S) == 0


def test_all_addresses_together_may_be_wrong_only_so_often():
    attempts = Attempts()
    for i in range(IN_ALL):
        attempts.failed(str(i), 0)

    assert attempts.wait_s("another", 1) == WINDOW_S - 1
    assert attempts.wait_s("another", WINDOW_S) == 0


def test_where_a_right_token_came_from_nobody_waits_because_of_others():
    attempts = Attempts()
    attempts.succeeded("mine")
    for i in range(IN_ALL):
        attempts.failed(str(i), 0)

    assert attempts.wait_s("mine", 1) == 0
    for _ in range(FROM_ONE):
        attempts.failed("mine", 1)
    assert attempts.wait_s("mine", 2) == WINDOW_S - 1


def test_only_so_many_addresses_are_remembered_the_newest():
    attempts = Attempts()
    for i in range(MOST_KNOWN + 1):
        attempts.succeeded(f"known {i}")
    for i in range(IN_ALL):
        attempts.failed(str(i), 0)

    assert attempts.wait_s("known 0", 1) > 0
    assert attempts.wait_s("known 1", 1) == 0


def test_addresses_of_one_network_of_ipv6_are_one():
    attempts = Attempts()
    for i in range(FROM_ONE):
        attempts.failed(f"2001:db8:0:7::{i}", 0)

    assert attempts.wait_s("2001:db8:0:7:ffff::1", 1) > 0
    assert attempts.wait_s("2001:db8:0:8::1", 1) == 0


def test_an_address_of_ipv4_is_one_however_it_is_written():
    attempts = Attempts()
    for _ in range(FROM_ONE):
        attempts.failed("::ffff:203.0.113.7", 0)

    assert attempts.wait_s("203.0.113.7", 1) > 0
    assert attempts.wait_s("::ffff:203.0.113.8", 1) == 0


# -- where a request comes from


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://x"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"origin": "http://here:80", "host": "here:80"}, False),
        ({"origin": "http://there", "host": "here"}, True),
        ({"origin": "null", "host": "here"}, True),
    ],
)
def test_a_page_of_another_site_is_told_apart(headers: dict[str, str], foreign: bool):
    assert is_foreign(headers) == foreign


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/ui/\\evil",
        "/ui/../..//evil.example",
        "/ui/\nx",
        "javascript:alert(1)",
        "/api/v1/status",
        "/uievil",
        "",
    ],
)
def test_after_signing_in_one_goes_nowhere_else(wanted: str):
    assert local_path(wanted) == "/"


def test_after_signing_in_one_goes_on_to_the_page_one_wanted():
    assert local_path("/ui/events?type=a.*") == "/ui/events?type=a.*"
