"""
A Slack channel, through an incoming webhook.

What is posted is the built-in message, or what the user's templates make of an event;
where those fail, or Slack refuses what they made, the built-in one with a note.  What
Slack answers is a word in plain text, which decides between trying again, giving up on
this message, and giving the destination nothing more until somebody mends it.

Sources: https://docs.slack.dev/reference/block-kit/blocks and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from receiver.destinations import Parcel, Preview
from receiver.destinations.replies import RETRYABLE, Reply, status_words
from receiver.destinations.templates import Templates, built_in, noted, told
from receiver.destinations.templates import problems as template_problems
from receiver.messages import blocks, compose_digest
from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.words import clean
from receiver.models import Event, Outcome, Rate, Result, Secret
from receiver.offload import beside
from receiver.settings import DestinationSettings, TextFile, option

_NEW_WEBHOOK = "make a new incoming webhook in Slack and set its address as `url`"
_ADVICE = {
    "action_prohibited": "an administrator of the workspace must allow the webhook",
    "posting_to_general_channel_denied": (
        "an administrator of the workspace must allow posting to that channel"
    ),
    "channel_not_found": "its channel is gone: " + _NEW_WEBHOOK,
    "channel_is_archived": (
        "its channel is archived: unarchive it, or " + _NEW_WEBHOOK
    ),
    "user_not_found": "its user is gone: " + _NEW_WEBHOOK,
    "invalid_token": "the address is not valid (any more): " + _NEW_WEBHOOK,
    "token_revoked": "the webhook was revoked: " + _NEW_WEBHOOK,
    "no_service": "the webhook was removed or disabled: " + _NEW_WEBHOOK,
    "no_service_id": "the address is not complete: check `url`",
    "no_active_hooks": "the webhook was disabled: " + _NEW_WEBHOOK,
    "no_team": "the workspace is gone: check `url`",
    "team_disabled": "the workspace is disabled: " + _NEW_WEBHOOK,
}
"""What to do where no message can arrive; the words Slack answers with."""

_UNUSABLE = frozenset({401, 403, 404, 410})
_REFUSED = frozenset({400, 413, 422})


TEMPLATES = {"template": Form.MRKDWN, "blocks_template": Form.BLOCKS}
"""The settings that hold templates, and what those make."""

_POSTED = ("text", "blocks", "unfurl_links", "unfurl_media")
"""What a template may set of a message."""


@dataclass(frozen=True)
class SlackSettings(DestinationSettings):
    """A channel; Slack takes about one message a second for each."""

    url: Secret = option(help="the incoming webhook's address", secret=True)
    concurrency: int = option(1, help="attempts at a time", least=1)
    template: str | None = option(
        None, help="the message in Slack's markup (Jinja2) instead of the built-in one"
    )
    template_file: TextFile | None = option(
        None, help="a file with it, from the configuration's folder"
    )
    blocks_template: str | None = option(
        None, help="the message as JSON (Jinja2): a list of Block Kit blocks"
    )
    blocks_template_file: TextFile | None = option(
        None, help="a file with it, from the configuration's folder"
    )
    digest: timedelta | None = option(
        None,
        help='what arrives within this time is one message: "60s"; '
        "by default each event has its own",
        least=timedelta(seconds=1),
    )
    max_rate: Rate | None = option(
        Rate(1, 1),
        help="messages in a time; Slack refuses more than about one a second",
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        hint = "copy it from Slack: https://hooks.slack.com/services/..."
        if not _host(self.url):
            yield "url", "is not a web address", hint
        yield from template_problems(self, TEMPLATES)

    @property
    def window(self) -> timedelta:
        return self.digest or timedelta()

    def described(self) -> str:
        return f"Slack at {_host(self.url)}"


class Slack:
    """Posts one message for each event, or one for several."""

    needs_reading: ClassVar[bool] = True

    def __init__(self, settings: SlackSettings) -> None:
        self._url = settings.url
        self._described = settings.described()
        self._templates = Templates(settings, TEMPLATES)
        from receiver.destinations.transport import Transport  # noqa: PLC0415 (aiohttp takes 0.2 s)

        self._transport = Transport(settings.concurrency)

    async def send(self, parcel: Parcel) -> Outcome:
        payload, note = await self._made(parcel)
        outcome = await self._post(payload, parcel.now)
        if self._templates and not note and outcome.permanent:
            note = outcome.detail
            payload = await self._built_in(parcel.event, note)
            outcome = await self._post(payload, parcel.now)
        return told(outcome, note)

    async def send_many(self, parcels: Sequence[Parcel]) -> Outcome:
        """One message about all of them; templates are for single events only."""
        if len(parcels) == 1:
            return await self.send(parcels[0])
        events = [parcel.event for parcel in parcels]
        size = sum(len(event.body) for event in events)
        message = await beside(size, compose_digest, events)
        return await self._post(blocks.payload(message), parcels[0].now)

    async def preview(self, parcel: Parcel) -> Preview:
        payload, note = await self._made(parcel)
        return Preview(
            headers=(("To", self._described),),
            text=blocks.readable(payload),
            payload=payload,
            note=noted(note) if note else "",
        )

    async def reach(self) -> Outcome | None:
        from receiver.destinations.reaching import reach  # noqa: PLC0415 (aiohttp takes 0.2 s)

        return await reach(self._url)

    async def close(self) -> None:
        await self._templates.close()
        await self._transport.close()

    async def _made(self, parcel: Parcel) -> tuple[Mapping[str, Any], str]:
        """The JSON to post; and why it is not what the templates make, if it is not."""
        if not self._templates:
            return await self._built_in(parcel.event, ""), ""
        try:
            return await self._own(parcel), ""
        except TemplateFailed as error:
            note = str(error)
            return await self._built_in(parcel.event, note), note

    async def _own(self, parcel: Parcel) -> Mapping[str, Any]:
        """
        Raises:
            TemplateFailed: a template failed, or made what Slack would refuse.
        """
        texts = await self._templates.render(parcel)
        made: dict[str, Any] = {}
        if "template" in texts:
            made = blocks.sections(texts["template"])
        if "blocks_template" in texts:
            if "template" not in texts:
                made["text"] = (await self._built_in(parcel.event, ""))["text"]
            made |= _parsed(texts["blocks_template"])
        return made

    async def _built_in(self, event: Event, note: str) -> Mapping[str, Any]:
        return await beside(len(event.body), render, event, note)

    async def _post(self, payload: Mapping[str, Any], now: datetime) -> Outcome:
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"content-type": "application/json; charset=utf-8"}
        reply = await self._transport.request("POST", self._url, headers, body)
        if isinstance(reply, Outcome):
            return reply
        said = clean(_without_path(reply.text, self._url), 500)  # cut, it would stay
        return _judged(reply, said, reply.retry_after_s(now))


def render(event: Event, note: str = "") -> dict[str, Any]:
    """The JSON of the built-in message; `note` is why it is not the user's own."""
    return blocks.payload(built_in(event, note))


