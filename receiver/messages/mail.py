"""
A message as an email, in two parts: text for everything, HTML for most.

Our own templates lie beside this module.  The HTML is made for mail clients: tables and
inline styles, no images, nothing loaded, and no colour that dark mode would spoil;
what colour says, a word says too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache

from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import SandboxedEnvironment

from receiver.messages.message import Message, Severity
from receiver.messages.words import clean

_ACCENTS = {
    Severity.GOOD: "#2da44e",
    Severity.INFO: "#4a8fe0",
    Severity.WARNING: "#d4a017",
    Severity.BAD: "#e5534b",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says; `page` is its HTML part, and empty for none."""

    subject: str
    text: str
    page: str = ""


def letter(message: Message) -> Letter:
    """The message in our own words and form."""
    return Letter(message.title, text_part(message), html_part(message))


def written(
    letter: Letter,
    *,
    sender: str,
    recipients: Sequence[str],
    message_id: str,
    event_id: str,
    now: datetime,
) -> EmailMessage:
    """The email, in plain ASCII on the wire; addresses and ids are trusted."""
    mail = EmailMessage(SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _header(letter.subject)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Event-Id"] = _header(event_id)
    mail.set_content(letter.text, cte="quoted-printable")
    if letter.page:
        mail.add_alternative(letter.page, subtype="html", cte="quoted-printable")
    return mail


def text_part(message: Message) -> str:
    """The message as plain text."""
    return _environment().get_template("message.txt").render(message=message)


def html_part(message: Message) -> str:
    """The message as an HTML document; everything out of the event is escaped."""
    template = _environment().get_template("message.html")
    return template.render(message=message, accent=_ACCENTS[message.severity])


def _header(text: str) -> str:
    """
    Text that is a header's value and nothing else.

    An encoded word (`=?utf-8?q?...?=`) is decoded when it is set, and may hold a line
    end, which older versions of `email` then write as one (CVE-2024-6923).
    """
    return clean(text, 200).replace("=?", "= ?")


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=PackageLoader("receiver.messages"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
