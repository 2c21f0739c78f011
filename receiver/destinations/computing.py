"""
The parts of a request that are CEL, evaluated: here, or in a process of their own.

    python -P -m receiver.destinations.computing FD

A large body is the work of a child: CEL's library lets nothing else run while it
evaluates, and going through a list of thousands takes a second.  Questions come and
answers go as frames on the socket FD (see `receiver.child`).
"""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from receiver import frames
from receiver.child import Ending, Pool
from receiver.child_main import event_from_frame, event_to_frame
from receiver.errors import ReceiverError
from receiver.expressions import ExpressionError, compile_value, context_of
from receiver.frames import Frame
from receiver.models import Event
from receiver.offload import LARGE_BYTES

LIMIT_S = 10.0
"""For the expressions of one request in the child, its start and turn included."""

LARGEST_ANSWER = 64 * 1024 * 1024

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Uncomputable(ReceiverError):
    """An expression failed, or gave something useless; the text names the setting."""


class Unavailable(ReceiverError):
    """The child did not answer; another time it may."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be evaluated: CEL by the setting's name, and what it sees."""

    expressions: Mapping[str, str]
    texts: Mapping[str, str]
    delivery_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Computed:
    """What the expressions gave; None for a part that is none."""

    method: str | None = None
    url: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    content_type: str = ""


def compute(asked: Asked, event: Event) -> Computed:
    """
    Evaluate the expressions for an event that was read (pure).

    Raises:
        Uncomputable: one of them failed, or gave what cannot be sent.
    """
    if not asked.expressions:
        return Computed()
    delivery = {"delivery.id": asked.delivery_id, "delivery.attempt": asked.attempt}
    context = context_of(event, more={**asked.texts, **delivery})
    values = {
        name: _value(name, text, frozenset(asked.texts), context)
        for name, text in asked.expressions.items()
    }
    body, content_type = _body(values)
    return Computed(
        method=_text("method", values),
        url=_text("url", values),
        headers=_headers(values),
        body=body,
        content_type=content_type,
    )


class Computer:
    """Evaluates beside the loop what would hold it up."""

    def __init__(self) -> None:
        argv = (sys.executable, "-P", "-m", __name__)
        self._pool = Pool(argv, 1, largest=LARGEST_ANSWER)

    async def compute(self, asked: Asked, event: Event) -> Computed:
        """
        As `compute`.

        Raises:
            Uncomputable: as `compute`.
            Unavailable: the child could not be started, ended, or took too long.
        """
        if not asked.expressions or len(event.body) <= LARGE_BYTES:
            return compute(asked, event)
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._pool.ask(_question(asked, event))
        except TimeoutError:
            why = f"the expressions took longer than {LIMIT_S:g} s"
            raise Unavailable(why) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            why = f"the process for expressions could not be started: {reason}"
            raise Unavailable(why) from None
        if isinstance(answer, Ending):
            raise Unavailable(f"the process for expressions ended ({answer})")
        return _understood(answer)

    async def close(self) -> None:
        await self._pool.close()


def _value(name: str, text: str, texts: frozenset[str], context: Any) -> Any:
    try:
        return compile_value(text, texts).of(context)
    except ExpressionError as error:
        raise Uncomputable(f"`{name}`: {error}") from None


def _text(name: str, values: Mapping[str, Any]) -> str | None:
    if name not in values:
        return None
    value = values[name]
    if not isinstance(value, str):
        raise Uncomputable(f"`{name}`: gave {_kind(value)}, not a text")
    return value


def _headers(values: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "headers" not in values:
        return None
    found = values["headers"]
    if not isinstance(found, dict):
        raise Uncomputable(f"`headers`: gave {_kind(found)}, not a map of texts")
    for name, value in found.items():
        if not isinstance(value, str):
            why = f"gave {_kind(value)} for {name!r}, not a text"
            raise Uncomputable(f"`headers`: {why}")
    return found


def _body(values: Mapping[str, Any]) -> tuple[bytes | None, str]:
    if "body" not in values:
        return None, ""
    body = values["body"]
    if body is None:
        return b"", ""
    if isinstance(body, str):
        return body.encode(), TEXT
    if isinstance(body, dict | list):
        # CEL keeps no order of names; sorted, each attempt sends the same bytes.
        return _compact(body).encode(), JSON
    raise Uncomputable(f"`body`: gave {_kind(body)}, not a map, a list or a text")


_compact = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True
).encode


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", dict: "a map", list: "a list", str: "a text"}
    return kinds.get(type(value), "a number")


# Between the processes.


def _question(asked: Asked, event: Event) -> Frame:
    frame = event_to_frame(event)
    return Frame({"asked": asdict(asked), "event": frame.head}, frame.body)


def _answer(question: Frame) -> Frame:
    event = event_from_frame(Frame(question.head["event"], question.body))
    try:
        computed = compute(Asked(**question.head["asked"]), event)
    except Uncomputable as error:
        return Frame({"wrong": str(error)})
    head = {
        "method": computed.method,
        "url": computed.url,
        "headers": computed.headers,
        "content_type": computed.content_type,
    }
    return Frame({**head, "has_body": computed.body is not None}, computed.body or b"")


def _understood(answer: Frame) -> Computed:
    head = dict(answer.head)
    if "wrong" in head:
        raise Uncomputable(head["wrong"])
    has_body = head.pop("has_body")
    return Computed(**head, body=answer.body if has_body else None)


def main() -> None:
    """Answer until the socket ends; a question that takes too long ends the process."""
    fd = int(sys.argv[-1])
    reader = open(fd, "rb")  # noqa: SIM115 (a number; as long as the process)
    writer = open(fd, "wb", closefd=False)  # noqa: SIM115 (ditto)
    while (question := frames.read(reader)) is not None:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)  # nobody may be there to kill us
        answer = _answer(question)
        writer.write(frames.pack(answer))
        writer.write(answer.body)
        writer.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
