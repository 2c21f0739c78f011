"""
A Slack channel, through an incoming webhook.

`render` makes the message; it stays within Slack's limits whatever the event holds.
What Slack answers is a word in plain text, which decides between trying again, giving
up on this message, and giving the destination nothing more until somebody mends it.

Sources: https://docs.slack.dev/reference/block-kit/blocks and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from receiver.destinations import Parcel
from receiver.destinations.replies import RETRYABLE, Reply, status_words
from receiver.messages import Fact, Failure, Link, Message, Severity, compose
from receiver.messages.words import clean
from receiver.models import Event, Outcome, Result, Secret
from receiver.offload import beside
from receiver.settings import DestinationSettings, option

_HEADER = 150
_SUMMARY = 1000
_LIST = 2900
_FIELD = 250
_CONTEXT = 1200
_TEXT = 600
_FIELDS = 10
"""
With these the texts of one message come to fewer than 12,000 characters.

Single limits are higher (3,000 for a section, 2,000 for a field), but a message with
more than about 13,000 in all is refused: https://github.com/slackapi/bolt-js/issues/2509.
"""

_SYMBOLS = {
    Severity.GOOD: "✅",
    Severity.INFO: "🔵",
    Severity.WARNING: "⚠️",
    Severity.BAD: "❌",
}
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

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


@dataclass(frozen=True)
class SlackSettings(DestinationSettings):
    """A channel; Slack takes about one message a second for each."""

    url: Secret = option(help="the incoming webhook's address", secret=True)
    concurrency: int = option(1, help="attempts at a time", least=1)

    def problems(self) -> Iterable[tuple[str, str, str]]:
        hint = "copy it from Slack: https://hooks.slack.com/services/..."
        if not _host(self.url):
            yield "url", "is not a web address", hint

    def described(self) -> str:
        return f"Slack at {_host(self.url)}"


class Slack:
    """Posts one message for each event."""

    needs_reading: ClassVar[bool] = True

    def __init__(self, settings: SlackSettings) -> None:
        self._url = settings.url
        from receiver.destinations.transport import Transport  # noqa: PLC0415 (aiohttp takes 0.2 s)

        self._transport = Transport(settings.concurrency)

    async def send(self, parcel: Parcel) -> Outcome:
        event = parcel.event
        message = await beside(len(event.body), render, event)
        body = json.dumps(message, ensure_ascii=False).encode()
        headers = {"content-type": "application/json; charset=utf-8"}
        reply = await self._transport.request("POST", self._url, headers, body)
        if isinstance(reply, Outcome):
            return reply
        said = _without_path(clean(reply.text, 500), self._url)
        return _judged(reply, said, reply.retry_after_s(parcel.now))

    async def close(self) -> None:
        await self._transport.close()


def render(event: Event) -> dict[str, Any]:
    """The JSON that is posted: blocks, and a text for notifications."""
    message = compose(event)
    title = f"{_SYMBOLS[message.severity]} {message.title}"
    return {
        "text": _escaped(f"{title}: {message.summary}", _TEXT),
        "blocks": [block for block in _blocks(message, title) if block],
    }


def _blocks(message: Message, title: str) -> Iterable[dict[str, Any]]:
    header = {"type": "plain_text", "text": _escaped(title, _HEADER), "emoji": False}
    yield {"type": "header", "text": header}
    yield _section(_escaped(f"{message.status}. {message.summary}", _SUMMARY))
    failures = map(_failure_line, message.failures)
    yield _section(_listed("What went wrong", failures, message.more_failures))
    yield _fields((*message.counters, *message.credits)[:_FIELDS])
    links = map(_link_line, message.links)
    yield _section(_listed("Results", links, message.more_links))
    facts = "  |  ".join(f"{fact.label}: {fact.value}" for fact in message.facts)
    yield {"type": "context", "elements": [_mrkdwn(_escaped(facts, _CONTEXT))]}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)} if text else {}


def _fields(facts: Sequence[Fact]) -> dict[str, Any]:
    fields = [
        _mrkdwn(f"*{_escaped(f.label, 50)}*\n{_escaped(f.value, _FIELD - 53)}")
        for f in facts
    ]
    return {"type": "section", "fields": fields} if fields else {}


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: names and mentions in an event's own text are not made into links.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _failure_line(failure: Failure) -> str:
    kind = f" ({failure.kind})" if failure.kind else ""
    note = f" [{failure.note}]" if failure.note else ""
    words = _escaped(f"{failure.error}{kind}{note}", 500)
    return f"• *{_escaped(failure.item, 100)}*: {words}"


def _link_line(link: Link) -> str:
    url = "".join(_ESCAPES.get(ch, ch) for ch in link.url)
    return f"• <{url}|{_escaped(link.label.replace('|', '/'), 100)}>"


def _listed(title: str, lines: Iterable[str], more: int) -> str:
    """As many lines as there is room for, and a count of the others."""
    kept = [f"*{title}*"]
    room = _LIST - _length(kept[0]) - 40  # the last line needs room as well
    for line in lines:
        room -= _length(line) + 1
        if room < 0:
            more += 1
        else:
            kept.append(line)
    if more:
        kept.append(f"… and {more:,} more")
    return "\n".join(kept) if len(kept) > 1 else ""


def _escaped(text: str, limit: int) -> str:
    """`text` with `& < >` escaped, cut between characters to fit `limit` after it."""
    pieces = [_ESCAPES.get(ch, ch) for ch in text]
    if sum(map(_length, pieces)) <= limit:
        return "".join(pieces)
    room, kept = limit - 1, list[str]()
    for piece in pieces:
        room -= _length(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _length(text: str) -> int:
    """Counted as JavaScript does, which is never fewer than the characters."""
    return len(text.encode("utf-16-le")) // 2


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
