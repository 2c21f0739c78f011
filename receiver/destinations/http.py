"""
Deliver to an HTTP endpoint, signed as Standard Webhooks.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The provider's body is forwarded byte for byte.  `webhook-id` is the event's id on
every attempt, so that the other side can tell a repeat.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.metadata import version
from typing import ClassVar
from urllib.parse import urlsplit

from receiver.destinations import Parcel
from receiver.destinations.replies import RETRYABLE, Reply, status_words
from receiver.models import Outcome, Result, Secret
from receiver.offload import beside
from receiver.settings import DestinationSettings, option
from receiver.signatures import standard_key, standard_signature

USER_AGENT = f"receiver/{version('receiver')}"
GONE = 410


@dataclass(frozen=True)
class HttpSettings(DestinationSettings):
    url: Secret = option(help="where to POST to", secret=True)
    secrets: tuple[Secret, ...] = option(
        (), help="whsec_... signing secrets; several while rotating", secret=True
    )
    forward_headers: tuple[str, ...] = option(
        (), help="the provider's headers to pass on, for a handler that checks them"
    )
    permanent: tuple[str, ...] = option(
        (), help='statuses that end a delivery at once: "404", or "4xx"'
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        if not _is_web_address(self.url):
            yield "url", "is not an http:// or https:// address", ""
        for i, secret in enumerate(self.secrets):
            try:
                standard_key(secret)
            except ValueError as error:
                hint = "`receiver init` makes one"
                yield f"secrets[{i}]", str(error), hint
        for i, pattern in enumerate(self.permanent):
            if len(pattern) != 3 or not pattern[0].isdecimal():
                yield (
                    f"permanent[{i}]",
                    f'"{pattern}" is no status',
                    'like "404" or "4xx"',
                )

    def described(self) -> str:
        parts = urlsplit(self.url)
        return f"POST {parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(standard_key(secret) for secret in self.secrets)


class Http:
    """Implements `receiver.destinations.Destination`."""

    needs_reading: ClassVar[bool] = False

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        from receiver.destinations.transport import Transport  # noqa: PLC0415 (aiohttp takes 0.2 s)

        self._transport = Transport(settings.concurrency)

    async def send(self, parcel: Parcel) -> Outcome:
        body = parcel.event.body
        headers = await beside(len(body), build_headers, self._settings, parcel)
        reply = await self._transport.request("POST", self._settings.url, headers, body)
        return (
            reply
            if isinstance(reply, Outcome)
            else classify(self._settings, parcel, reply)
        )

    async def close(self) -> None:
        await self._transport.close()


def build_headers(settings: HttpSettings, parcel: Parcel) -> Mapping[str, str]:
    """The request's headers: the provider's chosen ones, then ours, which win."""
    event, delivery = parcel.event, parcel.delivery
    wanted = (name.lower() for name in settings.forward_headers)
    headers = {name: event.headers[name] for name in wanted if name in event.headers}
    timestamp = int(parcel.now.timestamp())
    headers |= {
        "content-type": event.headers.get("content-type", "application/json"),
        "user-agent": USER_AGENT,
        "webhook-id": delivery.sent_as,
        "webhook-timestamp": str(timestamp),
        "receiver-source": event.source,
        "receiver-event-type": event.type,
        "receiver-attempt": str(parcel.number),
    }
    if settings.keys:
        headers["webhook-signature"] = standard_signature(
            settings.keys, delivery.sent_as, timestamp, event.body
        )
    if delivery.replay_id is not None:
        headers["receiver-replay"] = delivery.replay_id
    return {name: _one_line(value) for name, value in headers.items()}


def classify(settings: HttpSettings, parcel: Parcel, reply: Reply) -> Outcome:
    """Name the outcome of a reply: see the docs page on retries for the table."""
    status = reply.status
    if 200 <= status < 300:
        return Outcome(Result.OK, status_code=status, response=reply.text)
    words = status_words(status)
    if 300 <= status < 400:
        words += "; redirects are not followed, so configure the final address"
    permanent = status not in RETRYABLE and any(
        fnmatchcase(str(status), pattern.lower().replace("x", "?"))
        for pattern in settings.permanent
    )
    return Outcome(
        Result.HTTP_STATUS,
        words,
        status_code=status,
        retry_after_s=reply.retry_after_s(parcel.now),
        permanent=permanent,
        pause=f"answered {words}: it does not want webhooks any more"
        if status == GONE
        else "",
        response=reply.text,
    )


def _one_line(value: str) -> str:
    """A provider's type or header could hold anything; a header's value cannot."""
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in value)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
        )
    except ValueError:  # brackets that do not close, a port that is no number
        return False
