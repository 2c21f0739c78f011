"""
HTTP requests as people paste them: raw, or out of `curl -v`, mitmproxy or `nc -l` (pure).

    request line, headers, an empty line, the body

Line ends before the body may be CR LF or LF.  The request line may be missing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_REQUEST_LINE = re.compile(r"(?:[A-Z]{3,10}) (\S+)(?: HTTP/\d(?:\.\d)?)?\s*", re.ASCII)
_HEADER = re.compile(r"(:?[!#$%&'*+.^_`|~\w-]+)\s*:(.*)", re.ASCII | re.DOTALL)
_BLANK = re.compile(rb"\r?\n[ \t]*\r?\n")
_CURL_SAYS = (b"* ", b"< ", b"{ [", b"} [", b"*\r", b"<\r")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,1000}\r?\n")
_MOST_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Pasted:
    """
    A request; `query` is None where no request line says it, `notes` are what was done
    to its body.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str] | None
    body: bytes
    notes: tuple[str, ...] = ()


def parse_request(raw: bytes) -> Pasted:
    """
    A whole request.

    Raises:
        ValueError: it cannot be understood; the message says why.
    """
    raw = raw.lstrip(b"\r\n")
    if any(line.startswith(b"> ") for line in raw.split(b"\n", 50)[:50]):
        raw = _from_curl(raw)
    parted = _BLANK.search(raw)
    head, body = (
        (raw, b"") if parted is None else (raw[: parted.start()], raw[parted.end() :])
    )
    headers, query = parse_head(head)
    body, notes = _framed(headers, body)
    return Pasted(headers, query, body, notes)


def parse_head(head: bytes) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
    """
    Headers, a request line before them or not; and the query, where that says it.

    Raises:
        ValueError: a line is neither.
    """
    lines = _unfolded(head.decode("latin-1").splitlines())
    query: Mapping[str, str] | None = None
    first = _REQUEST_LINE.fullmatch(lines[0]) if lines else None
    if first is not None:
        query = _query(first[1])
        lines = lines[1:]
    pairs = [_pair(line) for line in lines if line.strip()]
    for name, value in pairs:
        if name == ":path":  # as HTTP/2 and mitmproxy have it
            query = _query(value)
    if not pairs:
        raise ValueError("there are no headers in it")
    return joined(pair for pair in pairs if not pair[0].startswith(":")), query


def joined(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Headers as the intake has them: lower-case names, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _pair(line: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise ValueError(
            f"{line[:20]!r}... is no header; expected are a request line, headers as "
            "`Name: value`, an empty line and the body"
        )
    return found[1].lower(), found[2].strip()


def _unfolded(lines: Iterable[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if found and line[:1] in (" ", "\t") and line.strip():
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    return found


def _query(target: str) -> Mapping[str, str]:
    text = urlsplit(target).query
    return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))


def _from_curl(raw: bytes) -> bytes:
    """What `curl -v` sent: its `> ` lines, and then what it does not say itself."""
    sent: list[bytes] = []
    rest: list[bytes] = []
    for line in raw.splitlines(keepends=True):
        bare = line.strip(b"\r\n")
        if line.startswith(b"> ") or bare == b">":
            sent.append(bare[2:] if line.startswith(b"> ") else b"")
        elif not line.startswith(_CURL_SAYS) and bare not in (b"*", b"<"):
            rest.append(line)
    while sent and not sent[-1]:
        sent.pop()
    return b"\n".join(sent) + b"\n\n" + b"".join(rest).lstrip(b"\r\n")


def _framed(headers: Mapping[str, str], body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The body as its headers say where it ends, and what was noticed."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        decoded = _dechunked(body)
        if decoded is None:
            return body, ("the body is not in chunks as it says, and taken as it is",)
        return decoded, ()
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        note = "no Content-Length says where the body ends: a newline may be too much"
        return body, (note,) if body.endswith(b"\n") else ()
    length = int(said)
    if len(body) > length:
        left_out = f"{len(body) - length:,} bytes after Content-Length's are left out"
        return body[:length], (left_out,) if body[length:].strip() else ()
    if len(body) < length:
        return body, (f"Content-Length says {length:,} bytes, {len(body):,} are there",)
    return body, ()


def _dechunked(body: bytes) -> bytes | None:
    """None if these are no chunks."""
    parts: list[bytes] = []
    at = 0
    while True:
        found = _CHUNK.match(body, at)
        if found is None:
            return None
        size = int(found[1], 16)
        if size == 0:
            return b"".join(parts)
        start, at = found.end(), found.end() + size
        parts.append(body[start:at])
        if len(body) < at:
            return None
        at += 2 if body[at : at + 2] == b"\r\n" else 1
