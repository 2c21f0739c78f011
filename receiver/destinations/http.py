"""
Deliver to an HTTP endpoint, signed as Standard Webhooks.

    evaluate -> assemble -> request -> name the outcome

By default the provider's body is forwarded byte for byte.  `webhook-id` is the event's
id on every attempt, so that the other side can tell a repeat.
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from receiver.destinations import Parcel, Preview
from receiver.destinations.addresses import Guard
from receiver.destinations.computing import Computer, Unavailable, Uncomputable
from receiver.destinations.http_settings import HttpSettings
from receiver.destinations.oauth2 import Tokens
from receiver.destinations.replies import RETRYABLE, Reply, status_words
from receiver.destinations.request import Rendered, asked, assemble, hide
from receiver.models import Outcome, Result
from receiver.offload import beside

__all__ = ["Http", "HttpSettings", "classify"]

UNAUTHORIZED = 401
GONE = 410


class Http:
    """Implements `receiver.destinations.Destination`."""

    def __init__(self, settings: HttpSettings) -> None:
        from receiver.destinations.transport import Dialling, Transport  # noqa: PLC0415 (aiohttp takes 0.2 s)

        self._settings = settings
        self._computer = Computer()
        read_timeout = settings.read_timeout
        dialling = Dialling(
            guard=Guard(settings.allow_hosts, settings.denies_private),
            tls=settings.tls,
            connect_s=settings.connect_timeout.total_seconds(),
            read_s=read_timeout.total_seconds() if read_timeout else None,
        )
        self._dialling = dialling
        self._transport = Transport(settings.concurrency, dialling)
        # The address of tokens is always a literal one, so it may be anywhere.
        self._token_transport = Transport(1, replace(dialling, guard=Guard()))
        self._tokens = (
            Tokens(settings.oauth2, self._token_transport) if settings.oauth2 else None
        )

    @property
    def needs_reading(self) -> bool:
        return bool(self._settings.expressions)

    async def send(self, parcel: Parcel) -> Outcome:
        settings = self._settings
        try:
            request = await self._rendered(parcel)
        except Uncomputable as error:
            wrong = hide(str(error), settings.hidden)
            return Outcome(Result.BAD_CONFIG, wrong, permanent=True)
        except Unavailable as error:
            return Outcome(Result.ERROR, str(error))
        reply = await self._reply(request, parcel)
        if isinstance(reply, Outcome):
            return reply
        return classify(settings, parcel, reply)

    async def preview(self, parcel: Parcel) -> Preview:
        try:
            request = (await self._rendered(parcel)).masked()
        except (Uncomputable, Unavailable) as error:
            return Preview((), "", note=hide(str(error), self._settings.hidden))
        body = request.body.decode("utf-8", "replace")
        return Preview(
            headers=((request.method, request.url), *request.headers.items()),
            text=body,
            payload={
                "method": request.method,
                "url": request.url,
                "headers": request.headers,
                "body": body,
            },
        )

    async def reach(self) -> Outcome | None:
        from receiver.destinations.reaching import reach  # noqa: PLC0415 (aiohttp takes 0.2 s)

        settings, found = self._settings, None
        if settings.oauth2:
            beyond = replace(self._dialling, guard=Guard())
            found = await reach(settings.oauth2.token_url, beyond)
            if not found.ok:
                return replace(found, detail=f"for a token: {found.detail}")
        if settings.literal_url:
            found = await reach(settings.literal_url, self._dialling)
        return found

    async def close(self) -> None:
        await self._computer.close()
        await self._transport.close()
        await self._token_transport.close()

    async def _rendered(self, parcel: Parcel) -> Rendered:
        event, settings = parcel.event, self._settings
        computed = await self._computer.compute(asked(settings, parcel), event)
        size = len(event.body if computed.body is None else computed.body)
        return await beside(size, assemble, settings, parcel, computed)

    async def _reply(self, request: Rendered, parcel: Parcel) -> Reply | Outcome:
        """What is answered; where our token is refused, what is answered to another."""
        if self._tokens is None:
            return await self._request(request, request.headers)
        token = await self._tokens.token(parcel.now)
        if isinstance(token, Outcome):
            return token
        reply = await self._request_with(request, token)
        if isinstance(reply, Outcome) or reply.status != UNAUTHORIZED:
            return reply
        token = await self._tokens.renewed(token, parcel.now)
        if isinstance(token, Outcome):
            return token
        return await self._request_with(request, token)

    async def _request_with(self, request: Rendered, token: str) -> Reply | Outcome:
        headers = {**request.headers, "authorization": f"Bearer {token}"}
        reply = await self._request(request, headers)
        if isinstance(reply, Outcome):
            return reply
        return replace(reply, text=hide(reply.text, [token]))

    async def _request(
        self, request: Rendered, headers: Mapping[str, str]
    ) -> Reply | Outcome:
        return await self._transport.request(
            request.method, request.url, headers, request.body
        )


def classify(settings: HttpSettings, parcel: Parcel, reply: Reply) -> Outcome:
    """Name the outcome of a reply: see the docs page on retries for the table."""
    status = reply.status
    said = hide(reply.text, settings.hidden)
    if 200 <= status < 300:
        return Outcome(Result.OK, status_code=status, response=said)
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
        response=said,
    )
