"""Whether destinations can be connected to: nothing is sent to anybody."""

import asyncio
import ssl
from importlib import import_module

import pytest
import trustme

from receiver.destinations import TYPES
from receiver.destinations.addresses import Guard
from receiver.destinations.email import Email, EmailSettings
from receiver.destinations.http import Http, HttpSettings
from receiver.destinations.reaching import reach
from receiver.destinations.slack import Slack, SlackSettings
from receiver.destinations.smtp import StartTls
from receiver.destinations.tls import Tls
from receiver.destinations.transport import Dialling
from receiver.models import Result, Secret
from tests.mail_server import Mailbox, smtpd
from tests.ports import refusing
from tests.sinks import sink


async def test_an_endpoint_that_listens_is_reached_and_sent_nothing():
    async with sink() as found:
        outcome = await reach(f"{found.url}/T0KEN")

    assert outcome.ok
    assert outcome.detail.startswith("127.0.0.1:")
    assert found.seen == []


async def test_a_port_where_nobody_listens_is_named_without_the_path():
    with refusing() as port:
        outcome = await reach(f"http://user:pass@127.0.0.1:{port}/T0KEN?x=S3CRET")

    assert outcome.result is Result.CONNECT
    assert outcome.detail == f"127.0.0.1:{port}: Connection refused"


async def test_a_name_that_nobody_knows_is_told():
    outcome = await reach("http://nobody.invalid/")

    assert (outcome.result, "nobody.invalid" in outcome.detail) == (Result.DNS, True)


async def test_certificates_are_judged_as_for_a_delivery(tmp_path):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusting = Dialling(tls=Tls(ca_file=tmp_path / "ca.pem"))

    async with sink(context) as found:
        trusted = await reach(found.url, trusting)
        untrusted = await reach(found.url)

    assert (trusted.ok, "by TLS" in trusted.detail) == (True, True)
    assert untrusted.result is Result.TLS
    assert "not trusted" in untrusted.detail


@pytest.mark.parametrize(
    "guard", [Guard(deny_private=True), Guard(allow_hosts=("example.com",))]
)
async def test_what_a_delivery_may_not_dial_is_not_dialled(guard):
    dialled = asyncio.Event()
    server = await asyncio.start_server(lambda *_: dialled.set(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    outcome = await reach(f"http://127.0.0.1:{port}/", Dialling(guard=guard))

    assert outcome.result is Result.BLOCKED
    assert not dialled.is_set()
    server.close()
    await server.wait_closed()


def email(port: int, starttls: StartTls = "auto") -> Email:
    return Email(
        EmailSettings(
            name="mail",
            type="email",
            smtp=Secret(f"smtp://ann:S3CRET@127.0.0.1:{port}"),
            from_="receiver@example.com",
            to=("ops@example.com",),
            starttls=starttls,
        )
    )


async def test_a_mail_server_is_greeted_and_given_neither_password_nor_message():
    mailbox = Mailbox()

    async with smtpd(mailbox) as port:
        outcome = await email(port).reach()

    assert outcome is not None
    assert (outcome.result, outcome.detail) == (
        Result.OK,
        f"127.0.0.1:{port} greets us",
    )
    assert len(mailbox.names) == 1
    assert (mailbox.logged_in, mailbox.taken) == ([], [])


async def test_a_mail_server_without_the_tls_that_is_required_is_told():
    async with smtpd(Mailbox()) as port:
        outcome = await email(port, starttls="required").reach()

    assert outcome is not None
    assert outcome.result is Result.TLS


async def test_a_mail_server_that_is_not_there_is_told():
    with refusing() as port:
        outcome = await email(port).reach()

    assert outcome is not None
    assert outcome.result is Result.CONNECT
    assert "S3CRET" not in outcome.detail


async def test_an_address_that_depends_on_the_event_is_not_dialled():
    url = Secret('"https://" + event.subject')
    destination = Http(HttpSettings(name="x", type="http", url=url))

    assert await destination.reach() is None

    await destination.close()


async def test_slack_is_dialled_where_its_webhook_is():
    async with sink() as found:
        url = Secret(f"{found.url}/services/T0KEN")
        destination = Slack(SlackSettings(name="x", type="slack", url=url))
        outcome = await destination.reach()
        await destination.close()

    assert outcome is not None
    assert outcome.ok
    assert found.seen == []


def test_those_on_the_network_and_no_others_can_be_reached():
    classes = {
        name: getattr(import_module(kind.module), kind.factory)
        for name, kind in TYPES.items()
    }

    reaching = {name for name, made in classes.items() if hasattr(made, "reach")}

    assert reaching == {"http", "slack", "email"}
