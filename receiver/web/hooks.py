"""
The source paths: the hot path, in front of everything else.

    look up the path -> read the body, bounded -> ingest.accept -> answer

Plain ASGI: a route and request object for each webhook would cost more than verifying
it.  Answers are `{"status": ..., "id": ...}` or `{"error": {"code", "message"}}`.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from receiver import clock, logs
from receiver.errors import Rejected, StoreError
from receiver.ingest import Answer, Intake
from receiver.models import Request
from receiver.offload import LARGE_BYTES
from receiver.providers import Provider
from receiver.providers.senders import Senders
from receiver.settings import Settings
from receiver.web.clients import client_address, networks
from receiver.web.cycle import WHOLE, whole

RETRY_AFTER = (b"retry-after", b"2")
"""With a 503: our senders' own schedules are seconds long, so ours is short too."""

DRAINED_BYTES = 16 * 1024 * 1024
"""How much of a body that is too large is read and thrown away before the answer."""

UNCOUNTED_BYTES = LARGE_BYTES
"""
A body up to this size always has room, so that large ones cannot keep it out: how many
there are at once is bounded by the connections.
"""

MAX_FIELDS = 100
"""Parameters in the query."""

_JSON = (b"content-type", b"application/json")
_JSON_LINE = b"%b: %b\r\n" % _JSON
_ALLOW = (b"allow", b"POST")
_ALLOW_BOTH = (b"allow", b"POST, OPTIONS")
_CLOSE = (b"connection", b"close")


class Hooks:
    """Answers requests to source paths."""

    def __init__(self, settings: Settings, intake: Intake, senders: Senders) -> None:
        self._intake = intake
        self._senders = senders
        self._waiting_bytes = 0
        self.stopping = False
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        self._max_body = settings.server.max_body_bytes
        self._max_waiting = settings.server.max_waiting_bytes
        self._proxies = networks(settings.server.trusted_proxies)

    def sender(self, path: str) -> Provider | None:
        """Who posts to this path, if it is a source's."""
        return self._senders.at(path)

    async def __call__(
        self, provider: Provider, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] != "POST":
            await _answer_method(provider, scope, send)
            return
        coming = _Coming()
        try:
            coming.headers, coming.query = _headers(scope), _query(scope)
            coming.client = self._client(provider, scope, coming.headers)
            body = await self._body(provider, coming, receive)
            if body is None:
                return  # the client went away
            answer = await self._intake.accept(provider, coming.request(body))
        except Rejected as rejected:
            close = (_CLOSE,) if rejected.code == "body_too_large" else ()
            await _error(send, rejected.status, rejected.code, rejected.message, *close)
        except StoreError as error:
            name = provider.source.name
            logs.get().error("store.failed", source=name, error=str(error))
            message = "it could not be stored; send it again"
            await _error(send, 503, "not_stored", message, RETRY_AFTER)
        else:
            text = _body_of(answer, provider)
            if WHOLE in scope.get("extensions", ()):
                headers = b"%bcontent-length: %d\r\n" % (_JSON_LINE, len(text))
                await send(whole(200, headers, text))
            else:
                await _answer(send, 200, text)
        finally:
            self._waiting_bytes -= coming.counted

    async def _body(
        self, provider: Provider, coming: "_Coming", receive: Receive
    ) -> bytes | None:
        """
        The whole body, counted once it is large; None if the client left.

        Raises:
            Rejected: it is too large, there is no room for it now, or its beginning
                shows that it cannot be authentic.
        """
        if self.stopping:
            raise Rejected(503, "stopping", "the receiver is stopping; send it again")
        length = coming.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body:
            raise await self._too_large(receive)
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            parts.append(part)
            coming.size += len(part)
            if coming.size > self._max_body:
                parts.clear()
                more = message.get("more_body", False)
                raise await self._too_large(receive, more=more)
            if coming.size > UNCOUNTED_BYTES:
                if not coming.counted:
                    beginning = coming.request(b"".join(parts))
                    self._intake.check_beginning(provider, beginning)
                self._count(coming)
            if not message.get("more_body", False):
                return part if len(parts) == 1 else b"".join(parts)

    def _client(
        self, provider: Provider, scope: Scope, headers: Mapping[str, str]
    ) -> str:
        """The sender's address, where the source asks for it."""
        if not provider.source.allow_ips:
            return ""
        peer = scope["client"][0] if scope.get("client") else ""
        return client_address(peer, headers.get("x-forwarded-for", ""), self._proxies)

    def _count(self, coming: "_Coming") -> None:
        """
        A body that has become large needs room.

        Raises:
            Rejected: there is none now.
        """
        self._waiting_bytes += coming.size - coming.counted
        coming.counted = coming.size
        if self._waiting_bytes > self._max_waiting:
            raise Rejected(503, "busy", "too much is being received; send it again")

    async def _too_large(self, receive: Receive, *, more: bool = True) -> Rejected:
        """
        Read on a little before answering: a client that is still sending when we
        close would see a reset connection instead of the answer.
        """
        left = DRAINED_BYTES
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message.get("more_body", False)  # not there once the client is gone
        limit = self._max_body
        return Rejected(413, "body_too_large", f"the body is larger than {limit} bytes")


class _Coming:
    """A request whose body is being read: how much is in memory, and counts as waiting."""

    __slots__ = ("client", "counted", "headers", "query", "size")

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self.query: Mapping[str, str] = {}
        self.client = ""
        self.size = self.counted = 0

    def request(self, body: bytes) -> Request:
        """With as much of the body as is there."""
        return Request(self.headers, self.query, body, clock.now(), self.client)


def _headers(scope: Scope) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            repeated.setdefault(name, [headers[name]]).append(value)
        else:
            headers[name] = value
    for name, values in repeated.items():
        headers[name] = ", ".join(values)
    return headers


def _query(scope: Scope) -> Mapping[str, str]:
    raw = scope["query_string"]
    if not raw:
        return {}
    text = raw.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        message = f"the URL has more than {MAX_FIELDS} parameters"
        raise Rejected(400, "malformed_query", message) from None
    return dict(pairs)


async def _answer_method(provider: Provider, scope: Scope, send: Send) -> None:
    if scope["method"] == "OPTIONS" and provider.asks_options:
        await _answer(send, 200, b'{"status":"ready"}', _ALLOW_BOTH)
        return
    name = provider.source.name
    message = (
        f"this is the webhook address of the source {name!r}: "
        "it takes signed POST requests, so register it with the provider"
    )
    head = scope["method"] == "HEAD"
    allow = _ALLOW_BOTH if provider.asks_options else _ALLOW
    await _error(send, 405, "method_not_allowed", message, allow, head=head)


def _body_of(answer: Answer, provider: Provider) -> bytes:
    if provider.answer:
        ours = {"status": answer.word, "outcome": answer.word, "id": answer.id}
        return json.dumps({**ours, **provider.answer}).encode()
    known = b',"id":"%s"' % answer.id.encode() if answer.id else b""
    return b'{"status":"%s"%s}' % (answer.word.encode(), known)


async def _error(
    send: Send,
    status: int,
    code: str,
    message: str,
    *headers: tuple[bytes, bytes],
    head: bool = False,
) -> None:
    if status == 503 and RETRY_AFTER not in headers:
        headers = (*headers, RETRY_AFTER)
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    await _answer(send, status, body, *headers, head=head)


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
    head: bool = False,
) -> None:
    length = (b"content-length", str(len(body)).encode())
    start: dict[str, Any] = {"type": "http.response.start", "status": status}
    await send(start | {"headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": b"" if head else body})
