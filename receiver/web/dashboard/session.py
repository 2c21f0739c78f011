"""
Sessions: a cookie that says who was let in, and until when (pure).

The cookie is signed with a key made from the token that was given.  Nothing is kept: it
holds for 12 hours, or until that token is changed.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.clock import from_ms, to_ms
from receiver.settings import Server
from receiver.web.api.access import Who, tokens

LASTS = timedelta(hours=12)
LONGEST = 200
"""Characters in a cookie; ours have about a hundred."""


@dataclass(frozen=True, slots=True)
class Session:
    """
    Somebody who is signed in.

    `cookie` proves it, and must not be shown; `form_token` proves that a form was ours.
    """

    who: Who
    ends_at: datetime
    cookie: str
    form_token: str


def begun(server: Server, token: str, now: datetime) -> Session | None:
    """A session for whose token this is; None: nobody's."""
    given, found = token.encode(errors="surrogatepass"), None
    for known, who in tokens(server):  # all of them: the time taken tells nothing
        if hmac.compare_digest(known, given):
            found = (known, who)
    if found is None:
        return None
    said = f"{to_ms(now + LASTS)}.{secrets.token_urlsafe(18)}"
    return _session(*found, said)


def of_cookie(server: Server, cookie: str, now: datetime) -> Session | None:
    """The session that a cookie proves; None: it is forged, over, or there is none."""
    said, _, _ = cookie.rpartition(".")
    ends, _, _ = said.partition(".")
    plain = cookie.isascii() and len(cookie) <= LONGEST
    if not plain or not ends.isdigit():
        return None
    if len(ends) > 14 or from_ms(int(ends)) <= now:
        return None
    found = None
    for token, who in tokens(server):
        session = _session(token, who, said)
        if hmac.compare_digest(session.cookie, cookie):
            found = session
    return found


def is_ours(session: Session, form_token: str) -> bool:
    """Whether a form with this token was made for this session."""
    given = form_token.encode(errors="surrogatepass")
    return hmac.compare_digest(session.form_token.encode(), given)


def _session(token: bytes, who: Who, said: str) -> Session:
    ends = from_ms(int(said.partition(".")[0]))
    cookie = f"{said}.{_signature(token, 'session', said)}"
    return Session(who, ends, cookie, _signature(token, "form", said))


def _signature(token: bytes, what: str, said: str) -> str:
    key = hmac.digest(token, b"receiver: sessions of the dashboard", "sha256")
    return hmac.digest(key, f"{what}:{said}".encode(), "sha256").hex()
