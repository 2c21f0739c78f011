"""Email: who gets it, once, and what a mail server's answers mean."""

import asyncio
import json
import socket
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from typing import Any, ClassVar

import pytest
from aiosmtpd.smtp import SMTP

from receiver.destinations.email import Email
from receiver.models import Result
from tests.destinations.email.making import (
    ANN,
    BEN,
    CIA,
    HEADERS,
    build,
    configured,
    email,
    parcel,
)
from tests.mail_server import listening, smtpd
from tests.making import NOW, event

pytestmark = [
    pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning"),
]


async def test_the_mail_has_a_text_an_html_part_and_headers_for_machines(mailbox):
    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send(parcel())

    assert outcome.result is Result.OK
    assert outcome.detail == f"accepted for {ANN}, {BEN}"
    [(recipients, mail)] = mailbox.taken
    assert recipients == (ANN, BEN)
    assert mail["From"] == "Receiver <receiver@example.com>"
    assert mail["To"] == f"{ANN}, {BEN}"
    assert mail["Subject"] == "Batch bat_1 finished with failures"
    assert mail["Date"].datetime == NOW
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Event-Id"] == "evt_0000000000000001"
    parts = [part.get_content_type() for part in mail.iter_parts()]
    assert mail.get_content_type() == "multipart/alternative"
    assert parts == ["text/plain", "text/html"]
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "item_002: Model timeout (timeout)" in text
    assert "Model timeout (timeout)" in page


async def test_each_attempt_at_a_delivery_has_the_same_message_id(mailbox):
    later = replace(parcel(), number=2, now=NOW + timedelta(hours=1))

    async with smtpd(mailbox) as port:
        await email(port).send(parcel())
        await email(port).send(later)
        await email(port, name="other").send(parcel())
        await email(port).send(parcel(sent_as="evt_0000000000000002"))

    first, again, elsewhere, anew = (m["Message-ID"] for _, m in mailbox.taken)
    assert first == again
    assert len({first, elsewhere, anew}) == 3
    assert first.endswith("@example.com>")


async def test_a_recipient_who_has_it_does_not_get_it_again(mailbox):
    mailbox.refuses = {BEN: "450 4.2.0 greylisted, come back later"}
    async with smtpd(mailbox) as port:
        destination = email(port, ANN, BEN, CIA)

        first = await destination.send(parcel())
        mailbox.refuses = {}
        second = await destination.send(parcel(first.progress))
        third = await destination.send(parcel(second.progress))

    assert first.result is Result.REJECTED
    assert not first.permanent
    assert f"{BEN} (450 4.2.0 greylisted, come back later)" in first.detail
    assert [recipients for recipients, _ in mailbox.taken] == [(ANN, CIA), (BEN,)]
    assert second.ok
    assert third.ok


async def test_a_refused_recipient_is_not_tried_again(mailbox):
    mailbox.refuses = {ANN: "450 later", BEN: "550 5.1.1 no such user"}
    async with smtpd(mailbox) as port:
        destination = email(port, ANN, BEN, CIA)

        first = await destination.send(parcel())
        mailbox.refuses = {}
        second = await destination.send(parcel(first.progress))

    assert [recipients for recipients, _ in mailbox.taken] == [(CIA,), (ANN,)]
    assert second.ok
    assert f"refused for good: {BEN} (550 5.1.1 no such user)" in second.detail


async def test_a_message_that_some_got_and_others_never_can_is_delivered(mailbox):
    mailbox.refuses = {BEN: "550 5.1.1 no such user"}

    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN, CIA).send(parcel())

    assert outcome.ok
    assert outcome.detail == (
        f"accepted for {ANN}, {CIA}; refused for good: {BEN} (550 5.1.1 no such user)"
    )
    assert json.loads(outcome.progress) == {
        "accepted": [ANN, CIA],
        "refused": {BEN: "550 5.1.1 no such user"},
    }


async def test_a_message_that_nobody_can_get_is_given_up(mailbox):
    mailbox.refuses = {ANN: "550 no", BEN: "553 no"}

    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send(parcel())

    assert outcome.result is Result.REJECTED
    assert outcome.permanent
    assert outcome.response == "550 no"


async def test_a_message_whose_content_is_refused_is_given_up(mailbox):
    mailbox.refuses_data = "554 5.7.1 spam"

    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send(parcel())

    assert outcome.permanent
    assert not outcome.pause


async def test_content_refused_for_now_is_tried_again_for_all(mailbox):
    mailbox.refuses_data = "451 4.3.0 no space"

    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send(parcel())

    assert outcome.result is Result.REJECTED
    assert not outcome.permanent
    assert outcome.progress == ""


async def test_a_server_that_closes_for_now_is_tried_again(mailbox):
    mailbox.refuses = {ANN: "421 4.3.2 shutting down"}

    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send(parcel())

    assert outcome.result is Result.REJECTED
    assert not outcome.permanent
    assert not outcome.pause
    assert mailbox.taken == []


