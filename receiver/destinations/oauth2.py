"""
OAuth 2.0 access tokens by the client credentials grant, fetched when they are needed.

A token is used until shortly before it expires, and fetched once however many wait.

Sources: https://www.rfc-editor.org/rfc/rfc6749 (2.3.1, 4.4, 5.1 and 5.2) and, for what
a token looks like, https://www.rfc-editor.org/rfc/rfc6750 (2.1).
"""

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import quote_plus, urlencode

from receiver import clock
from receiver.destinations.replies import Reply, status_words
from receiver.models import Outcome, Result, Secret
from receiver.settings import option

LARGEST_ANSWER = 64 * 1024
"""Bytes; tokens of a few kilobytes exist."""

MARGIN_S = 60.0
"""A token is not used in its last minute, or last tenth where that is shorter."""

USUAL_S = 300.0
"""How long a token is used that does not say when it expires."""

TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""A bearer token (RFC 6750, 2.1)."""

_FOR_GOOD = frozenset(
    {"invalid_client", "invalid_scope", "unauthorized_client", "unsupported_grant_type"}
)
"""Errors that only somebody who mends something can end (RFC 6749, 5.2)."""


@dataclass(frozen=True)
class OAuth2:
    """Where tokens come from, and what for."""

    token_url: str = option(help="the address that gives tokens")
    client_id: str = option(help="who we are there")
    client_secret: Secret = option(help="what proves it", secret=True)
    scope: str = option("", help="what the token is for, separated by spaces")
    audience: str = option("", help="whom the token is for, where that is asked for")
    style: Literal["basic", "body"] = option(
        "basic", help="where id and secret are sent: as HTTP basic, or in the body"
    )


class Requests(Protocol):
    """What makes the requests: a `Transport`."""

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        whole: int = 0,
    ) -> Reply | Outcome: ...


class Tokens:
    """The token of one destination."""

    def __init__(self, settings: OAuth2, requests: Requests) -> None:
        self._settings = settings
        self._requests = requests
        self._fetching = asyncio.Lock()
        self._fetches = 0
        self._last: Secret | Outcome = Secret()
        self._good_until = 0.0

    async def token(self, now: datetime) -> Secret | Outcome:
        """A token that can be used, or why there is none; `now` is for `Retry-After`."""
        if self._is_good():
            return self._last
        seen = self._fetches
        async with self._fetching:
            if self._fetches == seen:  # nobody else fetched one while we waited
                self._last, seconds = await self._fetch(now)
                self._good_until = clock.monotonic() + seconds
                self._fetches += 1
            return self._last

    async def renewed(self, refused: Secret, now: datetime) -> Secret | Outcome:
        """Another token than the one that was refused."""
        if self._last == refused:
            self._good_until = 0.0
        return await self.token(now)

    def _is_good(self) -> bool:
        return isinstance(self._last, Secret) and clock.monotonic() < self._good_until

    async def _fetch(self, now: datetime) -> tuple[Secret | Outcome, float]:
        """The token and for how many seconds to use it, or why there is none."""
        headers, body = asking(self._settings)
        try:
            reply = await self._requests.request(
                "POST", self._settings.token_url, headers, body, whole=LARGEST_ANSWER
            )
        except asyncio.CancelledError as error:
            error.add_note("for a token")
            raise
        if isinstance(reply, Outcome):
            return _told_apart(reply), 0.0
        return understood(reply, now)


def asking(settings: OAuth2) -> tuple[Mapping[str, str], bytes]:
    """Headers and body of a request for a token (RFC 6749, 4.4.2)."""
    fields = {"grant_type": "client_credentials"}
    if settings.scope:
        fields["scope"] = settings.scope
    if settings.audience:
        fields["audience"] = settings.audience
    headers = {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
    }
    if settings.style == "body":
        fields["client_id"] = settings.client_id
        fields["client_secret"] = settings.client_secret
    else:
        user, secret = (
            quote_plus(settings.client_id),
            quote_plus(settings.client_secret),
        )
        headers["authorization"] = basic(f"{user}:{secret}")
    return headers, urlencode(fields).encode()


def understood(reply: Reply, now: datetime) -> tuple[Secret | Outcome, float]:
    """
    What an answer to `asking` holds (RFC 6749, 5).

    Nothing of its text is shown: it may hold a token, or what it was sent.
    """
    try:
        said: Any = json.loads(reply.text)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    if not 200 <= reply.status < 300:
        return _refused(reply, str(said.get("error", "")), now), 0.0
    token = said.get("access_token")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        return Outcome(Result.ERROR, "the token endpoint gave no usable token"), 0.0
    return Secret(token), _usable_for(said.get("expires_in"))


def basic(user_and_password: str) -> str:
    """The header `authorization` of HTTP basic (RFC 7617)."""
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def _usable_for(expires_in: object) -> float:
    """Seconds; some servers write the number as a text."""
    try:
        seconds = float(expires_in)  # type: ignore[arg-type] # what it raises is caught
    except (TypeError, ValueError):
        return USUAL_S
    return max(0.0, seconds - min(MARGIN_S, seconds / 10))


def _refused(reply: Reply, error: str, now: datetime) -> Outcome:
    answer = f"the token endpoint answered {status_words(reply.status)}"
    if reply.status == 401 or (reply.status == 400 and error in _FOR_GOOD):
        wrong = f"{answer}: {error}" if error in _FOR_GOOD else answer
        pause = f"{wrong}; correct `oauth2`, or what the client may do there"
        return Outcome(Result.REJECTED, wrong, pause=pause)
    return Outcome(
        Result.HTTP_STATUS,
        answer,
        status_code=reply.status,
        retry_after_s=reply.retry_after_s(now),
    )


def _told_apart(outcome: Outcome) -> Outcome:
    return replace(outcome, detail=f"the token endpoint: {outcome.detail}")
