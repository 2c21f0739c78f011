"""
What an `http` destination can be told, and what of it cannot work.

`method`, `url`, `headers` and `body` are either meant as they are written or CEL
expressions; how one is told from the other is said here and nowhere else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from receiver.expressions import MORE_NAMES, NAMES, ExpressionError, compile_value
from receiver.models import Secret
from receiver.settings import DestinationSettings, option
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
        if isinstance(self.headers, Mapping):
            for name, value in self.headers.items():
                yield from _wrong_header(name, value)
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

    @property
    def literal_method(self) -> str:
        """Empty if it is an expression."""
        method = self.method.upper()
        return method if method in METHODS else ""

    @property
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
        values: list[str] = [*self.vars.values()]
        if isinstance(self.headers, Mapping):
            values += self.headers.values()
        if self.literal_url:
            parts = urlsplit(self.literal_url)
            values += [parts.path, parts.query, parts.password or ""]
        return tuple(value for value in values if value not in ("", "/"))

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


def _wrong_header(name: str, value: str) -> Iterator[Wrong]:
    key = f"headers.{name}"
    if not HEADER.fullmatch(name):
        yield key, "is no name for a header", ""
    elif name.lower() in RESERVED:
        yield key, "follows from the request itself, and cannot be set", ""
    if not (value.isascii() and value.replace("\t", " ").isprintable()):
        yield key, "has a character that no header can", ""


def _is_meant_as_cel(text: str) -> bool:
    return bool(_LOOKS_LIKE_CEL.search(text)) and not _SCHEME.match(text)
