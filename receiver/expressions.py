"""
CEL, the one expression language: compile once, evaluate against one context.

A condition is true or false; a value is anything that JSON has.  The names visible
are `event`, `data` (the parsed body) and `request` (`headers`, `query`), and for
values those that are given; anything else is an error when the configuration is read.
https://github.com/google/cel-spec
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote

from receiver import clock
from receiver.errors import ReceiverError
from receiver.models import Event, Reading
from receiver.tellable import replaced, tellable

NAMES = (
    *(
        f"event.{name}"
        for name in ("id", "key", "source", "provider", "type", "subject")
    ),
    *(f"event.{name}" for name in ("state", "final", "occurred_at", "received_at")),
    *(f"event.{name}" for name in ("origin", "result_urls", "expires_at")),
    "data",
    "request.headers",
    "request.query",
)
"""Every name an expression may use."""

MORE_NAMES = ("delivery.id", "delivery.attempt")
"""Names that only values may use: there is no delivery yet when a route decides."""

_UNKNOWN_TO_JSON = {
    "BYTES": "bytes",
    "TYPE": "a type",
    "UNKNOWN": "nothing known",
}
_OPTIONAL = "gave what may be missing: end it with .orValue(...)"

_WORD = re.compile(r"\w+")
_DATA = re.compile(r"\bdata\b")
_FIELD_OF_DATA = re.compile(r"\bdata\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()")

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class ExpressionError(ReceiverError):
    """An expression does not compile, or failed; `hint` points into its text."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Condition:
    """
    A compiled expression that should give true or false.

    `names` are those of `NAMES` that it may read: a context needs no others.  Instead
    of `data` they may have the fields of it, as in `data.status`.
    """

    def __init__(self, text: str, compiled: Any) -> None:
        self.text = text
        words = set(_WORD.findall(text))
        names = (name for name in NAMES if words.issuperset(name.split(".")))
        self.names = frozenset(names) - {"data"} | _read_of_data(text)
        self._compiled = compiled

    def holds(self, context: Any) -> bool:
        """
        Whether it is true.

        Raises:
            ExpressionError: a field is missing, or the result is not a boolean.
        """
        value, kind = _evaluated(self._compiled, context)
        if kind == "BOOL":
            return bool(value.value())
        raise ExpressionError(f"gave {kind.lower()}, not true or false")


class Value:
    """A compiled expression that gives what JSON can hold."""

    def __init__(self, text: str, compiled: Any) -> None:
        self.text = text
        self._compiled = compiled

    def of(self, context: Any) -> Any:
        """
        Maps, lists, texts, numbers, booleans and null; a time is text as in RFC 3339,
        a duration text like `90s`.

        Raises:
            ExpressionError: a field is missing, or JSON has nothing for the result.
        """
        try:
            return _plain(*_evaluated(self._compiled, context))
        except RecursionError:
            raise ExpressionError("the result is nested too deeply") from None


@lru_cache(maxsize=1024)
def compile_condition(text: str) -> Condition:
    """
    Compile an expression that should give true or false.

    Raises:
        ExpressionError: with line, column and a pointer into the text.
    """
    compiled = _compiled(_environment(), text, NAMES)
    kind = compiled.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ExpressionError(f"gives {kind.lower()}, not true or false")
    return Condition(text, compiled)


@lru_cache(maxsize=1024)
def compile_value(text: str, texts: frozenset[str] = frozenset()) -> Value:
    """
    Compile an expression that gives a value; it may use the functions for texts and
    for what may be missing (`data.?name.orValue("none")`), and two of our own: in
    `text.shortened(200)` an ellipsis stands for what is beyond so many characters, in
    `text.percentEncoded()` all but letters, digits and `-._~` is as in a URL.

    `texts` are the names visible beside `NAMES` and `MORE_NAMES`.

    Raises:
        ExpressionError: with line, column and a pointer into the text.
    """
    names = (*NAMES, *MORE_NAMES, *sorted(texts))
    return Value(text, _compiled(_environment_of_values(texts), text, names))


@lru_cache(maxsize=256)
def compile_over_parts(text: str) -> Condition:
    """
    Compile an expression over `parts`, a list of maps, that should give true or false.

    Raises:
        ExpressionError: as `compile_condition` does.
    """
    compiled = _compiled(_environment_of_parts(), text, ("parts",))
    kind = compiled.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ExpressionError(f"gives {kind.lower()}, not true or false")
    return Condition(text, compiled)


