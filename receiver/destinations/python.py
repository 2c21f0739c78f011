"""
Calls a Python function of the user's, in a child process that can be killed.

The function is given a `receiver.Event`.  It may be `async def` or `def`; what it
returns is ignored.  Any exception means that the event is tried again; to prevent
that it raises `receiver.Permanent`.

A child takes one event at a time and is kept for the next, so that a module is
imported once and clients stay open.  It is replaced when it ends, when an attempt is
cancelled, and when its handler could not be imported.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from receiver.child import Ending, Pool
from receiver.child_main import event_to_frame
from receiver.destinations import Parcel
from receiver.models import Outcome, Result
from receiver.settings import DestinationSettings, option

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_HANDLER = re.compile(f"{_NAME}:{_NAME}")


@dataclass(frozen=True)
class PythonSettings(DestinationSettings):
    handler: str = option(help='what is called: "package.module:function"')
    path: tuple[Path, ...] = option(
        (Path(),), help="directories that modules are looked for in first"
    )
    timeout: timedelta = option(
        timedelta(seconds=30), help="for one call; then the process is killed"
    )
    concurrency: int = option(4, help="child processes, so calls at a time", least=1)

    def problems(self) -> Iterable[tuple[str, str, str]]:
        if not _HANDLER.fullmatch(self.handler):
            hint = 'write it like "mycompany.handlers:on_batch"'
            yield "handler", f'"{self.handler}" does not name a function', hint

    def described(self) -> str:
        return f"python {self.handler}"


class Python:
    """Hands events to the configured function."""

    needs_reading: ClassVar[bool] = True

    def __init__(self, settings: PythonSettings) -> None:
        self.pool = Pool(
            (
                *(sys.executable, "-P", "-X", "faulthandler"),
                *("-m", "receiver.child_main"),
                *(settings.handler, *map(str, settings.path)),
            ),
            settings.concurrency,
        )

    async def send(self, parcel: Parcel) -> Outcome:
        """One call; cancelled, it leaves no process of the handler behind."""
        try:
            answer = await self.pool.ask(event_to_frame(parcel.event))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return Outcome(
                Result.ERROR, f"the handler's process could not be started: {reason}"
            )
        if isinstance(answer, Ending):
            return Outcome(Result.ERROR, f"the handler's process ended ({answer})")
        head = answer.head
        result = Result(head["result"])
        broken = (
            result is Result.BAD_CONFIG
        )  # no delivery can succeed until it is mended
        return Outcome(
            result,
            head["detail"],
            permanent=head["permanent"] and not broken,
            pause=f"the handler cannot be used: {head['detail']}" if broken else "",
            response=head["response"],
        )

    async def close(self) -> None:
        await self.pool.close()
