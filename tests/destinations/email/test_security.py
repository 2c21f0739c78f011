"""Email: passwords, TLS, and what is not said where it could be heard."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from receiver.destinations.email import Email
from receiver.models import Result
from tests.destinations.email.making import configured, email, parcel
from tests.mail_server import smtpd

pytestmark = [
    pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning"),
]


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


async def test_certificates_that_cannot_be_used_pause_the_destination(tmp_path):
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")

    outcome = await email(25, ca_file=str(nonsense)).send(parcel())

    assert outcome.result is Result.BAD_CONFIG
    assert "`ca_file`" in outcome.pause