def _parsed(text: str) -> Mapping[str, Any]:
    """
    What a template made, as the part of a message that it is.

    Raises:
        TemplateFailed: it is not JSON, not blocks, or more than Slack takes.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TemplateFailed(f"blocks_template: not JSON: {error}") from None
    except RecursionError:
        raise TemplateFailed("blocks_template: nested too deeply") from None
    made = {"blocks": found} if isinstance(found, list) else found
    wrong = blocks.fault(made)
    unknown = [] if wrong else [name for name in made if name not in _POSTED]
    if unknown:
        wrong = f"{clean(unknown[0], 40)!r} is not one of {', '.join(_POSTED)}"
    if wrong:
        raise TemplateFailed(f"blocks_template: {wrong}")
    return dict(made)


def _judged(reply: Reply, said: str, retry_after_s: float | None) -> Outcome:
    """What an answer means for this message and for this destination."""
    status = reply.status
    words = said.split(maxsplit=1)
    word = words[0].strip(".,:") if words else ""
    answer = f"Slack answered {status_words(status)}" + (
        f": {said[:100]}" if said else ""
    )
    if 200 <= status < 300:
        return Outcome(Result.OK, "posted", status, response=said)
    if status in RETRYABLE or status < 400:
        return Outcome(
            Result.HTTP_STATUS,
            answer,
            status,
            retry_after_s=retry_after_s,
            response=said,
        )
    if word in _ADVICE or status in _UNUSABLE:
        advice = _ADVICE.get(word, "the webhook does not exist: " + _NEW_WEBHOOK)
        pause = f"{answer}; {advice}"
        return Outcome(Result.REJECTED, answer, status, pause=pause, response=said)
    return Outcome(
        Result.REJECTED if status in _REFUSED else Result.HTTP_STATUS,
        answer,
        status,
        permanent=status in _REFUSED,
        response=said,
    )


def _host(url: str) -> str:
    """The host of a web address; empty where it is not one."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("https", "http") and parts.port != 0
    except ValueError:
        return ""
    return parts.hostname or "" if usable else ""


def _without_path(text: str, url: str) -> str:
    """What was answered, should it repeat the secret part of the address."""
    path = urlsplit(url).path
    return text.replace(path, "/***") if len(path) > 1 else text
