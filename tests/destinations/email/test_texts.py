"""Email: the user's own texts, digests, and previews."""

import json
from typing import Any

import pytest

from receiver.destinations import Parcel
from receiver.destinations.email import Email
from tests import making
from tests.destinations.email.making import (
    ANN,
    BEN,
    CIA,
    HEADERS,
    configured,
    email,
    parcel,
)
from tests.mail_server import Mailbox, smtpd
from tests.making import event

pytestmark = [
    pytest.mark.filterwarnings("ignore:Session.login_data:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning"),
]

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
