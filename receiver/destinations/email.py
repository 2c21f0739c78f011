"""
Email, over SMTP.

What is sent is the built-in message, or what the user's templates make of an event;
where those fail, the built-in one with a note.  A server answers for each recipient
(see `smtp`); what is settled is remembered between attempts (`Progress`), so that
nobody gets a message twice because another address was slow.

Source: https://www.rfc-editor.org/rfc/rfc3834 (`Auto-Submitted`).
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from pathlib import Path
from typing import ClassVar

from receiver.destinations import Parcel, Preview
from receiver.destinations.smtp import Mailer, Progress, StartTls, server
from receiver.destinations.templates import Templates, built_in, noted, told
from receiver.destinations.templates import problems as template_problems
from receiver.messages import compose_digest
from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.mail import Letter, letter, text_part, written
from receiver.messages.words import clean
from receiver.models import Event, Outcome, Result, Secret
from receiver.offload import beside
from receiver.settings import DestinationSettings, TextFile, option

_ADDRESS = re.compile(r"[^\s@<>()\[\]\\,;:\"]+@[^\s@<>()\[\]\\,;:\"]+")
_NAMED = 5

_URL_HINT = "write smtp://user:password@host:587, and special characters like %2F"


TEMPLATES = {
    "subject": Form.TEXT,
    "template": Form.TEXT,
    "html_template": Form.HTML,
}
"""The settings that hold templates, and what those make."""


@dataclass(frozen=True)
class EmailSettings(DestinationSettings):
    """One message for all the recipients of an event."""

    smtp: Secret = option(
        help="smtp://user:password@host:587 or smtps://user:password@host:465",
        secret=True,
    )
    from_: str = option(help="the sender's address; a name may be before it in < >")
    to: tuple[str, ...] = option(help="the recipients' addresses")
    starttls: StartTls = option(
        "auto",
        help="for smtp:// auto upgrades to TLS when that is offered, and sends no "
        "password without TLS except to this machine",
    )
    ca_file: Path | None = option(
        None, help="certificates (PEM) to trust instead of the system's"
    )
    subject: str | None = option(
        None, help="the subject (Jinja2) instead of the built-in one"
    )
    template: str | None = option(
        None, help="the text (Jinja2) instead of the built-in one"
    )
    template_file: TextFile | None = option(
        None, help="a file with it, from the configuration's folder"
    )
    html_template: str | None = option(
        None, help="the HTML part (Jinja2); without it a template's mail is text only"
    )
    html_template_file: TextFile | None = option(
        None, help="a file with it, from the configuration's folder"
    )
    digest: timedelta | None = option(
        None,
        help='what arrives within this time is one message: "60s"; '
        "by default each event has its own",
        least=timedelta(seconds=1),
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        try:
            found = server(self.smtp)
        except ValueError as error:
            yield "smtp", str(error), _URL_HINT
        else:
            if found.port == 465 and not found.implicit_tls:
                yield "smtp", "port 465 speaks TLS from the start", "write smtps://"
        if not _is_address(parseaddr(self.from_)[1]) or not self.from_.isprintable():
            yield "from", "is not an email address", 'like "receiver@example.com"'
        if not self.recipients():
            yield "to", "names nobody", 'like ["ops@example.com"]'
        for address in self.recipients():
            if not _is_address(address):
                yield "to", f"{clean(address, 100)!r} is not an email address", ""
        yield from template_problems(self, TEMPLATES)

    def missing(self) -> Iterable[tuple[str, str, str]]:
        if self.ca_file and not os.access(self.ca_file, os.R_OK):
            yield "ca_file", "cannot be read", "a file with certificates in PEM form"

    @property
    def window(self) -> timedelta:
        return self.digest or timedelta()

    def described(self) -> str:
        found = server(self.smtp)
        return f"email to {_some(self.recipients())} by {found.host}:{found.port}"

    def recipients(self) -> tuple[str, ...]:
        """The bare addresses, each once; one text may hold several with commas."""
        return tuple(dict.fromkeys(address for _, address in getaddresses(self.to)))


class Email:
    """Hands one message per event, or one for several, to a mail server."""

    needs_reading: ClassVar[bool] = True

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._recipients = settings.recipients()
        self._templates = Templates(settings, TEMPLATES)
        sender = parseaddr(settings.from_)[1]
        self._mailer = Mailer(
            settings.smtp, sender, settings.starttls, settings.ca_file
        )

    async def send(self, parcel: Parcel) -> Outcome:
        progress = Progress.read(parcel.delivery.progress)
        if not progress.waiting(self._recipients):
            return self._concluded(progress, {})
        mail, note = await self._made(parcel)
        outcome = await self._hand_in(mail, progress)
        return told(outcome, note)

    async def send_many(self, parcels: Sequence[Parcel]) -> Outcome:
        """
        One message about all of them; templates are for single events only.

        Whoever has only some of them is told of all again.
        """
        if len(parcels) == 1:
            return await self.send(parcels[0])
        progress = Progress.common(parcel.delivery.progress for parcel in parcels)
        if not progress.waiting(self._recipients):
            return self._concluded(progress, {})
        events = [parcel.event for parcel in parcels]
        size = sum(len(event.body) for event in events)
        written = await beside(size, _digest, events)
        ids = [parcel.delivery.sent_as for parcel in parcels]
        mail = addressed(written, ids, self._settings, parcels[0].now)
        return await self._hand_in(mail, progress)

    async def preview(self, parcel: Parcel) -> Preview:
        mail, note = await self._made(parcel)
        parts = {part.get_content_subtype(): part for part in mail.walk()}
        text, page = (
            str(parts[kind].get_content()) if kind in parts else ""
            for kind in ("plain", "html")
        )
        hidden = ("mime-version", "content-type", "content-transfer-encoding")
        headers = tuple((k, v) for k, v in mail.items() if k.lower() not in hidden)
        return Preview(
            headers=headers,
            text=text,
            html=page,
            payload={"headers": dict(headers), "text": text, "html": page},
            note=noted(note) if note else "",
        )

    async def reach(self) -> Outcome | None:
        return await self._mailer.reach()

    async def close(self) -> None:
        await self._templates.close()

    async def _made(self, parcel: Parcel) -> tuple[EmailMessage, str]:
        """The mail; and why it is not what the templates make, if it is not."""
        event, note, texts = parcel.event, "", dict[str, str]()
        if self._templates:
            try:
                texts = dict(await self._templates.render(parcel))
            except TemplateFailed as error:
                note = str(error)
        letter = await beside(len(event.body), _letter, event, texts, note)
        ids = [parcel.delivery.sent_as]
        return addressed(letter, ids, self._settings, parcel.now), note

    async def _hand_in(self, mail: EmailMessage, progress: Progress) -> Outcome:
        waiting = progress.waiting(self._recipients)
        outcome, deferred = await self._mailer.hand_over(
            mail.as_bytes(), waiting, progress
        )
        if outcome is not None:
            return replace(outcome, progress=progress.text())
        return self._concluded(progress, deferred)

    def _concluded(self, progress: Progress, deferred: Mapping[str, str]) -> Outcome:
        outcome = _settled(self._recipients, progress, deferred)
        return replace(outcome, progress=progress.text())


def _letter(event: Event, texts: Mapping[str, str], note: str) -> Letter:
    """The built-in letter, and in its place what templates made of it."""
    message = built_in(event, note)
    subject = texts.get("subject", message.title)
    if "template" in texts or "html_template" in texts:
        text = texts["template"] if "template" in texts else text_part(message)
        return Letter(subject, text, texts.get("html_template", ""))
    return replace(letter(message), subject=subject)


def _digest(events: Sequence[Event]) -> Letter:
    return letter(compose_digest(events))


def addressed(
    letter: Letter, ids: Sequence[str], settings: EmailSettings, now: datetime
) -> EmailMessage:
    """
    The mail about the events of these ids, the same on each attempt but for its date.

    Its `Message-ID` comes from the events and the destination, so that mail programs
    and servers that look at it show a message only once.
    """
    domain = parseaddr(settings.from_)[1].rpartition("@")[2]
    named = "\0".join((*sorted(ids), settings.name))
    identity = hashlib.sha256(named.encode()).hexdigest()
    return written(
        letter,
        sender=settings.from_,
        recipients=settings.recipients(),
        message_id=f"<{identity[:32]}@{domain}>",
        event_id=", ".join(ids),
        now=now,
    )


def _settled(
    recipients: Sequence[str], progress: Progress, deferred: Mapping[str, str]
) -> Outcome:
    """The outcome of an attempt in which the server answered for everybody."""
    have = [address for address in recipients if address in progress.accepted]
    refused = {a: why for a, why in progress.refused.items() if a in recipients}
    parts = [f"accepted for {_some(have)}"] if have else []
    if deferred:
        parts.append(f"refused for now: {_explained(deferred)}")
    if refused:
        parts.append(f"refused for good: {_explained(refused)}")
    ok = bool(have) and not deferred
    return Outcome(
        Result.OK if ok else Result.REJECTED,
        "; ".join(parts),
        permanent=not have and not deferred,
        response=next(iter((*deferred.values(), *refused.values())), ""),
    )


def _explained(refused: Mapping[str, str]) -> str:
    return _some([f"{address} ({why[:120]})" for address, why in refused.items()])


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_address(text: str) -> bool:
    return text.isascii() and bool(_ADDRESS.fullmatch(text))
