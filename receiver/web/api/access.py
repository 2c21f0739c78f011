"""Who may use the API: bearer tokens, compared in constant time."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request

from receiver.settings import Server
from receiver.web.api.problems import Problem

_REALM = {"www-authenticate": 'Bearer realm="receiver"'}


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who was let in: `name` is what the audit says."""

    name: str
    may_write: bool


CONTROL = Who("control socket", may_write=True)
"""Whoever may write to the socket beside the store is its owner."""


def by_token(server: Server, request: Request) -> Who:
    """
    Who sends this request's `Authorization` header.

    Raises:
        Problem: nobody we know, or nobody is let in at all; 401.
    """
    if not any(True for _ in tokens(server)):
        message = (
            "the API is off: set admin_token in [server], "
            "for example to what this prints: openssl rand -hex 32; then restart"
        )
        raise Problem(401, "api_off", message, _REALM)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = who_has(server, token.strip())
    if scheme.lower() != "bearer" or found is None:
        wrong = "this token is not known" if token else "a bearer token is needed"
        message = f"{wrong}: Authorization: Bearer <admin_token or a read token>"
        raise Problem(401, "unauthorized", message, _REALM)
    return found


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
