"""Standard Webhooks as other people's libraries send them, and its relatives."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from receiver import clock
from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers.samples import samples
from receiver.providers.sending import CannotSign, outgoing
from receiver.providers.verification import verify
from tests.making import configured, provider

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PUBLIC = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
PRIVATE = base64.b64encode(bytes(range(32))).decode()
BODY = '{"type":"video.done","data":{"id":"v1"}}'


def headers(signature: str, prefix: str = "webhook") -> dict[str, str]:
    return {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": str(int(NOW.timestamp())),
        f"{prefix}-signature": signature,
    }


def request(sent: dict[str, str], body: str = BODY) -> Request:
    return Request(sent, {}, body.encode(), NOW)


def read(name: str, body: dict[str, Any], **table: Any) -> Reading:
    asked = request(headers("v1,x"), json.dumps(body))
    return configured(name, secrets=[SECRET], **table).read(asked, body)


def test_what_the_reference_library_signs_gets_in():
    signature = Webhook(SECRET).sign("msg_1", NOW, BODY)
    standard = provider("standard", SECRET)

    verify(standard, request(headers(signature)))
    verify(standard, request(headers(f"v1,AAAA v2,new {signature}")))

    with pytest.raises(Rejected, match="no configured secret"):
        verify(standard, request(headers(signature), BODY + " "))


def test_what_svix_signs_gets_in_by_either_name():
    signature = SvixWebhook(SECRET).sign("msg_1", NOW, BODY)
    standard = provider("standard", SECRET)

    for prefix in ("webhook", "svix"):
        asked = request(headers(signature, prefix))
        verify(standard, asked)
        assert standard.read(asked, json.loads(BODY)).key == "msg_1"


def test_an_id_that_is_not_signed_cannot_take_the_place_of_the_one_that_is():
    signature = SvixWebhook(SECRET).sign("msg_1", NOW, BODY)
    standard = provider("standard", SECRET)
    asked = request({**headers(signature, "svix"), "webhook-id": "msg_2"})

    verify(standard, asked)

    with pytest.raises(Rejected) as caught:
        standard.read(asked, json.loads(BODY))
    assert (caught.value.status, caught.value.code) == (400, "id_mismatch")


def test_public_keys_verify_and_private_ones_sign():
    standard = provider("standard", PUBLIC)

    sent = outgoing(standard, BODY.encode(), NOW, secret=PRIVATE)

    assert sent.headers["webhook-signature"].startswith("v1a,")
    verify(standard, Request(sent.headers, {}, sent.body, NOW))
    with pytest.raises(CannotSign, match="only verifies"):
        outgoing(standard, BODY.encode(), NOW)


def test_secrets_of_both_kinds_may_be_there_while_one_replaces_the_other():
    both = provider("standard", SECRET, PUBLIC)
    by_old = outgoing(provider("standard", SECRET), BODY.encode(), NOW)
    by_new = outgoing(provider("standard", PUBLIC), BODY.encode(), NOW, secret=PRIVATE)

    for sent in (by_old, by_new):
        verify(both, Request(sent.headers, {}, sent.body, NOW))


@pytest.mark.parametrize("secret", ["whsec_short", "plain text", "whpk_AAAA", ""])
def test_a_secret_of_another_form_is_a_problem(secret):
    problems = {field for field, _, _ in provider("standard", secret).problems()}

    assert problems == {"secrets[0]"}


def test_openai_takes_a_plain_secret_as_text():
    openai = provider("openai", "a plain secret")
    signature = Webhook(b"a plain secret").sign("msg_1", NOW, BODY)

    verify(openai, request(headers(signature)))

    assert not list(openai.problems())
    sent = outgoing(openai, BODY.encode(), NOW)
    verify(openai, Request(sent.headers, {}, sent.body, NOW))


@pytest.mark.parametrize(
    ("ours", "theirs"), [("a plain secret", SECRET), (SECRET, "a plain secret")]
)
def test_a_secret_to_sign_with_is_read_by_its_own_form(ours, theirs):
    sent = outgoing(provider("openai", ours), BODY.encode(), NOW, secret=theirs)

    verify(provider("openai", theirs), Request(sent.headers, {}, sent.body, NOW))


def test_openai_decodes_a_secret_that_is_written_as_standard():
    openai = provider("openai", SECRET)

    verify(openai, request(headers(Webhook(SECRET).sign("msg_1", NOW, BODY))))

    as_text = Webhook(SECRET.encode()).sign("msg_1", NOW, BODY)
    with pytest.raises(Rejected, match="no configured secret"):
        verify(openai, request(headers(as_text)))
    assert list(provider("openai", "whsec_short").problems())
    assert list(provider("openai", "whpk_short").problems())


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("video.completed", State.SUCCEEDED),
        ("video.failed", State.FAILED),
        ("batch.cancelled", State.CANCELLED),
        ("batch.expired", State.FAILED),
        ("eval.run.succeeded", State.SUCCEEDED),
        ("eval.run.canceled", State.CANCELLED),
        ("realtime.call.incoming", State.UNKNOWN),
        ("something.new", State.UNKNOWN),
    ],
)
def test_openai_says_the_state_in_the_type(kind, state):
    body = {"id": "evt_1", "object": "event", "created_at": 1758941485, "type": kind}

    reading = read("openai", body | {"data": {"id": "video_1"}})

    assert (reading.type, reading.state, reading.subject) == (kind, state, "video_1")
    assert reading.key == (f"video_1:{kind}" if reading.final else "msg_1")
    assert reading.occurred_at == datetime(2025, 9, 27, 2, 51, 25, tzinfo=UTC)
    assert read("openai", body | {"data": {"call_id": "c"}}).subject == "evt_1"


@pytest.mark.parametrize(
    ("output", "links"),
    [
        ("https://r/1.mp4", ("https://r/1.mp4",)),
        (
            ["https://r/1.mp4", "https://r/2.mp4"],
            ("https://r/1.mp4", "https://r/2.mp4"),
        ),
        ("a text", ()),
        ({"text": "a"}, ()),
        (None, ()),
    ],
)
def test_the_body_of_replicate_is_the_prediction(output, links):
    body = {"id": "p1", "status": "succeeded", "output": output}

    reading = read("replicate", body)

    assert (reading.type, reading.subject) == ("prediction.succeeded", "p1")
    assert reading.result_urls == links
    assert reading.final


def test_without_the_header_a_prediction_is_known_by_its_id_and_status():
    replicate = configured("replicate", allow_unsigned=True)
    body = {"id": "p1", "status": "processing"}

    reading = replicate.read(Request({}, {}, b"", NOW), body)

    assert reading.key == "p1:processing"
    assert reading.state is State.RUNNING


def test_a_body_that_follows_no_recommendation_is_an_event_too():
    reading = read("standard", {"test": 1})

    assert (reading.key, reading.type) == ("msg_1", "webhook.received")
    assert reading.subject == "msg_1"
    assert reading.state is State.UNKNOWN


def test_every_sample_is_signed_so_that_the_reference_library_takes_it():
    for name in ("standard", "openai", "replicate"):
        for sample in samples(name, "s", clock.now()).values():
            sent = outgoing(
                provider(name, SECRET),
                sample.body,
                clock.now(),
                headers=sample.headers,
            )
            assert Webhook(SECRET).verify(sent.body, dict(sent.headers))