def context_of_parts(parts: Sequence[Mapping[str, Any]]) -> Any:
    """What those expressions are evaluated against."""
    return _environment_of_parts().Activation({"parts": replaced(list(parts))})


def context(
    event: Mapping[str, Any],
    data: Any,
    request: Mapping[str, Any],
    names: Collection[str] = NAMES,
    more: Mapping[str, Any] | None = None,
) -> Any:
    """
    What expressions of one event are evaluated against; build it once.

    Of `NAMES`, and of what `data` has, only what is in `names` can be read: all that
    is made readable costs time for every event.

    Conditions need it without `more`, values with it: `MORE_NAMES`, and the texts they
    were compiled with.  A time the event does not have is left out: an expression that
    needs it fails.  `data` is what `tellable` makes of the parsed body.
    """
    parts: dict[str, Mapping[str, Any]] = {"event": event, "request": request}
    known: dict[str, Any] = {}
    for name in names:
        part, _, field = name.partition(".")
        value = parts[part].get(field) if part in parts else None
        if value is not None:
            known[name] = value
    if known:  # a key, or a parameter, may have a NUL in it, too
        known = replaced(known)
    known["data"] = data if "data" in names else _fields_of(data, names)
    if more is None:
        return _environment().Activation(known)
    environment = _environment_of_values(frozenset(more).difference(MORE_NAMES))
    return environment.Activation({**known, **more})


def context_of(
    full: Event,
    names: Collection[str] = NAMES,
    more: Mapping[str, Any] | None = None,
) -> Any:
    """The context of a stored event that was read; as `context` says."""
    reading = Reading(
        key=full.key,
        type=full.type,
        subject=full.subject,
        state=full.state,
        final=full.final,
        occurred_at=full.occurred_at,
        result_urls=full.result_urls,
        expires_at=full.expires_at,
    )
    fields = event_fields(
        reading,
        id=full.id,
        source=full.source,
        provider=full.provider,
        received_at=full.received_at,
        origin=full.origin,
    )
    request = {"headers": dict(full.headers), "query": dict(full.query)}
    return context(fields, tellable(full.data, full.body), request, names, more)


def _read_of_data(text: str) -> frozenset[str]:
    """
    What a condition may read of `data`: some of its fields, or all.

    A word in a text or a comment counts, too, which does no harm: only what is certain
    not to be read may be missing.
    """
    fields: list[str] = _FIELD_OF_DATA.findall(text)
    if len(fields) < len(_DATA.findall(text)):
        return frozenset({"data"})
    return frozenset(f"data.{field}" for field in fields)


def _fields_of(data: Any, names: Collection[str]) -> Any:
    if not isinstance(data, dict):
        return data
    fields = [name[5:] for name in names if name.startswith("data.")]
    return {field: data[field] for field in fields if field in data}


def event_fields(
    reading: Reading,
    *,
    id: str,  # noqa: A002 (the name users see)
    source: str,
    provider: str,
    received_at: datetime,
    origin: str,
) -> dict[str, Any]:
    """The fields of `event` as expressions see them."""
    return {
        "id": id,
        "key": reading.key,
        "source": source,
        "provider": provider,
        "type": reading.type,
        "subject": reading.subject,
        "state": str(reading.state),
        "final": reading.final,
        "occurred_at": reading.occurred_at,
        "received_at": received_at,
        "origin": origin,
        "result_urls": list(reading.result_urls),
        "expires_at": reading.expires_at,
    }


def _compiled(environment: Any, text: str, names: Collection[str]) -> Any:
    try:
        return environment.compile(text)
    except RuntimeError as error:
        raise _explained(text, str(error), names) from None
    except TypeError:  # what the binding says of text that is not Unicode
        raise ExpressionError("has half a surrogate pair in it") from None


def _evaluated(compiled: Any, context: Any) -> tuple[Any, str]:
    """The value and its kind, which is not `ERROR`."""
    try:
        value = compiled.eval(context)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ExpressionError(_first_line(error)) from None
    kind: str = value.type().name()
    if kind == "ERROR":
        raise ExpressionError(_why(value))
    return value, kind


def _why(error: Any) -> str:
    try:
        return _first_line(error.value())
    except TypeError:  # an optional has no type that the binding knows
        return _OPTIONAL


