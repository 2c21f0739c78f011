"""
A child that renders users' templates, and that can be ended.

    python -P -m receiver.messages.renderer FD

Questions and answers are frames on the socket FD.  A template may loop for ever, or
fill the memory within one operation that nothing in the process can interrupt; so the
kernel bounds both, and whoever asked sees how the process ended.
"""

import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from receiver import frames
from receiver.child_main import event_from_frame, event_to_frame
from receiver.frames import Frame
from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.templating import names, render
from receiver.models import Event

LONGEST_S = 2.0
"""Seconds of computing for one event's templates; then SIGPROF."""

LARGEST_BYTES = 320 * 1024 * 1024
"""Memory for all of the process; then MemoryError."""


def question(
    event: Event,
    templates: Mapping[str, tuple[Form, str]],
    destination: Mapping[str, str],
) -> Frame:
    """What to ask: an event, and by name the templates to render for it."""
    frame = event_to_frame(event)
    return Frame(
        {
            "event": frame.head,
            "templates": {name: list(one) for name, one in templates.items()},
            "destination": dict(destination),
        },
        frame.body,
    )


def rendered(answer: Frame) -> Mapping[str, str]:
    """
    The texts by name.

    Raises:
        TemplateFailed: one of the templates failed; the text says which, and why.
    """
    if answer.head["failed"]:
        raise TemplateFailed(answer.head["failed"])
    texts: dict[str, str] = {}
    start = 0
    for name, length in answer.head["lengths"].items():
        texts[name] = answer.body[start : start + length].decode()
        start += length
    return texts


def answer(asked: Frame) -> Frame:
    """What each template says about the event, or why one of them says nothing."""
    head = asked.head
    texts: dict[str, bytes] = {}
    name = "the event"
    try:
        event = event_from_frame(Frame(head["event"], asked.body))
        visible = names(event, head["destination"])
        for name, (form, source) in head["templates"].items():
            text = render(source, Form(form), visible)
            texts[name] = text.encode("utf-8", "replace")
    except TemplateFailed as error:
        return _failed(f"{name}: {error}")
    except MemoryError:
        return _failed(f"{name}: it takes more memory than it may")
    lengths = {name: len(text) for name, text in texts.items()}
    return Frame({"failed": "", "lengths": lengths}, b"".join(texts.values()))


def _failed(why: str) -> Frame:
    return Frame({"failed": why, "lengths": {}, "last": True})


def main() -> None:
    """Serve until the socket ends."""
    fd = int(sys.argv[-1])
    os.set_inheritable(fd, False)
    _prepare()
    with open(fd, "rb") as reader, open(fd, "wb", closefd=False) as writer:
        while (asked := frames.read(reader)) is not None:
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            found = answer(asked)
            signal.setitimer(signal.ITIMER_PROF, 0)
            del asked
            writer.write(frames.pack(found))
            writer.write(found.body)
            writer.flush()


def _prepare() -> None:
    """Let the kernel bound what is done here, and only our parent end it early."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # where there is no such limit
        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    with suppress(OSError):  # Linux: when memory is short, end us and not the parent
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
