"""
Where a request comes from: whether a page of ours made it, and over what.

A browser says in `Sec-Fetch-Site` or `Origin` which site a form was on; neither can be
set by a page.  https://www.w3.org/TR/fetch-metadata/
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from receiver.settings import Server
from receiver.web.clients import is_one_of, networks, peer


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a page of another site made this request, as far as it says."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False  # no browser; the form's own token decides
    return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def is_secure(server: Server, request: Request) -> bool:
    """Whether it came over https, to us or to a proxy that we trust."""
    if request.url.scheme == "https":
        return True
    proxies = networks(server.trusted_proxies)
    said = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip()
    return said == "https" and is_one_of(peer(request), proxies)


def local_path(text: str) -> str:
    """Where to go after signing in, if that is a page of ours; else the first page."""
    path = text.partition("?")[0]
    ours = path == "/" or path.startswith("/ui/")
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if ours and plain and ".." not in path and len(text) < 2_000 else "/"
