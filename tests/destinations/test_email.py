"""Email: who gets it, once, and what a mail server's answers mean."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
from aiosmtpd.smtp import SMTP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.destinations import Parcel
from receiver.destinations.email import Email, EmailSettings, addressed
from receiver.destinations.smtp import server
from receiver.messages import compose
from receiver.messages.mail import letter
from receiver.models import Event, Result, Secret, State
from tests import making
from tests.mail_server import Mailbox, listening, smtpd
from tests.making import NOW, event

SAMPLES = Path(__file__).parent.parent / "samples"
ANN, BEN, CIA = "ann@example.com", "ben@example.com", "cia@example.com"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning"),
]


def parcel(
    progress: str = "", sent_as: str = "evt_0000000000000001", **changes: Any
) -> Parcel:
    body = (SAMPLES / "sora2-batch-completed.json").read_bytes()
    sent = event(body, **changes)
    return making.parcel(sent, progress=progress, sent_as=sent_as)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA) -> Iterator[str]:
    with authority.cert_pem.tempfile() as path:
        yield path


def configured(url: str, *to: str, **changes: Any) -> EmailSettings:
    given: dict[str, Any] = {
        "name": "finance",
        "type": "email",
        "smtp": Secret(url),
        "from_": "Receiver <receiver@example.com>",
        "to": to or (ANN,),
    }
    return EmailSettings(**{**given, **changes})


def build(sent: Event, sent_as: str, found: EmailSettings, now: datetime) -> Any:
    return addressed(letter(compose(sent)), [sent_as], found, now)


def email(port: int, *to: str, **changes: Any) -> Email:
    return Email(configured(f"smtp://127.0.0.1:{port}", *to, **changes))


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


async def test_a_password_goes_over_starttls(mailbox, certified, ca_file):
    async with smtpd(mailbox, tls_context=certified, auth_required=True) as port:
        url = f"smtp://ann:s3cret%2Fpass@127.0.0.1:{port}"

        outcome = await Email(configured(url, ca_file=ca_file)).send(parcel())

    assert outcome.ok, outcome.detail
    assert mailbox.logged_in == [(b"ann", True)]


async def test_a_password_goes_over_implicit_tls(mailbox, certified, ca_file):
    options = {"auth_required": True, "auth_require_tls": False}
    async with smtpd(mailbox, certified, **options) as port:
        url = f"smtps://ann:s3cret%2Fpass@127.0.0.1:{port}"

        outcome = await Email(configured(url, ca_file=ca_file)).send(parcel())

    assert outcome.ok, outcome.detail
    assert len(mailbox.taken) == 1


async def test_a_password_goes_in_the_clear_on_this_machine(mailbox):
    async with smtpd(mailbox, auth_require_tls=False) as port:
        url = f"smtp://ann:s3cret%2Fpass@127.0.0.1:{port}"

        outcome = await Email(configured(url)).send(parcel())

    assert outcome.ok
    assert mailbox.logged_in == [(b"ann", False)]


async def test_a_password_is_not_sent_to_another_machine_without_tls(
    mailbox, monkeypatch
):
    name = "mail.example.com"
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def here(host: Any, port: Any, **options: Any) -> Any:
        return await resolve("127.0.0.1" if host == name else host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", here)
    async with smtpd(mailbox, auth_require_tls=False) as port:
        url = f"smtp://ann:s3cret%2Fpass@{name}:{port}"
        kept = await Email(configured(url)).send(parcel())
        told_to = await Email(configured(url, starttls="never")).send(parcel())

    assert kept.result is Result.TLS
    assert "the password was not sent" in kept.detail
    assert told_to.ok
    assert mailbox.logged_in == [(b"ann", False)]


async def test_required_tls_that_is_not_offered_sends_nothing(mailbox):
    async with smtpd(mailbox) as port:
        outcome = await email(port, starttls="required").send(parcel())

    assert outcome.result is Result.TLS
    assert mailbox.taken == []


async def test_tls_that_is_offered_is_used_without_a_password_too(mailbox, certified):
    async with smtpd(mailbox, tls_context=certified) as port:
        outcome = await email(port).send(parcel())

    assert outcome.result is Result.TLS
    assert "not trusted" in outcome.detail
    assert mailbox.taken == []


async def test_tls_that_is_offered_is_left_alone_when_told_so(mailbox, certified):
    async with smtpd(mailbox, tls_context=certified) as port:
        outcome = await email(port, starttls="never").send(parcel())

    assert outcome.ok


async def test_a_certificate_nobody_vouches_for_is_refused(mailbox, certified):
    async with smtpd(mailbox, certified) as port:
        outcome = await Email(configured(f"smtps://127.0.0.1:{port}")).send(parcel())

    assert outcome.result is Result.TLS
    assert not outcome.permanent


async def test_a_server_that_speaks_no_tls_is_named_as_such(mailbox):
    async with smtpd(mailbox) as port:
        outcome = await Email(configured(f"smtps://127.0.0.1:{port}")).send(parcel())

    assert outcome.result is Result.TLS


async def test_a_wrong_password_pauses_the_destination_and_is_not_shown(mailbox):
    async with smtpd(mailbox, auth_require_tls=False) as port:
        url = f"smtp://ann:wr0ng@127.0.0.1:{port}"

        outcome = await Email(configured(url)).send(parcel())

    assert "correct user and password" in outcome.pause
    assert not outcome.permanent
    assert "wr0ng" not in repr(outcome)


async def test_a_server_that_wants_a_log_in_pauses_the_destination(mailbox):
    async with smtpd(mailbox, auth_required=True, auth_require_tls=False) as port:
        outcome = await email(port).send(parcel())

    assert "(530)" in outcome.pause


async def test_a_server_without_log_in_pauses_a_destination_with_a_user(mailbox):
    async with smtpd(mailbox, auth_exclude_mechanism=["PLAIN", "LOGIN"]) as port:
        url = f"smtp://ann:s3cret@127.0.0.1:{port}"

        outcome = await Email(configured(url)).send(parcel())

    assert "take the user out" in outcome.pause


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


async def test_certificates_that_cannot_be_used_pause_the_destination(tmp_path):
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")

    outcome = await email(25, ca_file=str(nonsense)).send(parcel())

    assert outcome.result is Result.BAD_CONFIG
    assert "`ca_file`" in outcome.pause


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
        await asyncio.wait_for(gone.wait(), 5)


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


HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "X-Event-Id", "MIME-Version", "Content-Type"),
}


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


# -- texts of the user's own


async def one_mail(mailbox: Mailbox, sent: Parcel, **templates: Any) -> Any:
    async with smtpd(mailbox) as port:
        destination = email(port, **templates)
        assert list(configured("smtp://h", **templates).problems()) == []
        outcome = await destination.send(sent)
        await destination.close()
    assert outcome.ok, outcome
    [(_, mail)] = mailbox.taken
    return outcome, mail


def lines(part: Any) -> list[str]:
    found: list[str] = part.get_content().splitlines()
    return found


def kinds(mail: Any) -> list[str]:
    return [part.get_content_type() for part in mail.walk()]


async def test_templates_make_subject_text_and_page(mailbox):
    outcome, mail = await one_mail(
        mailbox,
        parcel(),
        subject="{{ data.ledger.settled }} credits\nfor {{ event.subject }}",
        template="Dear {{ destination.name }},\n{{ data.items[1].error }}",
        html_template="<p>{{ data.items[1].error }} & so on</p>",
    )

    text, page = map(lines, mail.iter_parts())
    assert outcome.detail == f"accepted for {ANN}"
    assert mail["Subject"] == "90 credits for bat_1"
    assert text == ["Dear finance,", "Model timeout"]
    assert page == ["<p>Model timeout & so on</p>"]


async def test_a_subject_alone_leaves_the_built_in_parts(mailbox):
    _, mail = await one_mail(mailbox, parcel(), subject="{{ event.state }}")

    assert mail["Subject"] == "partial"
    assert kinds(mail) == ["multipart/alternative", "text/plain", "text/html"]
    assert "item_002: Model timeout" in str(mail)


async def test_a_text_alone_makes_a_mail_without_a_page(mailbox):
    _, mail = await one_mail(mailbox, parcel(), template="only {{ event.subject }}")

    assert kinds(mail) == ["text/plain"]
    assert mail["Subject"] == "Batch bat_1 finished with failures"
    assert lines(mail) == ["only bat_1"]


async def test_a_page_alone_keeps_the_built_in_text(mailbox):
    _, mail = await one_mail(mailbox, parcel(), html_template="<p>page</p>")

    text, page = map(lines, mail.iter_parts())
    assert "- item_002: Model timeout (timeout) [sku: PROD-002]" in text
    assert page == ["<p>page</p>"]


HOSTILE = (
    "=?utf-8?q?a=0D=0ABcc:_x?=\r\nBcc: x@evil.example\r\n\r\n.\r\n<script>\x00\ud800"
)


async def test_nothing_in_an_event_gets_out_of_a_template(mailbox):
    sent = making.parcel(event(json.dumps({"x": HOSTILE})))
    everywhere = "{{ data.x }} {{ event.subject }}"

    _, mail = await one_mail(
        mailbox,
        sent,
        subject=everywhere,
        template=everywhere,
        html_template=f"<p>{everywhere}</p>",
    )

    text, page = (part.get_content() for part in mail.iter_parts())
    assert set(mail.keys()) - {"X-Peer", "X-MailFrom", "X-RcptTo"} == HEADERS
    assert "\x00" not in text + page
    assert "<script>" not in page
    assert "<script>" in text


@pytest.mark.parametrize("name", ["subject", "template", "html_template"])
async def test_where_a_template_fails_the_built_in_mail_is_sent_and_says_why(
    mailbox, name
):
    outcome, mail = await one_mail(
        mailbox, parcel(), **{name: "ok\n{{ data.summary.total / 0 }}"}
    )

    text, page = (part.get_content() for part in mail.iter_parts())
    assert f"{name}: line 2: division by zero" in outcome.detail
    assert mail["Subject"] == "Batch bat_1 finished with failures"
    assert f"Note: the template failed, so this is the built-in text ({name}" in text
    assert "the template failed" in page


def test_a_template_that_cannot_work_is_a_problem():
    found = configured("smtp://h", html_template="<p>\n\n{{ event.kind2 }}")

    [(key, message, _)] = found.problems()

    assert key == "html_template"
    assert message.startswith('line 3: there is no "event.kind2"')


# -- several events in one mail


def several(*progress: str) -> list[Parcel]:
    return [
        parcel(text, sent_as=f"evt_{n:016}", subject=f"bat_{n}")
        for n, text in enumerate(progress)
    ]


async def test_several_events_are_one_mail(mailbox):
    async with smtpd(mailbox) as port:
        outcome = await email(port, ANN, BEN).send_many(several("", "", ""))

    assert outcome.ok
    [(recipients, mail)] = mailbox.taken
    assert recipients == (ANN, BEN)
    assert mail["Subject"] == "3 events: 3 partly succeeded"
    assert mail["X-Event-Id"] == (
        "evt_0000000000000000, evt_0000000000000001, evt_0000000000000002"
    )
    text, _ = (part.get_content() for part in mail.iter_parts())
    assert "- bat_2: " in text


async def test_who_has_a_digest_does_not_get_it_again(mailbox):
    mailbox.refuses = {BEN: "450 later", CIA: "550 no such user"}
    async with smtpd(mailbox) as port:
        destination = email(port, ANN, BEN, CIA)

        first = await destination.send_many(several("", ""))
        mailbox.refuses = {}
        kept = first.progress
        second = await destination.send_many(several(kept, kept))
        third = await destination.send_many(several(second.progress, second.progress))
        alone = await destination.send(several(second.progress)[0])

    assert not first.ok
    assert not first.permanent
    assert [recipients for recipients, _ in mailbox.taken] == [(ANN,), (BEN,)]
    assert second.ok
    assert third.ok
    assert alone.ok


async def test_each_attempt_at_a_digest_has_the_same_message_id(mailbox):
    async with smtpd(mailbox) as port:
        await email(port).send_many(several("", ""))
        await email(port).send_many(several("", "")[::-1])
        await email(port).send_many(several("", "", ""))

    first, again, another = (mail["Message-ID"] for _, mail in mailbox.taken)
    assert first == again
    assert first != another


async def test_who_has_only_some_of_a_digest_gets_it_and_nobody_misses_any(mailbox):
    ann = json.dumps({"accepted": [ANN]})
    both = json.dumps({"accepted": [ANN, BEN]})
    async with smtpd(mailbox) as port:
        destination = email(port, ANN, BEN)

        outcome = await destination.send_many(several(ann, both))
        fresh = await destination.send_many(several(both, ""))

    assert [recipients for recipients, _ in mailbox.taken] == [(BEN,), (ANN, BEN)]
    assert json.loads(outcome.progress)["accepted"] == [ANN, BEN]
    assert fresh.ok


# -- previews


async def test_a_preview_is_the_mail_that_would_be_sent():
    found = configured("smtp://u:s3cret@mail.example.com", ANN, BEN)

    preview = await Email(found).preview(parcel())

    assert dict(preview.headers)["To"] == f"{ANN}, {BEN}"
    assert dict(preview.headers)["Subject"] == "Batch bat_1 finished with failures"
    assert "item_002: Model timeout" in preview.text
    assert "<strong>Partly succeeded.</strong>" in preview.html
    assert preview.payload["html"] == preview.html
    assert "s3cret" not in repr(preview)


async def test_a_preview_of_a_mail_without_a_page_has_none():
    found = configured("smtp://mail.example.com", template="text")

    destination = Email(found)
    preview = await destination.preview(parcel())
    await destination.close()

    assert (preview.text, preview.html) == ("text\n", "")
