"""
What an `http` destination can be told, and what of it cannot work.

`method`, `url`, `headers` and `body` are either meant as they are written or CEL
expressions; how one is told from the other is said here and nowhere else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from receiver.destinations.addresses import is_pattern, matches
from receiver.destinations.oauth2 import TOKEN, OAuth2, basic
from receiver.destinations.tls import Tls
from receiver.expressions import MORE_NAMES, NAMES, ExpressionError, compile_value
from receiver.models import Secret
from receiver.settings import DestinationSettings, option
from receiver.settings.model import A_MOMENT
from receiver.signatures import standard_key

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

RESERVED = frozenset(
    {
        *("connection", "content-length", "host", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
)
"""Headers that follow from the request itself; nobody sets them."""

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LEAST_TELLING = 8
"""Characters; a shorter value in an address, like `true`, is in many answers."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NAMES = sorted({name.partition(".")[0] for name in (*NAMES, *MORE_NAMES)} | {"vars"})
_LOOKS_LIKE_CEL = re.compile(rf"""["']|\b({"|".join(_NAMES)})\b""")

Wrong = tuple[str, str, str]


@dataclass(frozen=True)
class HttpSettings(DestinationSettings):
    method: str = option("POST", help="the request's method, or CEL that gives one")
    url: Secret = option(
        help="where to: an http:// or https:// address, or CEL that gives one",
        secret=True,
    )
    headers: Secret | Mapping[str, Secret] = option(
        dict, help="headers to add: a table, or CEL that gives one", secret=True
    )
    body: Secret | None = option(
        None, help="CEL that gives the body; by default what the provider sent"
    )
    vars: Mapping[str, Secret] = option(
        dict,
        help="texts that the CEL of this destination sees as vars.NAME",
        secret=True,
    )
    bearer: Secret | None = option(
        None, help="a token, sent as Authorization: Bearer", secret=True
    )
    basic: Secret | None = option(
        None, help="user:password, sent as Authorization: Basic", secret=True
    )
    oauth2: OAuth2 | None = option(
        None, help="where to get tokens, by OAuth 2.0 client credentials"
    )
    client_cert: Path | None = option(
        None, help="our certificate (PEM), for servers that want one"
    )
    client_key: Path | None = option(
        None, help="its key (PEM), unless client_cert holds that, too"
    )
    ca_file: Path | None = option(
        None, help="certificates (PEM) to trust instead of the system's"
    )
    allow_hosts: tuple[str, ...] = option(
        (), help='the only hosts it may go to: "api.example.com", "*.example.com"'
    )
    deny_private: bool | None = option(
        None,
        help="go to no private address (this machine, local networks, clouds' "
        "metadata); by default only if the URL is CEL",
    )
    connect_timeout: timedelta = option(
        timedelta(seconds=5),
        help="for looking up the name, connecting and TLS",
        least=A_MOMENT,
    )
    read_timeout: timedelta | None = option(
        None, help="for silence of the other side; by default timeout", least=A_MOMENT
    )
    secrets: tuple[Secret, ...] = option(
        (), help="whsec_... signing secrets; several while rotating", secret=True
    )
    forward_headers: tuple[str, ...] = option(
        (), help="the provider's headers to pass on, for a handler that checks them"
    )
    permanent: tuple[str, ...] = option(
        (), help='statuses that end a delivery at once: "404", or "4xx"'
    )

    def problems(self) -> Iterable[Wrong]:
        yield from self._wrong_vars()
        yield from self._wrong_expressions()
        if self.literal_url and not is_web_address(self.url):
            yield "url", "is not an http:// or https:// address", ""
        yield from self._wrong_headers()
        yield from self._wrong_authorization()
        yield from self._wrong_hosts()
        yield from self.tls.problems()
        for i, secret in enumerate(self.secrets):
            try:
                standard_key(secret)
            except ValueError as error:
                yield f"secrets[{i}]", str(error), "`receiver init` makes one"
        for i, pattern in enumerate(self.permanent):
            if len(pattern) != 3 or not pattern[0].isdecimal():
                message = f'"{pattern}" is no status'
                yield f"permanent[{i}]", message, 'like "404" or "4xx"'

    def described(self) -> str:
        return f"{self.literal_method or '(expression)'} {self._place}"

    @cached_property
    def literal_method(self) -> str:
        """Empty if it is an expression."""
        method = self.method.upper()
        return method if method in METHODS else ""

    @cached_property
    def literal_url(self) -> str:
        """Empty if it is an expression."""
        return self.url if self.url.startswith(("http://", "https://")) else ""

    @cached_property
    def expressions(self) -> Mapping[str, str]:
        """The settings that are CEL, by name."""
        found = {
            "method": "" if self.literal_method else self.method,
            "url": "" if self.literal_url else self.url,
            "headers": "" if isinstance(self.headers, Mapping) else self.headers,
            "body": self.body or "",
        }
        return {name: text for name, text in found.items() if text}

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """`vars`, by the names that expressions know them by."""
        return {f"vars.{name}": value for name, value in self.vars.items()}

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(standard_key(secret) for secret in self.secrets)

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """What must not be shown wherever a request or an answer is."""
        values: list[str] = [*self.vars.values(), self.bearer or ""]
        if self.basic:
            values += [self.basic.partition(":")[2], basic(self.basic).split()[1]]
        if self.oauth2:
            values.append(self.oauth2.client_secret)
        if isinstance(self.headers, Mapping):
            values += self.headers.values()
        if self.literal_url:
            parts = urlsplit(self.literal_url)
            values += [parts.path, *_of_query(parts), *_of_user(parts)]
        return tuple(value for value in values if value not in ("", "/"))

    @cached_property
    def authorization(self) -> str:
        """The header's value; empty without one that stays the same."""
        if self.bearer:
            return f"Bearer {self.bearer}"
        return basic(self.basic) if self.basic else ""

    @property
    def tls(self) -> Tls:
        return Tls(self.client_cert, self.client_key, self.ca_file)

    @property
    def denies_private(self) -> bool:
        if self.deny_private is None:
            return not self.literal_url
        return self.deny_private

    @property
    def _place(self) -> str:
        return without_path(self.literal_url) if self.literal_url else "(expression)"

    def _wrong_vars(self) -> Iterator[Wrong]:
        for name in self.vars:
            if not _NAME.fullmatch(name):
                hint = "letters, digits and _, not beginning with a digit"
                yield f"vars.{name}", "is no name that CEL knows", hint

    def _wrong_expressions(self) -> Iterator[Wrong]:
        for name, text in self.expressions.items():
            try:
                compile_value(text, frozenset(self.texts))
            except ExpressionError as error:
                if name == "url" and not _is_meant_as_cel(text):
                    # It may be a secret address with a slip in it: quote nothing.
                    yield name, "is not an http:// or https:// address, nor CEL", ""
                else:
                    yield name, str(error), error.hint

    def _wrong_headers(self) -> Iterator[Wrong]:
        if not isinstance(self.headers, Mapping):
            return
        for name, value in self.headers.items():
            key = f"headers.{name}"
            if not HEADER.fullmatch(name):
                yield key, "is no name for a header", ""
            elif name.lower() in RESERVED:
                yield key, "follows from the request itself, and cannot be set", ""
            if not (value.isascii() and value.replace("\t", " ").isprintable()):
                yield key, "has a character that no header can", ""

    def _wrong_authorization(self) -> Iterator[Wrong]:
        ways = [name for name in ("bearer", "basic", "oauth2") if getattr(self, name)]
        if isinstance(self.headers, Mapping):
            names = (name for name in self.headers if name.lower() == "authorization")
            ways += [f"headers.{name}" for name in names]
        if ways and _has_user(self.literal_url):
            yield ways[0], "the url has a user already", "leave one of them out"
        for way in ways[1:]:
            yield way, f"there is {ways[0]} already", "leave one of them out"
        if self.bearer and not TOKEN.fullmatch(self.bearer):
            yield "bearer", "has a character that no token can", ""
        if self.basic and not re.fullmatch(r"[^:\x00-\x1f]+:[^\x00-\x1f]*", self.basic):
            yield "basic", "is not user:password", ""
        if self.oauth2 and not is_web_address(self.oauth2.token_url):
            message = "is not an http:// or https:// address"
            yield "oauth2.token_url", message, ""

    def _wrong_hosts(self) -> Iterator[Wrong]:
        wrong = False
        for i, pattern in enumerate(self.allow_hosts):
            if not is_pattern(pattern):
                wrong = True
                hint = 'like "api.example.com" or "*.example.com"'
                yield f"allow_hosts[{i}]", f'"{pattern}" is no host', hint
        if wrong or not (self.allow_hosts and is_web_address(self.literal_url)):
            return
        host = urlsplit(self.literal_url).hostname or ""
        if not matches(host, self.allow_hosts):
            yield "allow_hosts", f"does not name {host}, the host of url", ""


def is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
        )
    except ValueError:  # brackets that do not close, a port that is no number
        return False


def without_path(url: str) -> str:
    """The address's scheme, host and port; what follows may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."


def _of_query(parts: SplitResult) -> Iterator[str]:
    """The query as it is, and what in it is too long to be a word like any other."""
    yield parts.query
    for _, value in parse_qsl(parts.query):
        if len(value) >= LEAST_TELLING:
            yield value


def _of_user(parts: SplitResult) -> Iterator[str]:
    """The password, or who has none, as it is written and as it is sent."""
    user, password = parts.username or "", parts.password or ""
    if user or password:
        yield password or user
        yield unquote(password or user)
        yield basic(f"{unquote(user)}:{unquote(password)}").split()[1]


def _has_user(url: str) -> bool:
    return "@" in urlsplit(url).netloc if is_web_address(url) else False


def _is_meant_as_cel(text: str) -> bool:
    return bool(_LOOKS_LIKE_CEL.search(text)) and not _SCHEME.match(text)
