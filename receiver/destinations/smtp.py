"""
The conversation with a mail server.

One attempt is one connection and one message to those who do not have it yet.  The
server answers for each recipient: accepted, refused for now (4xx) or refused for good
(5xx).  What is settled is entered in a `Progress` at once.

Sources: https://www.rfc-editor.org/rfc/rfc5321 (SMTP), rfc3207 (STARTTLS), rfc8314
(implicit TLS).
"""

import asyncio
import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit

import aiosmtplib

from receiver.messages.words import clean
from receiver.models import Outcome, Result, Secret

_HOST = re.compile(r"[A-Za-z0-9.-]+\.[A-Za-z0-9-]+")
_AUTHENTICATION = frozenset({530, 534, 535, 538})
_CLOSING = 421

_Spoken = tuple[Outcome | None, dict[str, str]]
"""What stopped a conversation, if something did, and who was refused for now."""

StartTls = Literal["auto", "required", "never"]


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in."""

    host: str
    port: int
    implicit_tls: bool
    user: str
    password: Secret

    @property
    def at_home(self) -> bool:
        """Whether what is sent there stays on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def server(url: str) -> Server:
    """
    The server an SMTP URL names.

    Raises:
        ValueError: it is not such a URL; the text says why, without the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL that can be read") from None
    if parts.scheme not in ("smtp", "smtps"):
        raise ValueError("does not begin with smtp:// or smtps://")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("has something after the port")
    if not parts.hostname or port == 0:
        raise ValueError("names no host" if port != 0 else "names port 0")
    if bool(parts.username) != bool(parts.password):
        raise ValueError("needs a user and a password, or neither")
    implicit_tls = parts.scheme == "smtps"
    return Server(
        host=parts.hostname,
        port=port or (465 if implicit_tls else 587),
        implicit_tls=implicit_tls,
        user=unquote(parts.username or ""),
        password=Secret(unquote(parts.password or "")),
    )


@dataclass(slots=True)
class Progress:
    """Who has the message, and who can never get it; kept as JSON between attempts."""

    accepted: list[str] = field(default_factory=list[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, text: str) -> "Progress":
        """The reverse of `text`; anything else is no progress."""
        try:
            kept: Any = json.loads(text or "{}")
            accepted = [str(address) for address in kept.get("accepted", [])]
            refused = {str(k): str(v) for k, v in kept.get("refused", {}).items()}
        except (ValueError, AttributeError, TypeError):
            return cls()
        return cls(accepted, refused)

    def text(self) -> str:
        if not self.accepted and not self.refused:
            return ""
        return json.dumps({"accepted": self.accepted, "refused": self.refused})

    def waiting(self, recipients: Iterable[str]) -> list[str]:
        """Those about whom nothing is settled yet."""
        settled = {*self.accepted, *self.refused}
        return [address for address in recipients if address not in settled]

    @classmethod
    def common(cls, texts: Iterable[str]) -> "Progress":
        """What is settled for every one of several deliveries."""
        several = [cls.read(text) for text in texts]
        first, *others = several
        return cls(
            [a for a in first.accepted if all(a in p.accepted for p in others)],
            {
                address: why
                for address, why in first.refused.items()
                if all(address in p.refused for p in others)
            },
        )


class Mailer:
    """Hands messages to one server; keeps nothing open in between."""

    def __init__(
        self, url: Secret, sender: str, starttls: StartTls, ca_file: Path | None
    ) -> None:
        self._server = server(url)
        self._sender = sender
        self._starttls: StartTls = starttls
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None

    async def hand_over(
        self, mail: bytes, waiting: Sequence[str], progress: Progress
    ) -> tuple[Outcome | None, dict[str, str]]:
        """What stopped it, if something did, and who was refused for now."""

        async def speak(client: aiosmtplib.SMTP) -> _Spoken:
            stopped = await self._prepare(client)
            if stopped:
                return stopped, {}
            deferred = await _hand_over(client, self._sender, waiting, mail, progress)
            _take_leave(client)
            return None, deferred

        return await self._converse(speak)

    async def reach(self) -> Outcome:
        """Greet the server, with TLS as for a message, and hang up; nobody logs in."""

        async def speak(client: aiosmtplib.SMTP) -> _Spoken:
            stopped, _ = await self._encrypt(client)
            _take_leave(client)
            return stopped, {}

        stopped, _ = await self._converse(speak)
        server = self._server
        return stopped or Outcome(Result.OK, f"{server.host}:{server.port} greets us")

    async def _converse(
        self, speak: Callable[[aiosmtplib.SMTP], Awaitable[_Spoken]]
    ) -> _Spoken:
        """Connect and speak; what stopped it, if something did."""
        try:
            trust = await self._trusted()
        except OSError:
            wrong = "the certificates in `ca_file` cannot be used"
            pause = f"{wrong}: correct it"
            return Outcome(Result.BAD_CONFIG, wrong, pause=pause), {}
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=self._server.implicit_tls,
            start_tls=False,
            tls_context=trust,
            timeout=None,  # the caller's is the limit
            local_hostname="localhost",
        )
        try:
            await client.connect()
            return await speak(client)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return self._failure(error), {}
        finally:
            _hang_up(client)

    async def _prepare(self, client: aiosmtplib.SMTP) -> Outcome | None:
        """Greet, upgrade to TLS, log in; or why that is not done."""
        stopped, encrypted = await self._encrypt(client)
        if stopped or not self._server.user:
            return stopped
        if not (encrypted or self._server.at_home or self._starttls == "never"):
            wrong = "the server does not offer STARTTLS, so the password was not sent"
            return Outcome(Result.TLS, wrong)
        if not client.supported_auth_methods:
            wrong = "the server offers no way to log in that is known here"
            pause = f"{wrong}: take the user out of `smtp`, or use another port"
            return Outcome(Result.REJECTED, wrong, pause=pause)
        await client.login(self._server.user, self._server.password)
        return None

    async def _encrypt(self, client: aiosmtplib.SMTP) -> tuple[Outcome | None, bool]:
        """Greet, and upgrade to TLS if need be; why that failed, and whether it is on."""
        client.local_hostname = _own_name(client)
        await _greet(client)
        encrypted, starttls = self._server.implicit_tls, self._starttls
        offered = client.supports_extension("starttls")
        if not encrypted and offered and starttls != "never":
            await client.starttls()
            await _greet(client)  # what was said before cannot be trusted
            encrypted = True
        if not encrypted and starttls == "required":
            return Outcome(Result.TLS, "the server does not offer STARTTLS"), False
        return None, encrypted

    async def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = await asyncio.to_thread(
                ssl.create_default_context, cafile=self._ca_file
            )
        return self._trust

    def _failure(self, error: Exception) -> Outcome:
        """Name what stopped the conversation."""
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return self._refusal(error)
        place = f"{self._server.host}:{self._server.port}"
        if isinstance(error, aiosmtplib.SMTPServerDisconnected):
            return Outcome(Result.CONNECT, f"{place} ended the connection")
        return _unreachable(error.__cause__ or error, place)

    def _refusal(self, error: aiosmtplib.SMTPResponseException) -> Outcome:
        """What the server said no to, where that was not about one recipient."""
        logging_in = isinstance(error, aiosmtplib.SMTPAuthenticationError)
        for_good = 500 <= error.code < 600
        if for_good and (logging_in or error.code in _AUTHENTICATION):
            # Its own words are left out: some servers repeat what they were sent.
            wrong = f"the server refused the log-in ({error.code})"
            pause = f"{wrong}: correct user and password in `smtp`"
            return Outcome(Result.REJECTED, wrong, pause=pause)
        said = "" if logging_in else _said(error)
        wrong = f"the server answered {said or error.code}"
        if for_good and isinstance(error, aiosmtplib.SMTPSenderRefused):
            wrong = f"the server refused the sender's address: {said}"
            pause = f"{wrong}; correct `from`, or what the server lets it do"
            return Outcome(Result.REJECTED, wrong, pause=pause, response=said)
        return Outcome(Result.REJECTED, wrong, response=said)


async def _hand_over(
    client: aiosmtplib.SMTP,
    sender: str,
    waiting: Iterable[str],
    mail: bytes,
    progress: Progress,
) -> dict[str, str]:
    """
    Hand the message in; those refused for now, with the server's words.

    The others are entered in `progress` as soon as the server has answered for them.

    Raises:
        aiosmtplib.SMTPException: the conversation ended, or is about more than
            single recipients.
    """
    deferred: dict[str, str] = {}
    taken: list[str] = []
    await client.mail(sender)
    for address in waiting:
        try:
            await client.rcpt(address)
            taken.append(address)
        except aiosmtplib.SMTPRecipientRefused as error:
            _enter(error, [address], deferred, progress)
    if taken:
        try:
            await client.data(mail)
            progress.accepted.extend(taken)
        except aiosmtplib.SMTPDataError as error:
            _enter(error, taken, deferred, progress)
    return deferred


def _enter(
    error: aiosmtplib.SMTPResponseException,
    addresses: Iterable[str],
    deferred: dict[str, str],
    progress: Progress,
) -> None:
    """Note a refusal that is about these addresses; raise it where it is not."""
    if error.code in _AUTHENTICATION or error.code == _CLOSING:
        raise error
    refused = progress.refused if 500 <= error.code < 600 else deferred
    refused.update(dict.fromkeys(addresses, _said(error)))


def _unreachable(cause: BaseException, place: str) -> Outcome:
    """Name what kept us from speaking to the server at all."""
    if isinstance(cause, socket.gaierror):
        return Outcome(Result.DNS, f"the name in {place} could not be looked up")
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = clean(cause.verify_message, 200)
        return Outcome(
            Result.TLS,
            f"the certificate of {place} is not trusted: {why}; set `ca_file` "
            'for a private one, or starttls = "never" on this machine',
        )
    if isinstance(cause, ssl.SSLError):
        return Outcome(Result.TLS, f"TLS with {place} could not be set up")
    if isinstance(cause, OSError):
        why = os.strerror(cause.errno) if cause.errno else "no connection"
        return Outcome(Result.CONNECT, f"{place}: {why}")
    return Outcome(Result.ERROR, f"no usable reply ({type(cause).__name__})")


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()


def _own_name(client: aiosmtplib.SMTP) -> str:
    """
    What to call ourselves: the full host name, or else our address (RFC 5321, 4.1.4).

    Not `socket.getfqdn`, which may ask the network and cannot be interrupted.
    """
    name = socket.gethostname()
    if _HOST.fullmatch(name):
        return name
    own = ipaddress.ip_address(client.get_transport_info("sockname")[0].split("%")[0])
    return f"[{own}]" if own.version == 4 else f"[IPv6:{own}]"


def _take_leave(client: aiosmtplib.SMTP) -> None:
    """
    Say QUIT and close, without waiting for an answer.

    The message is accepted; being interrupted now would only lose that knowledge.
    """
    if client.protocol is not None and client.is_connected:
        client.protocol.write(b"QUIT\r\n")
    client.close()


def _hang_up(client: aiosmtplib.SMTP) -> None:
    """Close at once what is still open, whatever is still on its way."""
    if client.transport is not None:
        cast("asyncio.Transport", client.transport).abort()
    client.close()


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return clean(f"{error.code} {error.message}", 300)
