"""What commands share: the settings, a look into the store, a way to write."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from receiver import clock
from receiver.settings import Known, Settings, load
from receiver.settings.fields import duration
from receiver.stores import Reader, open_reader

T = TypeVar("T")
P = ParamSpec("P")


def settings_of(config: Path | None) -> Settings:
    """
    The configuration the command line names.

    Raises:
        SettingsError: with every problem in it.
    """
    from receiver.destinations import LazyTypes
    from receiver.providers import PROVIDERS

    return load(config, os.environ, Known(PROVIDERS.keys(), LazyTypes()))


def waits(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async function into one that click can call."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(command(*args, **kwargs))

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


@asynccontextmanager
async def looking(settings: Settings) -> AsyncGenerator[Reader, None]:
    """The store, read-only; whether a server runs makes no difference."""
    reader = await open_reader(settings.store.url)
    try:
        yield reader
    finally:
        await reader.close()


def moment(text: str | None) -> datetime | None:
    """`2h` (ago), `2026-01-24`, `2026-01-24T10:00:00Z`; UTC where no zone is given."""
    if text is None:
        return None
    try:
        ago = duration(text)
        if ago is not None:
            return clock.now() - ago
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time; write 2h, 2026-01-24 or 2026-01-24T10:00:00Z"
        ) from None


def rate(text: str | None) -> float | None:
    """`20/s`, `5/m`, as events per second."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)/(s|m|h)", text)
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"{text!r} is no rate; write 20/s or 5/m")
    return float(found[1]) / {"s": 1, "m": 60, "h": 3600}[found[2]]
