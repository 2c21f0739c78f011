"""
CEL, the one expression language: compile once, evaluate against one context.

The names visible are `event`, `data` (the parsed body) and `request` (`headers`,
`query`); anything else is an error when the configuration is read.
https://github.com/google/cel-spec
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from receiver.errors import ReceiverError
from receiver.models import Reading

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

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class ExpressionError(ReceiverError):
    """An expression does not compile, or failed; `hint` points into its text."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Condition:
    """A compiled expression that should give true or false."""

    def __init__(self, text: str, compiled: Any) -> None:
        self.text = text
        self._compiled = compiled

    def holds(self, context: Any) -> bool:
        """
        Whether it is true.

        Raises:
            ExpressionError: a field is missing, or the result is not a boolean.
        """
        try:
            value = self._compiled.eval(context)
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise ExpressionError(_first_line(error)) from None
        kind, plain = value.type().name(), value.value()
        if kind == "BOOL":
            return bool(plain)
        if kind == "ERROR":
            raise ExpressionError(_first_line(plain))
        raise ExpressionError(f"gave {kind.lower()}, not true or false")


@lru_cache(maxsize=1024)
def compile_condition(text: str) -> Condition:
    """
    Compile an expression that should give true or false.

    Raises:
        ExpressionError: with line, column and a pointer into the text.
    """
    try:
        compiled = _environment().compile(text)
    except RuntimeError as error:
        raise _explained(text, str(error)) from None
    except TypeError:  # what the binding says of text that is not Unicode
        raise ExpressionError("has half a surrogate pair in it") from None
    kind = compiled.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ExpressionError(f"gives {kind.lower()}, not true or false")
    return Condition(text, compiled)


def context(event: Mapping[str, Any], data: Any, request: Mapping[str, Any]) -> Any:
    """
    What expressions of one event are evaluated against; build it once.

    A time the event does not have is left out: an expression that needs it fails.
    """
    known = {name: value for name, value in event.items() if value is not None}
    names = {f"event.{name}": value for name, value in known.items()}
    names |= {f"request.{name}": value for name, value in request.items()}
    return _environment().Activation({**names, "data": data})


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


@cache
def _environment() -> Any:
    """Every name declared with its type, so that a wrong one is found on reading."""
    from cel_expr_python import cel  # noqa: PLC0415 (15 MB that only `when` needs)  # pyright: ignore[reportMissingTypeStubs]

    text, anything = cel.Type.STRING, cel.Type.DYN
    texts = ("id", "key", "source", "provider", "type", "subject", "state", "origin")
    pairs = cel.Type.Map(text, text)
    return cel.NewEnv(
        variables={
            **{f"event.{name}": text for name in texts},
            "event.final": cel.Type.BOOL,
            "event.received_at": cel.Type.TIMESTAMP,
            "event.occurred_at": cel.Type.TIMESTAMP,
            "event.expires_at": cel.Type.TIMESTAMP,
            "event.result_urls": cel.Type.List(text),
            "data": anything,
            "request.headers": pairs,
            "request.query": pairs,
        }
    )


def _explained(text: str, message: str) -> ExpressionError:
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
        hint += "; known: " + ", ".join(NAMES)
    return ExpressionError(f"line {line}, column {column}: {what}", hint)


def _first_line(error: object) -> str:
    return str(error).splitlines()[0].removesuffix(" [INTERNAL]")