def _plain(value: Any, kind: str) -> Any:
    """
    The result as Python's own values.

    The binding is never asked for a null: before 0.2 it counts one reference to None
    too few each time, and Python 3.11 ends when there are none left.
    """
    if kind == "NULL":
        return None
    if kind == "ERROR":
        raise ExpressionError(_why(value))
    if kind in _UNKNOWN_TO_JSON:
        raise ExpressionError(f"gave {_UNKNOWN_TO_JSON[kind]}, which JSON cannot hold")
    plain = value.value()
    if isinstance(plain, dict):
        return {_name(name): _plain(item, _kind(item)) for name, item in plain.items()}
    if isinstance(plain, list):
        return [_plain(item, _kind(item)) for item in plain]
    return _scalar(plain)


def _kind(value: Any) -> str:
    return str(value.type().name())


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ExpressionError(f"gave a map with {name!r} as a name, which is no text")
    return name


def _scalar(plain: Any) -> Any:
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ExpressionError(f"gave {plain}, which JSON cannot hold")
    if isinstance(plain, datetime):
        return clock.iso(plain)
    if isinstance(plain, timedelta):
        return f"{plain.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    return plain


@cache
def _environment() -> Any:
    """Every name declared with its type, so that a wrong one is found on reading."""
    from cel_expr_python import cel  # noqa: PLC0415 (15 MB that only expressions need)  # pyright: ignore[reportMissingTypeStubs]

    return cel.NewEnv(variables=_variables(cel.Type))


@lru_cache(maxsize=64)
def _environment_of_values(texts: frozenset[str]) -> Any:
    from cel_expr_python import cel  # noqa: PLC0415 (as above)  # pyright: ignore[reportMissingTypeStubs]
    from cel_expr_python.ext import ext_optional, ext_strings  # noqa: PLC0415 (6 MB)  # pyright: ignore[reportMissingTypeStubs]

    more = {"delivery.id": cel.Type.STRING, "delivery.attempt": cel.Type.INT}
    return cel.NewEnv(
        variables={
            **_variables(cel.Type),
            **more,
            **dict.fromkeys(texts, cel.Type.STRING),
        },
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
        functions=[
            _method_of_texts(cel, "shortened", _shortened, cel.Type.INT),
            _method_of_texts(cel, "percentEncoded", _percent_encoded),
        ],
    )


@cache
def _environment_of_parts() -> Any:
    from cel_expr_python import cel  # noqa: PLC0415 (as above)  # pyright: ignore[reportMissingTypeStubs]

    return cel.NewEnv(variables={"parts": cel.Type.List(cel.Type.DYN)})


def _method_of_texts(cel: Any, name: str, does: Any, *more: Any) -> Any:
    overload = cel.Overload(
        f"string_{name}",
        return_type=cel.Type.STRING,
        parameters=[cel.Type.STRING, *more],
        is_member=True,
        impl=does,
    )
    return cel.FunctionDecl(name, [overload])


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[: longest - 1]}…" if longest > 0 else ""


def _percent_encoded(text: str) -> str:
    return quote(text, safe="")


def _variables(kinds: Any) -> dict[str, Any]:
    text, anything = kinds.STRING, kinds.DYN
    texts = ("id", "key", "source", "provider", "type", "subject", "state", "origin")
    pairs = kinds.Map(text, text)
    return {
        **{f"event.{name}": text for name in texts},
        "event.final": kinds.BOOL,
        "event.received_at": kinds.TIMESTAMP,
        "event.occurred_at": kinds.TIMESTAMP,
        "event.expires_at": kinds.TIMESTAMP,
        "event.result_urls": kinds.List(text),
        "data": anything,
        "request.headers": pairs,
        "request.query": pairs,
    }


def _explained(text: str, message: str, names: Collection[str]) -> ExpressionError:
    found = _PLACE.search(message)
    if found is None:
        return ExpressionError(_first_line(message))
    line, column, what = int(found[1]), int(found[2]), found[3]
    what = what.replace(" (in container '')", "").split(" expecting {")[0]
    lines = text.splitlines() or [""]
    near = lines[min(line, len(lines)) - 1][max(column - 1, 0) :][:40]
    hint = f"at {near!r}" if near.strip() else "it ends too early"
    if "token recognition error at: '=" in what:
        hint += "; write == to compare"
    if what.startswith("undeclared reference"):
        hint += "; a text needs quotes; known: " + ", ".join(names)
    return ExpressionError(f"line {line}, column {column}: {what}", hint)


def _first_line(error: object) -> str:
    return str(error).splitlines()[0].removesuffix(" [INTERNAL]")
