"""What commands share: the settings, a look into the store, options, questions."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from receiver import clock, moments
from receiver.cli.output import as_json
from receiver.errors import Problem, SettingsError
from receiver.models import HeldBack
from receiver.settings import DestinationSettings, Known, Settings, fields, load
from receiver.settings.fields import suggest
from receiver.stores import (
    DeliveryFilter,
    EventFilter,
    Reader,
    control_path,
    open_reader,
)

CHUNK = 500
"""Ids in one request to the server: a step small enough to hold nobody up."""

ANSWER_S = 10.0

T = TypeVar("T")
P = ParamSpec("P")


def settings_of(config: Path | None) -> Settings:
    """
    The configuration the command line names.

    Raises:
        SettingsError: with every problem in it.
    """
    from receiver.destinations import LazyTypes
    from receiver.providers import LazySources, judge

    return load(config, os.environ, Known(LazySources(), judge, LazyTypes()))


def check_complete(
    settings: Settings, destinations: Iterable[DestinationSettings]
) -> None:
    """
    Whether all that these destinations need is there on this machine.

    Raises:
        SettingsError: with every thing that is not.
    """
    problems = [
        Problem(settings.file, f"destinations.{one.name}.{field}", message, hint)
        for one in destinations
        for field, message, hint in one.missing()
    ]
    if problems:
        raise SettingsError(problems)


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
    async with looking_at(settings.store.url) as reader:
        yield reader


@asynccontextmanager
async def looking_at(url: str) -> AsyncGenerator[Reader, None]:
    """The same of a store of which nothing is known but where it is."""
    opening = asyncio.ensure_future(open_reader(url))
    try:
        yield await asyncio.shield(opening)
    finally:  # also when interrupted while it opens: its thread must have an end
        await (await opening).close()


async def server(settings: Settings) -> Mapping[str, Any] | None:
    """What the server that owns the store says of itself; None where none runs."""
    return await server_at(settings.store.url)


async def server_at(url: str) -> Mapping[str, Any] | None:
    """The same of a store of which nothing is known but where it is."""
    path = control_path(url)
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"GET /api/v1/status HTTP/1.0\r\nhost: receiver\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    found: Mapping[str, Any] = json.loads(body) if b" 200 " in head[:20] else {}
    return found


def held_back(server: Mapping[str, Any] | None) -> dict[str, HeldBack]:
    """Which destinations the server gives next to nothing now, from what it says."""
    found: Mapping[str, Any] = (server or {}).get("held_back", {})
    return {
        name: HeldBack(held["by"], held["why"], datetime.fromisoformat(held["until"]))
        for name, held in found.items()
    }


async def check_names(
    reader: Reader,
    settings: Settings,
    *,
    source: str | None = None,
    destination: str | None = None,
) -> None:
    """
    Names in filters may be of what was configured once, as long as it left a trace.

    Raises:
        click.BadParameter: neither the configuration nor the store knows one.
    """
    if source not in (None, *settings.sources) and not (
        await reader.events(EventFilter(source), limit=1)
        or await reader.rejections(source=source, limit=1)
    ):
        check_name("source", source, settings.sources)
    if destination not in (None, *settings.destinations) and not (
        await reader.deliveries(DeliveryFilter(destination=destination), limit=1)
    ):
        check_name("destination", destination, settings.destinations)


def check_name(kind: str, name: str | None, known: Iterable[str]) -> None:
    """
    Raises:
        click.BadParameter: there is none of this name.
    """
    known = list(known)
    if name not in known:
        hint = suggest(str(name), known)
        raise click.BadParameter(f"there is no {kind} {name!r} ({hint})")


def options(*several: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(command: Any) -> Any:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


def listing(noun: str) -> Callable[[Any], Any]:
    """A command that lists: how much of it, from where on, and whether as JSON."""
    limits = click.IntRange(1, 100_000)
    return options(
        click.option(
            "--limit",
            default=50,
            show_default=True,
            type=limits,
            help="At most so many.",
        ),
        click.option("--after", help=f"Go on after this {noun} id (older ones)."),
        as_json,
        click.pass_obj,
        waits,
    )


in_bulk = options(
    click.option("--dry-run", is_flag=True, help="Only say what would be done."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)
"""For what changes many at a time."""


def choose(verb: str, noun: str, ids: Sequence[str], filters: Iterable[object]) -> None:
    """
    Raises:
        click.UsageError: neither ids nor filters were given, or both.
    """
    chosen = any(filters)
    if not ids and not chosen:
        raise click.UsageError(f"{verb} what? Name {noun}, or give filters.")
    if ids and chosen:
        raise click.UsageError(f"{verb} what? Name {noun} or give filters, not both.")


def ask(question: str) -> None:
    """
    Go on only if the answer is yes; asked on standard error.

    Raises:
        click.UsageError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes, there is nobody to ask.")
    # asyncio's own would only cancel the task, which cannot notice before an answer.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yes = click.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, before)
    if not yes:
        sys.exit(1)


def steps(label: str, items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`CHUNK` items at a time, with a progress bar where somebody watches."""
    with click.progressbar(
        length=len(items),
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            yield part
            bar.update(len(part))


def program() -> str:
    """How this program was started, for somebody to type again."""
    started = sys.argv[0]
    found = shutil.which("receiver")
    if found and Path(found).resolve() == Path(started).resolve():
        return "receiver"
    if Path(started).name == "__main__.py":
        return f"{sys.executable} -m receiver"
    return started


def moment(text: str | None) -> datetime | None:
    """`2h` (ago), `2026-01-24`, `2026-01-24T10:00:00Z`; UTC where no zone is given."""
    try:
        return None if text is None else moments.moment(text, clock.now())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def rate(text: str | None) -> float | None:
    """`20/s`, `5/m`, as events per second."""
    if text is None:
        return None
    found = fields.rate(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no rate; write 20/s or 5/m")
    return found.per_second
