"""Destinations of type `command`, with real programs in real processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from receiver import delivery
from receiver.destinations import Parcel
from receiver.destinations.command import Command, CommandSettings
from receiver.models import Claim, Event, Outcome
from receiver.settings import Argv
from tests import making

Make = Callable[..., Command]


def program(folder: Path, script: str) -> Path:
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return file


def settings(file: Path | str, *arguments: str, **options: Any) -> CommandSettings:
    argv = Argv((str(file), *arguments))
    return CommandSettings("run", type="command", command=argv, **options)


def parcel(body: bytes | str | dict[str, Any] = b"{}", **changes: Any) -> Parcel:
    return making.parcel(making.event(body, **changes))


async def attempt(command: Command, sent: Parcel | None = None) -> Outcome:
    """The outcome with the settings' time limit, as a lane sees it."""
    sent = sent or parcel()

    async def read(event: Event) -> Event:
        return event

    claim = Claim(0, sent.delivery, sent.event)
    return (await delivery.attempt(command, command._settings, claim, read)).outcome


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
