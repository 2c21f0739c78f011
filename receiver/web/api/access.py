"""Who may use the API: bearer tokens, compared in constant time, not often if wrong."""

import hmac
import math
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request

from receiver import clock, logs
from receiver.settings import Server
from receiver.web.api.problems import Problem
from receiver.web.attempts import Attempts
from receiver.web.clients import address

_REALM = {"www-authenticate": 'Bearer realm="receiver"'}


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who was let in: `name` is what the audit says."""

    name: str
    may_write: bool


CONTROL = Who("control socket", may_write=True)
"""Whoever may write to the socket beside the store is its owner."""


SHORTEST = 16
FEWEST_DIFFERENT = 6
"""Characters of a token that is no warning: `openssl rand -hex 32` has 64, of 16."""


def by_token(server: Server, attempts: Attempts, request: Request) -> Who:
    """
    Who sends this request's `Authorization` header.

    Raises:
        Problem: nobody we know, or nobody is let in at all; 401.  After several wrong
            tokens 429: until then nothing from there is listened to.
    """
    if not any(True for _ in tokens(server)):
        message = (
            "the API is off: set admin_token in [server], "
            "for example to what this prints: openssl rand -hex 32; then restart"
        )
        raise Problem(401, "api_off", message, _REALM)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("a bearer token is needed")
    client, now = address(server, request), clock.monotonic()
    wait_s = math.ceil(attempts.wait_s(client, now))
    if wait_s:
        message = f"too many wrong tokens: try again in {wait_s} s"
        headers = {"retry-after": str(wait_s)}
        raise Problem(429, "too_many_wrong_tokens", message, headers)
    found = who_has(server, token.strip())
    if found is None:
        attempts.failed(client, now)
        logs.get().warning("api.refused", client=client)
        raise _unauthorized("this token is not known")
    attempts.succeeded(client)
    return found


def _unauthorized(why: str) -> Problem:
    message = f"{why}: Authorization: Bearer <admin_token or a read token>"
    return Problem(401, "unauthorized", message, _REALM)


def who_has(server: Server, token: str) -> Who | None:
    """Whose token it is."""
    given, found = token.encode(errors="surrogatepass"), None
    for known, who in tokens(server):  # all of them: the time taken tells nothing
        if hmac.compare_digest(known, given):
            found = who
    return found


def tokens(server: Server) -> Iterator[tuple[bytes, Who]]:
    """Every token there is, and whose it is; none: nobody is let in."""
    if server.admin_token:
        yield server.admin_token.encode(), Who("admin token", may_write=True)
    for i, token in enumerate(server.read_tokens, start=1):
        yield token.encode(), Who(f"read token {i}", may_write=False)


def weaknesses(server: Server) -> Iterator[tuple[str, str]]:
    """Tokens that somebody may guess: (key path, sentence) each, without the token."""
    given = [("server.admin_token", server.admin_token or "")]
    given += [
        (f"server.read_tokens[{i}]", token)
        for i, token in enumerate(server.read_tokens)
    ]
    for key, token in given:
        if token and len(token) < SHORTEST:
            yield key, f"has fewer than {SHORTEST} characters: {_BETTER}"
        elif token and len(set(token)) < FEWEST_DIFFERENT:
            yield key, f"has fewer than {FEWEST_DIFFERENT} different ones: {_BETTER}"


_BETTER = "it may be guessed; make one with openssl rand -hex 32"