async def test_a_connection_lost_before_the_answer_is_tried_again(mailbox):
    mailbox.hangs_up_at_data = True

    async with smtpd(mailbox) as port:
        outcome = await email(port).send(parcel())

    assert outcome.result is Result.CONNECT
    assert not outcome.permanent
    assert outcome.progress == ""


async def test_a_refused_sender_pauses_the_destination(mailbox):
    mailbox.refuses_sender = "553 5.7.1 sender not yours"

    async with smtpd(mailbox) as port:
        outcome = await email(port).send(parcel())

    assert "correct `from`" in outcome.pause
    assert not outcome.permanent


async def test_a_sender_refused_for_now_is_tried_again(mailbox):
    mailbox.refuses_sender = "451 4.7.1 too fast"

    async with smtpd(mailbox) as port:
        outcome = await email(port).send(parcel())

    assert outcome.result is Result.REJECTED
    assert not outcome.pause


async def test_nobody_listening_is_a_failed_connection(mailbox):
    async with smtpd(mailbox) as port:
        pass

    outcome = await email(port).send(parcel())

    assert outcome.result is Result.CONNECT
    assert outcome.detail == f"127.0.0.1:{port}: Connection refused"


async def test_a_name_nobody_knows_is_a_failed_look_up(monkeypatch):
    async def nowhere(host: Any, port: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere)

    outcome = await Email(configured("smtp://mail.example.com")).send(parcel())

    assert outcome.result is Result.DNS
    assert "mail.example.com:587" in outcome.detail


class Rude(asyncio.Protocol):
    """Says something that is not SMTP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"HTTP/1.1 400 \xff\xfe Bad Request\r\n\r\n")


class Busy(asyncio.Protocol):
    """Has no time for us."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"554 5.7.1 \xff no service for you\r\n")


@pytest.mark.parametrize("protocol", [Rude, Busy])
async def test_a_server_that_does_not_speak_with_us_is_tried_again(protocol):
    async with listening(protocol) as port:
        outcome = await email(port).send(parcel())

    assert outcome.result is Result.REJECTED
    assert not outcome.permanent
    assert not outcome.pause
    outcome.response.encode()


class Old(asyncio.Protocol):
    """Knows HELO only."""

    answers: ClassVar[dict[bytes, bytes]] = {
        b"EHLO": b"502 what?",
        b"DATA": b"354 go on",
        b"QUIT": b"221 bye",
    }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 old\r\n")

    def data_received(self, data: bytes) -> None:
        answer = self.answers.get(data[:4], b"250 fine")
        self.transport.write(answer + b"\r\n")


async def test_a_server_that_knows_only_helo_gets_the_mail():
    async with listening(Old) as port:
        outcome = await email(port).send(parcel())

    assert outcome.ok


async def test_a_cancelled_attempt_leaves_no_connection(mailbox):
    mailbox.stalls_at_data = True
    gone = asyncio.Event()

    class Watched(SMTP):
        def connection_lost(self, error: Exception | None) -> None:
            gone.set()
            super().connection_lost(error)

    loop = asyncio.get_running_loop()
    async with listening(lambda: Watched(mailbox, hostname="mx", loop=loop)) as port:
        attempt = asyncio.create_task(email(port).send(parcel()))
        await mailbox.stalled.wait()
        attempt.cancel()

        with pytest.raises(asyncio.CancelledError):
            await attempt
        await asyncio.wait_for(gone.wait(), 60)


@pytest.mark.parametrize(
    ("host", "name"),
    [("a1b2c3", "[127.0.0.1]"), ("mx1.example.com", "mx1.example.com")],
)
async def test_we_call_ourselves_by_a_name_a_server_accepts(
    mailbox, monkeypatch, host, name
):
    monkeypatch.setattr("socket.gethostname", lambda: host)

    async with smtpd(mailbox) as port:
        await email(port).send(parcel())

    assert mailbox.names == [name]


@pytest.mark.parametrize("progress", ["nonsense", "[]", '{"accepted": 7}', "null"])
async def test_progress_that_cannot_be_read_is_none(mailbox, progress):
    async with smtpd(mailbox) as port:
        outcome = await email(port).send(parcel(progress))

    assert outcome.ok
    assert len(mailbox.taken) == 1


@pytest.mark.parametrize(
    "subject",
    [
        "a\r\nBcc: x@evil.example",
        "=?utf-8?q?a=0D=0ABcc:_x?=",
        "=?utf-8?b?DQpCY2M6eA==?=",
    ],
)
def test_an_event_cannot_add_a_header(subject):
    found = configured("smtp://localhost")

    raw = build(event(subject=subject), "evt_1", found, NOW).as_bytes()

    assert set(message_from_bytes(raw).keys()) == HEADERS
