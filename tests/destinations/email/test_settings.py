"""Email: settings that work, settings that cannot, and headers that stay ours."""

import json
from email import message_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.destinations.smtp import server
from receiver.models import Secret, State
from tests.destinations.email.making import HEADERS, build, configured
from tests.making import NOW, event

pytestmark = [
    pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning"),
]


def test_a_long_domain_does_not_break_the_message_id():
    domain = ".".join(["a" * 60] * 3)
    found = configured("smtp://localhost", from_=f"r@{domain}")

    raw = build(event(), "evt_1", found, NOW).as_bytes()

    assert message_from_bytes(raw)["Message-ID"].strip().endswith(f"@{domain}>")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    subject=st.text() | st.text(alphabet="=?utf-8qb\r\n :", max_size=200),
    body=st.binary() | st.text().map(json.dumps),
    state=st.sampled_from(State),
)
def test_any_event_makes_a_mail_with_our_headers_only(subject, body, state):
    found = configured("smtp://localhost")

    sent = event(body, subject=subject, state=state)
    raw = build(sent, "evt_1", found, NOW).as_bytes()

    assert set(message_from_bytes(raw).keys()) == HEADERS
    assert raw.isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"smtp": Secret("mail.example.com")}, "smtp"),
        ({"smtp": Secret("smtp://u:p/w@mail.example.com")}, "smtp"),
        ({"smtp": Secret("smtp://u@mail.example.com")}, "smtp"),
        ({"smtp": Secret("smtp://mail.example.com:x")}, "smtp"),
        ({"smtp": Secret("smtp://:25")}, "smtp"),
        ({"smtp": Secret("smtp://[x")}, "smtp"),
        ({"smtp": Secret("smtp://mail.example.com:465")}, "smtp"),
        ({"from_": "nobody"}, "from"),
        ({"from_": "a@example.com\r\nBcc: x@example.com"}, "from"),
        ({"to": ()}, "to"),
        ({"to": ("ann@example.com", "ben")}, "to"),
        ({"to": ("añn@example.com",)}, "to"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
    ],
)
def test_settings_that_cannot_work_are_problems(changes, key):
    found = configured("smtp://localhost", **changes)

    problems = [*found.problems(), *found.missing()]

    assert [name for name, *_ in problems] == [key]
    assert "p/w" not in repr(problems)


def test_settings_that_work_have_no_problems():
    found = configured("smtps://u:p@mail.example.com", "ann@example.com, Ben <b@x.io>")

    assert list(found.problems()) == []
    assert found.recipients() == ("ann@example.com", "b@x.io")
    assert found.described() == (
        "email to ann@example.com, b@x.io by mail.example.com:465"
    )
    assert "u:p" not in repr(found)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("smtp://h", 587),
        ("smtps://h", 465),
        ("smtp://h:2525", 2525),
        ("smtp://[::1]", 587),
    ],
)
def test_a_server_without_a_port_has_the_usual_one(url, port):
    assert server(url).port == port
