"""A real mail server (aiosmtpd), which refuses what it is told to and keeps the rest."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as parsing
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class Mailbox:
    """A mail server's mind: what it refuses, and what it has taken."""

    refuses: dict[str, str] = field(default_factory=dict)
    refuses_sender: str = ""
    refuses_data: str = ""
    hangs_up_at_data: bool = False
    stalls_at_data: bool = False
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[tuple[tuple[str, ...], EmailMessage]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    logged_in: list[tuple[bytes, bool]] = field(default_factory=list)

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name for it)
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        self.names.append(hostname)
        return responses

    async def handle_MAIL(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if self.refuses_sender:
            return self.refuses_sender
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.stalls_at_data:
            self.stalled.set()
            await asyncio.Event().wait()
        if self.hangs_up_at_data:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "250 OK"
        if self.refuses_data:
            return self.refuses_data
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=parsing)
        assert isinstance(mail, EmailMessage)
        self.taken.append((tuple(envelope.rcpt_tos), mail))
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any
    ) -> AuthResult:
        good = data.password == b"s3cret/pass"
        self.logged_in.append((data.login, session.ssl is not None))
        return AuthResult(success=good, handled=good)


@asynccontextmanager
async def listening(
    protocol: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    found = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
    try:
        yield found.sockets[0].getsockname()[1]
    finally:
        found.close()
        await found.wait_closed()


def smtpd(
    mailbox: Mailbox, context: ssl.SSLContext | None = None, **options: Any
) -> AbstractAsyncContextManager[int]:
    """A mail server on a free port; the context gives the port."""
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.BaseProtocol:
        made: asyncio.BaseProtocol = SMTP(
            mailbox,
            hostname="mx.example.com",
            loop=loop,
            authenticator=mailbox.authenticate,
            **options,
        )
        return made

    return listening(protocol, context)
