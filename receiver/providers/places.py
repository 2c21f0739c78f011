"""
Places: where in a request something is, as one text in the configuration.

    data.object.id          a path from the root of the body
    items[0].id             one of a list; `results[].url` is that of each
    header:NAME query:NAME  a header, a parameter of the address
    'job.done'              this text itself
    {id}:{status}           a text with places in it; there if all of them are
    anything else           CEL, of `data`, `request.headers` and `request.query`

Each is compiled once.  Only CEL costs more than a few lookups.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.expressions import ExpressionError, compile_value, context
from receiver.models import Request
from receiver.tellable import tellable

_NAME = r"[A-Za-z0-9_-]+"
_INDEX = r"\[[0-9]{0,6}\]"
_PATH = rf"(?:{_NAME}|{_INDEX})(?:\.{_NAME}|{_INDEX})*"
_SIMPLE = rf"(?:{_PATH}|(?:header|query):{_NAME})"

_STEP = re.compile(rf"{_NAME}|{_INDEX}")
_SIMPLE_PLACE = re.compile(_SIMPLE)
_LITERAL = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")
_TEMPLATE = re.compile(rf"[A-Za-z0-9_.:/-]*(?:\{{{_SIMPLE}\}}[A-Za-z0-9_.:/-]*)+")
_IN_TEMPLATE = re.compile(r"\{([^}]*)\}")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_OF_LATER = re.compile(r"(?<![\w.])(event|delivery)\s*\.")

KINDS = (
    "a place is a path like data.id, header:NAME, query:NAME, 'a text', "
    "a text like {id}:{status}, or CEL"
)


@dataclass(slots=True)
class Seen:
    """What places look into: one request and its parsed body."""

    data: Any
    request: Request
    _context: Any = field(default=None, init=False)

    @property
    def context(self) -> Any:
        """For expressions; made when the first one asks."""
        if self._context is None:
            request = self.request
            visible = {"headers": dict(request.headers), "query": dict(request.query)}
            data = tellable(self.data, request.body)
            self._context = context({}, data, visible, more={})
        return self._context


Find = Callable[[Seen], Sequence[Any]]
"""What is at a place, in order.  What is null or an empty text is not there."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place as it was written, and how to look there."""

    written: str
    find: Find

    def text(self, seen: Seen) -> str | None:
        """The first text or number there, as text."""
        for value in self.find(seen):
            found = as_text(value)
            if found is not None:
                return found
        return None


def place(written: str, *, apart: bool = False) -> Place:
    """
    Compile what was written.

    With `apart` different texts in a template make different texts: in each, what
    follows it in the template is written like `%3A`, and so is `%`.

    Raises:
        ExpressionError: it is none of the kinds of places there are.
    """
    if literal := _LITERAL.fullmatch(written):
        found = (literal[1] if literal[1] is not None else literal[2],)
        return Place(written, lambda _: found)
    if _SIMPLE_PLACE.fullmatch(written):
        return Place(written, _simple(written))
    if _TEMPLATE.fullmatch(written):
        return Place(written, _template(written, apart=apart))
    return Place(written, _expression(written))


def as_text(value: Any) -> str | None:
    """A text as it is, a number or a boolean as JSON writes it, else nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _simple(written: str) -> Find:
    kind, _, name = written.partition(":")
    if name:
        return _header(name.lower()) if kind == "header" else _query(name)
    steps = _STEP.findall(written)
    if any(step.startswith("[") for step in steps):
        return _through_lists([_step(step) for step in steps])
    return _by_names(steps)


def _header(name: str) -> Find:
    return lambda seen: _there(seen.request.headers.get(name))


def _query(name: str) -> Find:
    return lambda seen: _there(seen.request.query.get(name))


def _there(value: Any) -> Sequence[Any]:
    return () if value is None or value == "" else (value,)


def _by_names(names: Sequence[str]) -> Find:
    def find(seen: Seen) -> Sequence[Any]:
        value = seen.data
        for name in names:
            if not isinstance(value, dict):
                return ()
            value = value.get(name)
        return _there(value)

    return find


def _step(written: str) -> str | int | None:
    """A name; a number in a list; None for each in a list."""
    if not written.startswith("["):
        return written
    return int(written[1:-1]) if written != "[]" else None


def _through_lists(steps: Sequence[str | int | None]) -> Find:
    def find(seen: Seen) -> Sequence[Any]:
        values = [seen.data]
        for step in steps:
            values = [inner for value in values for inner in _inside(value, step)]
        return [value for value in values if value is not None and value != ""]

    return find


def _inside(value: Any, step: str | int | None) -> Sequence[Any]:
    if isinstance(step, str):
        return (value[step],) if isinstance(value, dict) and step in value else ()
    if not isinstance(value, list):
        return ()
    return value if step is None else value[step : step + 1]


def _template(written: str, *, apart: bool) -> Find:
    around = _IN_TEMPLATE.sub("\0", written).split("\0")
    inside = [place(one) for one in _IN_TEMPLATE.findall(written)]
    if apart and "" in around[1:-1]:
        hint = "write {a}:{b}, or different texts could make the same"
        raise ExpressionError("there is nothing between two places", hint)
    between = [text[0] for text in around[1:-1]] if apart else []
    escapes = {ord(c): f"%{ord(c):02X}" for c in (*between, "%") if between}

    def find(seen: Seen) -> Sequence[Any]:
        made = around[0]
        for one, after in zip(inside, around[1:], strict=True):
            text = one.text(seen)
            if text is None:
                return ()
            made += text.translate(escapes) + after
        return (made,)

    return find


def _expression(written: str) -> Find:
    try:
        compiled = compile_value(written)
    except ExpressionError as error:
        raise ExpressionError(str(error), f"{error.hint}; {KINDS}") from None
    if later := _OF_LATER.search(_QUOTED.sub("", written)):
        hint = "use data, request.headers and request.query"
        raise ExpressionError(f"there is no {later[1]} yet", hint)

    def find(seen: Seen) -> Sequence[Any]:
        try:
            return _there(compiled.of(seen.context))
        except ExpressionError:  # what is missing fails, and so is not there
            return ()

    return find
