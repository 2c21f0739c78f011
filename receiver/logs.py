"""
What is logged: one wide line per event and per attempt.

JSON where a machine reads, colours on a terminal.  Fields that are declared secret
here are stars wherever they appear.
"""

import asyncio
import atexit
import json
import logging
import sys
import threading
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from receiver import clock

MASKED = frozenset(
    {"authorization", "cookie", "password", "secret", "secrets", "smtp", "token"}
)
"""Fields whose values never appear."""

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]
_encode = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, default=str
).encode


def configure(level: Level = "info", style: Format = "auto") -> None:
    """Send all logging, our own and the libraries', to standard error."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    numeric = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(_Patient(sys.stderr))
    atexit.register(lines.flush)
    structlog.configure(
        processors=[*_shared(), *(_console() if console else _json())],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=lambda: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(numeric, logging.WARNING),
        stream=sys.stderr,
        format="%(name)s: %(message)s",
    )


class _Patient:
    """
    A stream whose failures are nobody's: a full disk or a reader that is gone must
    not turn a stored event into a 500, or lose an outcome.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Lines:
    """
    Writes lines.  Those that tell of no trouble wait for the end of the event loop's
    turn and are written together; all others go out at once, after those that wait.
    """

    def __init__(self, stream: _Patient) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._lock = threading.Lock()

    def info(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
            first = len(self._waiting) == 1
        if first:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # there is none: nobody comes back to it later
                self.flush()

    def warning(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
        self.flush()

    def flush(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()

    debug = info
    error = critical = warning


def get() -> FilteringBoundLogger:
    """
    A logger by the configuration of this moment; it costs next to nothing where its
    level is not wanted, so who logs often gets it once.
    """
    logger: FilteringBoundLogger = structlog.get_logger().bind()
    return logger


def mask(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Replace what is declared secret."""
    if not MASKED.isdisjoint(fields):
        for name in MASKED.intersection(fields):
            fields[name] = "***"
    return fields


def tame(_: WrappedLogger, __: str, fields: EventDict) -> EventDict:
    """Replace control characters: what providers send must not drive the terminal."""
    for name, value in fields.items():
        if isinstance(value, str) and name != "exception" and not value.isprintable():
            fields[name] = "".join(c if c.isprintable() else "\ufffd" for c in value)
    return fields


def stamp(_: WrappedLogger, level: str, fields: EventDict) -> EventDict:
    """Say how bad it is, and when it was."""
    fields["level"] = level
    fields["timestamp"] = clock.now().isoformat().removesuffix("+00:00") + "Z"
    return fields


def _shared() -> list[Processor]:
    return [stamp, mask]


def _console() -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # others show variables
    )
    return [tame, render]


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_serialize),
    ]


def _serialize(fields: Any, **_: Any) -> str:
    return _encode(fields)
