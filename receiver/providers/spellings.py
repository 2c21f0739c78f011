"""
Bodies as a sender may have written them before something on the way wrote them anew.

A signature is over bytes.  Whatever parses JSON and writes it again keeps its meaning
and loses its bytes; but there are only so many ways to write it, so the one that was
signed can often be found again.  Pure, and bounded by the bytes it makes.
"""

import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote_plus

MOST_BYTES = 40 * 1024 * 1024
"""Of all spellings of one body together; the likely ones come first."""

MOST_INFLATED = 8 * 1024 * 1024
"""Of a body that is compressed."""

REWRITTEN = (
    "something on the way parsed the JSON and wrote it anew (a proxy, a framework, a "
    "rule that inspects bodies), or it was copied out of a tool that shows it "
    "formatted: pass on the raw bytes as they came, and keep those to look at"
)
LINES = (
    "something on the way changed line ends, or an editor or `echo` did when the body "
    "was saved: pass on, and save, the bytes as they came"
)
MARK = (
    "a program that adds or removes byte order marks had it in its hands: pass on the "
    "bytes as they came"
)
WRAPPED = (
    "sender and receiver do not mean the same by the body: let the sender post JSON "
    "(`application/json`), and nothing on the way unpack forms"
)
RECODED = (
    "something on the way took the text for another character set: pass on bytes, not "
    "text"
)
INFLATED = (
    "the body came compressed and was signed before: switch compression off at the "
    "sender or the proxy that adds it"
)
EMPTY = (
    "whatever signs has no body to sign: at the sender, the body was read before or is "
    "set after signing"
)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way of writing a body: as what (`the body is ...`), why, and the bytes."""

    words: str
    advice: str
    body: bytes


def spellings(body: bytes) -> Iterator[Spelling]:
    """Other ways of writing it, each once, the likely ones first."""
    seen = {body}
    left = MOST_BYTES
    for spelling in _all(body):
        if spelling.body in seen:
            continue
        seen.add(spelling.body)
        left -= len(spelling.body)
        if left < 0:
            return
        yield spelling


def _all(body: bytes) -> Iterator[Spelling]:
    unmarked, bare = body.removeprefix(BOM_UTF8), body.rstrip(b"\r\n")
    yield Spelling("without a byte order mark", MARK, unmarked)
    yield Spelling("without the newline at its end", LINES, bare)
    yield Spelling("with a newline at its end", LINES, bare + b"\n")
    yield from _json(body)
    yield from _line_ends(body)
    yield from _forms(body)
    yield from _encodings(body)
    yield Spelling("empty", EMPTY, b"")


def _line_ends(body: bytes) -> Iterator[Spelling]:
    yield Spelling("with CR LF at its end", LINES, body.rstrip(b"\r\n") + b"\r\n")
    yield Spelling("without the white space around it", LINES, body.strip())
    lf = body.replace(b"\r\n", b"\n")
    for text, end in ((lf, ""), (lf.rstrip(b"\n") + b"\n", " and one at its end")):
        yield Spelling(f"with LF for line ends{end}", LINES, text)
        crlf = text.replace(b"\n", b"\r\n")
        yield Spelling(f"with CR LF for line ends{end}", LINES, crlf)
    yield Spelling("with a byte order mark", MARK, BOM_UTF8 + body)


# -- JSON

_Layout = tuple[str, Any, tuple[str, str]]
_Numbers = tuple[str, Mapping[str, str]]

_LAYOUTS: tuple[_Layout, ...] = (
    ("compact JSON", None, (",", ":")),
    ("JSON with spaces after , and :", None, (", ", ": ")),
    ("JSON indented by 2", 2, (",", ": ")),
    ("JSON indented by 4", 4, (",", ": ")),
    ("JSON indented by tabs", "\t", (",", ": ")),
)
_OPEN, _CLOSE = "\ue000", "\ue001"  # around numbers, which are kept as they are written
_NUMBER = re.compile(r'"(?:\ue000|\\ue000)([^"\\\ue001]*)(?:\ue001|\\ue001)"')
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def _json(body: bytes) -> Iterator[Spelling]:
    numbers: dict[str, str] = {}

    def kept(number: str) -> str:
        return numbers.setdefault(number, f"{_OPEN}{number}{_CLOSE}")

    try:
        text = body.decode("utf-8-sig")
        if _OPEN in text or "\\ue000" in text:
            return
        data = json.loads(text, parse_int=kept, parse_float=kept)
        ways = tuple(_ways_of(numbers))
        for layout in _LAYOUTS:  # the likely ones, in case the body is large
            yield from _written(data, layout, ways[:1], sort=False, more=False)
        for sort in (False, True):
            for layout in _LAYOUTS:
                yield from _written(data, layout, ways, sort=sort, more=True)
    except (ValueError, RecursionError):
        return


def _ways_of(numbers: Iterable[str]) -> Iterator[_Numbers]:
    """The ways to write all numbers that differ: as they are, as languages do."""
    as_they_are = {number: number for number in numbers}
    yield "", as_they_are
    for language, write in (("JavaScript", _in_js), ("Python", _in_python)):
        written = {number: write(number) for number in numbers}
        if written != as_they_are:
            yield f", numbers as {language} writes them", written


def _written(
    data: Any, layout: _Layout, ways: Sequence[_Numbers], *, sort: bool, more: bool
) -> Iterator[Spelling]:
    words, indent, separators = layout
    words += " with its keys sorted" if sort else ""
    for ascii_ in (False, True) if more else (False,):
        text = json.dumps(
            data,
            ensure_ascii=ascii_,
            indent=indent,
            separators=separators,
            sort_keys=sort,
        )
        for about, numbers in ways:
            numbered = _numbered(text, numbers)
            for escaped, escapes in _escaped(numbered, ascii_=ascii_):
                whole = words + about + escapes
                raw = escaped.encode("utf-8", "surrogatepass")
                yield Spelling(whole, REWRITTEN, raw)
                if more:
                    whole += ", and a newline at its end"
                    yield Spelling(whole, REWRITTEN, raw + b"\n")


def _numbered(text: str, numbers: Mapping[str, str]) -> str:
    return _NUMBER.sub(lambda found: numbers[found[1]], text)


def _escaped(text: str, *, ascii_: bool) -> Iterator[tuple[str, str]]:
    unicode_ = ", characters beyond ASCII escaped" if ascii_ else ""
    yield text, unicode_
    if "/" in text:
        yield text.replace("/", "\\/"), f"{unicode_}, slashes escaped (as PHP does)"
    if not ascii_ and any(character in text for character in _HTML):
        html = text
        for character, escape in _HTML.items():
            html = html.replace(character, escape)
        yield html, ", < > & escaped (as Go does)"


def _in_js(number: str) -> str:
    """As `JSON.stringify` has it (ECMA-262, Number::toString)."""
    value = float(number)
    if value == 0:
        return "0"
    if abs(value) == float("inf"):
        return "null"
    shortest = Decimal(repr(value)).normalize()
    if 1e-6 <= abs(value) < 1e21:
        return format(shortest, "f")
    digits, _, exponent = format(shortest, "e").partition("e")
    return f"{digits}e{int(exponent):+d}"


def _in_python(number: str) -> str:
    whole = number.lstrip("-").isdigit()
    return number if whole else json.dumps(float(number))


# -- wrapped, recoded


def _forms(body: bytes) -> Iterator[Spelling]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    names = ("payload", "data", "body", "json")
    if text.lstrip()[:1] in ("{", "["):
        for name in names:
            form = f"{name}={quote_plus(text)}".encode()
            words = f"a form with it in the field {name}"
            yield Spelling(words, WRAPPED, form)
        return
    try:
        fields = parse_qsl(text, max_num_fields=20)
    except ValueError:
        return
    for name, value in fields:
        if name in names:
            words = f"only what is in the form's field {name}"
            yield Spelling(words, WRAPPED, value.encode("utf-8", "replace"))


def _encodings(body: bytes) -> Iterator[Spelling]:
    for words, out_of, into in (
        ("UTF-8 that was taken for Latin-1", "utf-8", "latin-1"),
        ("UTF-8 and not Latin-1", "latin-1", "utf-8"),
    ):
        try:
            recoded = body.decode(out_of).encode(into)
        except UnicodeError:
            continue
        yield Spelling(words, RECODED, recoded)
    try:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        inflated = inflater.decompress(body, MOST_INFLATED)
    except zlib.error:
        return
    yield Spelling("not compressed", INFLATED, inflated)
