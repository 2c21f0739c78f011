"""
Runs a local program for each delivery: no shell, an event on its standard input.

    find the program -> make its input and environment -> run it -> name the outcome

Exit status 0 is ok; anything else, or a signal, means another attempt, unless the
status is configured to be permanent.  A program that cannot be started at all pauses
the destination, for somebody has to mend that.
"""

import asyncio
import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from receiver import clock
from receiver.child import Ending
from receiver.destinations import Parcel
from receiver.destinations.programs import Output, run
from receiver.models import Outcome, Result, Secret
from receiver.offload import beside
from receiver.settings import Argv, DestinationSettings, option, suggest

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""

KEPT_CHARS = 2048
"""How much of what a program says is kept for `deliveries show`."""

LINE_CHARS = 200
"""How much of its last line is part of the outcome's sentence."""

LEAST_HIDDEN_CHARS = 8
"""A variable's value of fewer is not hidden: it would be found in everything."""

EVENT_FIELDS = (
    *("id", "source", "provider", "type", "subject", "state", "final"),
    *("occurred_at", "received_at", "key", "origin", "result_urls", "expires_at"),
    *("headers", "query"),
)
DELIVERY_FIELDS = ("id", "destination", "attempt")
FIELDS = (
    *(f"event.{name}" for name in EVENT_FIELDS[:-2]),
    *(f"delivery.{name}" for name in DELIVERY_FIELDS),
)
"""What an environment variable can be made of, besides what `data` holds."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSED_ON = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR")
_LATER = frozenset(
    {
        *(errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.ENOSPC, errno.ETXTBSY, errno.EIO, errno.EINTR),
    }
)
"""What may well pass by itself when a program could not be started."""


@dataclass(frozen=True)
class CommandSettings(DestinationSettings):
    command: Argv = option(
        help="the program and its arguments; no shell reads them", secret=True
    )
    environment: Mapping[str, str] = option(
        dict,
        help='variables made of the event: { BATCH = "event.subject" }',
    )
    variables: Mapping[str, Secret] = option(
        dict, help="variables as they are, such as secrets", secret=True
    )
    inherit_environment: bool = option(
        False, help="pass on all of the server's environment, secrets included"
    )
    folder: Path = option(Path(), help="where it runs: its working directory")
    permanent_exit_codes: tuple[int, ...] = option(
        (), help="exit codes that end a delivery at once"
    )
    timeout: timedelta = option(
        timedelta(seconds=30), help="for one run; then it is stopped, and killed"
    )
    concurrency: int = option(4, help="runs at a time", least=1)

    def missing(self) -> Iterable[tuple[str, str, str]]:
        path, why = self.find()
        if not path:
            yield "command", why, ""
        if not os.path.isdir(self.folder):  # noqa: PTH112 (Path's may raise)
            yield "folder", f"{self.folder} is not a folder", ""

    def problems(self) -> Iterable[tuple[str, str, str]]:
        if any("\0" in text for text in self.command):
            yield "command", "holds a NUL, which no argument can", ""
        for i, code in enumerate(self.permanent_exit_codes):
            if not 1 <= code <= 255 or code == TRY_AGAIN:
                hint = "1 to 255, without 75, which asks for another attempt"
                yield f"permanent_exit_codes[{i}]", f"{code} cannot be permanent", hint
        yield from self._wrong_variables()

    def _wrong_variables(self) -> Iterator[tuple[str, str, str]]:
        for kind, names in (
            ("environment", self.environment),
            ("variables", self.variables),
        ):
            for name in names:
                if not _NAME.fullmatch(name):
                    hint = "letters, digits and _, not beginning with a digit"
                    yield f"{kind}.{name}", "is no name for a variable", hint
        for name, path in self.environment.items():
            if name in self.variables:
                yield f"environment.{name}", "is among the variables, too", ""
            if path not in FIELDS and not re.fullmatch(r"data(\.[^.]+)+", path):
                hint = suggest(path, {*FIELDS, "data.<name>"})
                yield f"environment.{name}", f'there is no field "{path}"', hint
        for name, value in self.variables.items():
            if "\0" in value:
                yield f"variables.{name}", "holds a NUL, which no variable can", ""

    def described(self) -> str:
        return f"run {self.command[0]}"

    def find(self) -> tuple[str, str]:
        """The program's path; or nothing, and why it cannot be run."""
        name = self.command[0]
        given, ours = self.variables.get("PATH"), os.environ.get("PATH", os.defpath)
        found = shutil.which(name, path=given or ours)
        if found is not None:
            return str(Path(found).absolute()), ""
        if "/" not in name:
            return "", f"there is no program {name} in " + (
                "the PATH among its variables" if given else ours
            )
        try:
            is_folder = stat.S_ISDIR(Path(name).stat().st_mode)
        except (OSError, ValueError) as error:
            return "", f"{name}: {getattr(error, 'strerror', None) or 'is no path'}"
        return "", f"{name} " + (
            "is a folder" if is_folder else "may not be executed: try chmod +x"
        )


