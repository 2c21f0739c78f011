"""What is particular to fal: what it says of a request, and whose keys are believed."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Reading, Request, Secret, State
from receiver.providers.fal import MOST_LINKS, REQUEST_ID, SIGNED, USER_ID
from receiver.providers.samples import samples
from receiver.providers.sending import CannotSign, outgoing
from receiver.providers.verification import verify
from tests import making
from tests.making import NOW

PRIVATE, PUBLIC = making.key_pair("fal's")
FAL = making.provider("fal", keys=(PUBLIC,), fetch_keys=False)
LINK = "https://v3.fal.media/files/lion/x_output.mp4"


def read(body: Any, headers: dict[str, str] | None = None) -> Reading:
    return FAL.read(Request(headers or {}, {}, b"", NOW), body)


def ended(payload: Any, status: str = "OK", **more: Any) -> Reading:
    return read({"request_id": "r", "status": status, "payload": payload, **more})


@pytest.mark.parametrize(
    ("status", "kind", "state", "final"),
    [
        ("OK", "request.completed", State.SUCCEEDED, True),
        ("ERROR", "request.failed", State.FAILED, True),
        ("IN_PROGRESS", "request.in_progress", State.UNKNOWN, False),
        ("ok", "request.ok", State.UNKNOWN, False),
    ],
)
def test_the_status_says_what_became_of_the_request(status, kind, state, final):
    reading = read({"request_id": "r", "status": status})

    assert (reading.type, reading.state, reading.final) == (kind, state, final)
    assert (reading.subject, reading.key) == ("r", f"r:{kind}")


def test_a_result_that_could_only_not_be_sent_is_no_failure():
    reading = ended(None, payload_error="Response payload is not JSON serializable.")

    assert reading.state is State.SUCCEEDED
    assert reading.result_urls == ()


@pytest.mark.parametrize(
    "body", [[], {}, {"status": "OK"}, {"request_id": "r"}, {"request_id": 5}, "r"]
)
def test_a_body_without_a_request_or_status_is_refused(body):
    with pytest.raises(Rejected) as caught:
        read(body)

    assert (caught.value.status, caught.value.code) == (400, "malformed_body")


def test_a_body_about_another_request_than_the_signed_header_is_refused():
    with pytest.raises(Rejected) as caught:
        read({"request_id": "r", "status": "OK"}, {REQUEST_ID: "another"})

    assert (caught.value.status, caught.value.code) == (400, "request_id_mismatch")


@pytest.mark.parametrize(
    ("payload", "links"),
    [
        ({"video": {"url": LINK}}, [LINK]),
        ({"images": [{"url": LINK}, {"url": "http://b/c.png"}]}, [LINK, "http://b/c.png"]),
        ({"audio": {"url": LINK}, "video": {"url": LINK}}, [LINK]),
        ({"a": [[{"b": {"url": LINK}}]], "url": "https://first"}, ["https://first", LINK]),
        ({"url": ["https://a", 5, "https://b"]}, ["https://a", "https://b"]),
        ({"image_url": LINK, "text": LINK, "urls": [LINK]}, []),
        ({"video": {"url": "data:video/mp4;base64,AAAA"}, "url": "file:///etc"}, []),
        ([{"url": LINK}], [LINK]),
        (None, []),
        ("url", []),
    ],
)  # fmt: skip
def test_the_links_of_a_result_are_those_under_any_url(payload, links):
    assert ended(payload).result_urls == tuple(links)


def test_the_links_in_what_explains_a_failure_are_no_results():
    detail = {"detail": [{"msg": "no", "url": "https://docs.fal.ai/errors#no"}]}

    assert ended(detail, "ERROR").result_urls == ()


def test_a_result_is_searched_only_so_far():
    deep: Any = {"url": LINK}
    for _ in range(50_000):
        deep = [deep]

    many = ended([{"url": f"https://a/{n}"} for n in range(5_000)])
    far = ended(deep)

    assert len(many.result_urls) == MOST_LINKS
    assert far.result_urls == ()


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.just(LINK),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["url", "a"]), inner)
        ),
    )
)
def test_whatever_a_model_answers_can_be_searched(payload):
    assert set(ended(payload).result_urls) <= {LINK}


# -- whose signatures are taken


def sent(private: str = PRIVATE, **settings: Any) -> Request:
    body = samples("fal", "r", NOW)["request.completed"].body
    provider = making.provider("fal", **settings)
    made = outgoing(provider, body, NOW, secret=private)
    return Request(made.headers, made.query, made.body, NOW)


@pytest.mark.parametrize("wanted", ["{0}", "{0}=", "+/"])
def test_a_pinned_key_may_be_written_as_in_a_jwk_or_as_other_tools_do(wanted):
    padded = PUBLIC + "=" * (-len(PUBLIC) % 4)
    written = padded.replace("-", "+").replace("_", "/") if wanted == "+/" else padded
    written = PUBLIC if wanted == "{0}" else written

    verify(making.provider("fal", keys=(written,), fetch_keys=False), sent())


def test_fetched_keys_are_taken_beside_the_pinned_ones():
    private, public = making.key_pair("the next")
    fal = making.provider("fal", keys=(public,))
    fal.published = (bytes(32), making.raw_key(PUBLIC))

    verify(fal, sent())
    verify(fal, sent(private))

    with pytest.raises(Rejected) as caught:
        verify(fal, sent(making.key_pair("a stranger's")[0]))
    assert caught.value.code == "signature_mismatch"


def test_without_a_single_key_it_is_not_said_that_the_signature_is_wrong():
    with pytest.raises(Rejected) as caught:
        verify(making.provider("fal"), sent())

    assert (caught.value.status, caught.value.code) == (503, "keys_unavailable")


def test_without_a_single_key_an_unsigned_request_is_still_refused():
    with pytest.raises(Rejected) as caught:
        verify(making.provider("fal"), Request({}, {}, b"{}", NOW))

    assert (caught.value.status, caught.value.code) == (401, "signature_missing")


def test_accounts_can_be_asked_for_and_are_signed():
    ours, others = sent(users=("me",)), sent()
    mine = making.provider("fal", keys=(PUBLIC,), users=("us", "me"))

    verify(mine, ours)

    with pytest.raises(Rejected) as caught:
        verify(mine, others)
    assert (caught.value.status, caught.value.code) == (401, "user_not_allowed")
    with pytest.raises(Rejected) as caught:
        verify(mine, Request({**others.headers, USER_ID: "me"}, {}, others.body, NOW))
    assert caught.value.code == "signature_mismatch"


@pytest.mark.parametrize("written", [PUBLIC + "x", "whpk_" + PUBLIC, "", "short", "é"])
def test_what_is_no_private_key_signs_nothing_and_is_not_shown(written):
    with pytest.raises(CannotSign) as caught:
        sent(written)

    assert not written or written not in str(caught.value)


def test_without_a_private_key_nothing_is_signed():
    with pytest.raises(CannotSign):
        outgoing(FAL, b"{}", NOW)


# -- what is wrong with a source


def fields(**settings: Any) -> list[str]:
    return [field for field, _, _ in making.provider("fal", **settings).problems()]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keys": (PUBLIC,)},
        {"keys": (PUBLIC,), "fetch_keys": False},
        {"keys_url": "http://127.0.0.1:9/keys"},
        {"keys_url": "http://[::1]/keys"},
        {"keys_url": "http://localhost/keys"},
        {"keys_url": "https://keys.example.com"},
    ],
)
def test_a_source_needs_nothing_but_an_address_for_keys_or_keys(settings):
    assert fields(**settings) == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"keys_url": "http://keys.example.com/"}, "keys_url"),
        ({"keys_url": "http://localhost.example.com/"}, "keys_url"),
        ({"keys_url": "http://127.0.0.1.example.com/"}, "keys_url"),
        ({"keys_url": "http://localhost@example.com/"}, "keys_url"),
        ({"keys_url": "https://"}, "keys_url"),
        ({"keys_url": "https://a:b/"}, "keys_url"),
        ({"keys_url": "https://[/"}, "keys_url"),
        ({"keys_url": "file:///etc/keys"}, "keys_url"),
        ({"fetch_keys": False}, "keys"),
        ({"keys": (PUBLIC, "short")}, "keys[1]"),
        ({"keys": ("é" * 43,)}, "keys[0]"),
        ({"allow_unsigned": True}, "allow_unsigned"),
    ],
)
def test_what_cannot_work_or_proves_nothing_is_a_problem(settings, field):
    assert fields(**settings) == [field]


def test_a_secret_is_a_problem_for_there_is_none():
    problems = list(making.provider("fal", "x").problems())

    assert [field for field, _, _ in problems] == ["secrets"]


def test_that_any_account_may_post_is_a_warning_until_it_may_not():
    open_to_all = making.provider("fal")
    mine = making.provider("fal", users=("me",))
    secret = making.provider("fal", token=Secret("a token"))

    assert [field for field, _ in open_to_all.warnings()] == ["users"]
    assert not [*mine.warnings(), *secret.warnings()]


def test_without_its_extra_the_provider_is_a_problem_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "cryptography", None)

    [(field, message, hint)] = making.provider("fal").problems()
    others = list(making.provider("sora2", "x").problems())

    assert (field, others) == ("provider", [])
    assert "not installed" in message
    assert hint == "install it beside receiver: pip install cryptography"


def test_all_that_is_signed_is_declared():
    assert SIGNED.covers == {"body", "timestamp", "id"}
    assert USER_ID in SIGNED.headers