class Command:
    """Implements `receiver.destinations.Destination`."""

    needs_reading: ClassVar[bool] = True

    def __init__(self, settings: CommandSettings) -> None:
        self._settings = settings
        values = (value.strip() for value in settings.variables.values())
        hidden = (value for value in values if len(value) >= LEAST_HIDDEN_CHARS)
        self._hidden = sorted(hidden, key=len, reverse=True)
        self._longest = len(self._hidden[0]) if self._hidden else 0
        self._kept_bytes = 4 * (KEPT_CHARS + self._longest)

    async def send(self, parcel: Parcel) -> Outcome:
        """One run; cancelled, it leaves no process of the program behind."""
        settings = self._settings
        path, why = settings.find()
        if not path:
            return _unusable(why)
        size = len(parcel.event.body)
        given, variables = await beside(size, prepare, settings, parcel, os.environ)
        try:
            with Output(self._kept_bytes) as output:
                argv = (path, *settings.command[1:])
                try:
                    ending = await run(argv, given, output, variables, settings.folder)
                except asyncio.CancelledError:
                    raise asyncio.CancelledError(self._said(output)) from None
                return classify(settings, ending, self._said(output))
        except OSError as error:
            return not_started(settings, error)

    async def close(self) -> None:
        """Nothing is kept between runs."""

    def _said(self, output: Output) -> str:
        """
        The end of standard error; of standard output, if there is nothing else.

        What went wrong is said last, and mostly on standard error: a traceback's
        message, the line after which `set -e` ended a script.  Standard output comes
        second, for it is often flushed late and would displace that.
        """
        raw = output.err.text()
        if not raw.strip():
            raw = output.out.text()
        text = raw.decode("utf-8", "replace")
        for secret in self._hidden:
            text = text.replace(secret, "***")
        if len(raw) >= self._kept_bytes:  # it may begin in the middle of a secret
            text = text[self._longest :]
        text = text.strip()
        return text if len(text) <= KEPT_CHARS else "..." + text[3 - KEPT_CHARS :]


def prepare(
    settings: CommandSettings, parcel: Parcel, ours: Mapping[str, str]
) -> tuple[bytes, Mapping[str, bytes]]:
    """What the program is given on its standard input, and its environment."""
    event = parcel.event
    document: dict[str, Any] = {
        "event": {name: _plain(getattr(event, name)) for name in EVENT_FIELDS},
        "delivery": {
            "id": parcel.delivery.id,
            "destination": parcel.delivery.destination,
            "attempt": parcel.number,
        },
    }
    data, written = _read(event.body)
    head = json.dumps(document).encode().removesuffix(b"}")
    variables = environment(settings, {**document, "data": data}, ours)
    return head + b', "data": ' + written + b"}\n", variables


def environment(
    settings: CommandSettings, document: Mapping[str, Any], ours: Mapping[str, str]
) -> Mapping[str, bytes]:
    """
    Every variable the program has.

    A field that is missing or null makes no variable, and hides one of ours.
    """
    found = {
        name: os.fsencode(value)
        for name, value in ours.items()
        if settings.inherit_environment or _PASSED_ON.fullmatch(name)
    }
    for name, path in settings.environment.items():
        found.pop(name, None)
        value: Any = document
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            found[name] = text.encode("utf-8", "replace").replace(b"\0", b"?")
    for name, secret in settings.variables.items():
        found[name] = secret.encode("utf-8", "surrogateescape")
    return found


def classify(settings: CommandSettings, ending: Ending, said: str) -> Outcome:
    """Name the outcome of a run."""
    if ending.status == 0:
        return Outcome(Result.OK, status_code=0, response=said)
    permanent = ending.status in settings.permanent_exit_codes
    line = said.rpartition("\n")[2]
    last = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return Outcome(
        Result.REJECTED if permanent else Result.ERROR,
        f"{ending}: {last[:LINE_CHARS]}" if last else str(ending),
        status_code=ending.status if ending.status > 0 else None,
        permanent=permanent,
        response=said,
    )


def not_started(settings: CommandSettings, error: OSError) -> Outcome:
    """Name the outcome when there was no run."""
    reason = error.strerror or type(error).__name__
    program = settings.command[0]
    if error.errno == errno.E2BIG:
        why = "this event makes environment variables that are too large"
        return Outcome(Result.REJECTED, why, permanent=True)
    if error.errno in _LATER:
        return Outcome(Result.ERROR, f"{program} could not be started: {reason}")
    if str(error.filename) == str(settings.folder):
        return _unusable(f"the folder {settings.folder} cannot be entered: {reason}")
    if error.errno in (errno.ENOENT, errno.ENOEXEC):
        # The program itself is there: it was found.
        reason = "no program for this machine, or its #! line is missing or wrong"
    return _unusable(f"{program}: {reason}")


def _unusable(why: str) -> Outcome:
    """No delivery can succeed until it is mended."""
    return Outcome(Result.BAD_CONFIG, why, pause=f"the program cannot be run: {why}")


def _read(body: bytes) -> tuple[Any, bytes]:
    """
    The body parsed, and as JSON; null if it is none.

    It is passed on as it came, so that no number changes on the way.
    """
    try:
        return json.loads(body.decode()), body.strip()
    except (ValueError, RecursionError):
        return None, b"null"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return clock.iso(value)
    return dict(value) if isinstance(value, Mapping) else value
