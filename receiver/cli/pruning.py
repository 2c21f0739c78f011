"""prune: remove what is old now, instead of when its time comes."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import click

from receiver import clock
from receiver.cli.common import ask, in_bulk, looking, options, settings_of, waits
from receiver.cli.output import as_json, emit_json, plural
from receiver.settings import StoreSettings
from receiver.settings.fields import byte_size, duration
from receiver.stores import EventFilter, Reader
from receiver.stores.pruning import Cutoffs, Pruned

EVENT_BYTES = 400
DELIVERY_BYTES = 100
"""What an event and a delivery take beside the body, roughly."""

COUNTED = (
    "events", "bodies", "deliveries", "rejections", "subjects", "bytes", "held",
)  # fmt: skip


@click.command()
@click.option(
    "--older-than",
    metavar="AGE",
    help="What was accepted before: 30d. By default as the configuration says.",
)
@click.option(
    "--bodies",
    "only_bodies",
    is_flag=True,
    help="Of that only the bodies, headers and queries.",
)
@click.option(
    "--to-size",
    metavar="SIZE",
    help="Instead: the oldest events, until the store takes so much: 2GB.",
)
@options(in_bulk, as_json)
@click.pass_obj
@waits
async def prune(
    config: Path | None,
    older_than: str | None,
    only_bodies: bool,
    to_size: str | None,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    """
    Remove what is old, oldest first, and give the space back to the file system.

    Of an event that goes the key is kept for ever: it is never accepted twice.  Nothing
    goes of an event that waits for a destination.  The server does this by itself, by
    the settings in [store]; with this command at once, and more.  May be interrupted.

    \b
    Examples:
      receiver prune --dry-run
      receiver prune --older-than 14d
      receiver prune --older-than 7d --bodies --yes
      receiver prune --to-size 2GB --yes --json
    """
    settings = settings_of(config)
    wanted, to_bytes = _wanted(settings.store, older_than, only_bodies, to_size)
    async with looking(settings) as reader:
        start = await _oldest(reader)
        used = (await reader.extent()).used_bytes
        found = None
        if dry_run or not yes:
            found = await _would_go(reader, wanted, to_bytes, used, start)
    about = to_bytes is not None
    if found is not None:
        if dry_run or not found.anything:
            _show(found, json_=json_, dry_run=dry_run, about=about)
            return
        ask(f"remove {_words(found, about=about)}?")
    from receiver.cli.writing import writing

    async with writing(settings) as writer:
        times = {
            name: clock.iso(at) for name, at in asdict(wanted).items() if at is not None
        }
        body = times if to_bytes is None else {**times, "to_bytes": to_bytes}
        done = Pruned(done=False)
        with _Bar("prune", wanted, start, to_bytes, used) as bar:
            while not done.done:
                answer = await writer.post("/prune", body)
                done = done.and_then(_pruned(answer))
                bar.moved_to(done.reached, answer["used_bytes"])
    _show(done, json_=json_, dry_run=False)


def _wanted(
    settings: StoreSettings,
    older_than: str | None,
    only_bodies: bool,
    to_size: str | None,
) -> tuple[Cutoffs, int | None]:
    """
    Raises:
        click.UsageError: the options do not go together.
        click.BadParameter: one cannot be read.
    """
    if only_bodies and older_than is None:
        raise click.UsageError("--bodies of which? Add --older-than AGE.")
    if older_than is not None and to_size is not None:
        raise click.UsageError("give --older-than or --to-size, not both")
    if to_size is not None:
        size = byte_size(to_size)
        if size is None:
            raise click.BadParameter(f"{to_size!r} is no size; write 2GB or 500MB")
        return Cutoffs(), size
    if older_than is None:
        from receiver.retention import cutoffs

        return cutoffs(settings, clock.now()), settings.max_bytes
    age = duration(older_than)
    try:
        before = clock.now() - age if age is not None else None
    except OverflowError:
        before = None
    if before is None:
        raise click.BadParameter(f"{older_than!r} is no age; write 30d or 12h")
    return Cutoffs(before) if only_bodies else Cutoffs(before, before, before), None


async def _oldest(reader: Reader) -> datetime | None:
    found = await reader.events(EventFilter(), limit=1, newest_first=False)
    return found[0].event.received_at if found else None


async def _would_go(
    reader: Reader,
    wanted: Cutoffs,
    to_bytes: int | None,
    used: int,
    start: datetime | None,
) -> Pruned:
    """What would go by age, and what then, about, by size."""
    found, after = Pruned(done=False), 0
    with _Bar("count", wanted, start, None, used) as bar:
        while not found.done and wanted != Cutoffs():
            step, after = await reader.would_go(wanted, after)
            found = found.and_then(step)
            bar.moved_to(found.reached, used)
    if to_bytes is None or used - _room(found) <= to_bytes:
        return found
    found, after = Pruned(), 0
    everything = Cutoffs(events=clock.now(), rejections=wanted.rejections)
    with _Bar("count", wanted, start, to_bytes, used) as bar:
        while used - _room(found) > to_bytes:
            step, after = await reader.would_go(everything, after)
            share = min(1.0, (used - _room(found) - to_bytes) / max(1, _room(step)))
            found = found.and_then(_part(step, share))
            bar.moved_to(None, used - _room(found))
            if step.done or share < 1:
                break
    return found


def _room(found: Pruned) -> int:
    """How much that is in the file, about."""
    rows = found.events * EVENT_BYTES + found.deliveries * DELIVERY_BYTES
    return found.bytes + rows


def _part(found: Pruned, share: float) -> Pruned:
    counts = {name: round(getattr(found, name) * share) for name in COUNTED}
    return Pruned(**counts, reached=found.reached, done=found.done)


def _pruned(answer: Mapping[str, Any]) -> Pruned:
    reached = answer["reached"] and datetime.fromisoformat(answer["reached"])
    counts = {name: answer[name] for name in COUNTED}
    return Pruned(**counts, reached=reached, done=answer["done"])


class _Bar:
    """How far it is, by age or by size, where somebody watches."""

    def __init__(
        self,
        label: str,
        wanted: Cutoffs,
        start: datetime | None,
        to_bytes: int | None,
        used: int,
    ) -> None:
        moments = [m for m in (wanted.bodies, wanted.events) if m is not None]
        self._start = start
        self._end = max(moments, default=None)
        self._from_bytes, self._to_bytes = used, to_bytes
        self._bar = click.progressbar(
            length=1_000, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
        )
        self._at = 0

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.update(1_000 - self._at)
        self._bar.__exit__(None, None, None)

    def moved_to(self, reached: datetime | None, used: int) -> None:
        part = 0.0
        if self._to_bytes is not None:
            whole = max(1, self._from_bytes - self._to_bytes)
            part = (self._from_bytes - used) / whole
        elif reached and self._start and self._end and self._end > self._start:
            part = (reached - self._start) / (self._end - self._start)
        at = max(self._at, min(1_000, round(part * 1_000)))
        self._bar.update(at - self._at)
        self._at = at


def _words(found: Pruned, *, about: bool) -> str:
    parts = [
        plural(found.events, "event"),
        plural(found.bodies, "body"),
        plural(found.deliveries, "delivery"),
        plural(found.rejections, "rejection"),
        plural(found.subjects, "subject"),
    ]
    kinds = [part for part in parts if not part.startswith("0 ")]
    roughly = "about " if about else ""
    return f"{roughly}{', '.join(kinds)} ({found.bytes / 1e6:,.1f} MB of bodies)"


def _show(found: Pruned, *, json_: bool, dry_run: bool, about: bool = False) -> None:
    if json_:
        counts = {name: getattr(found, name) for name in COUNTED}
        emit_json({**counts, "dry_run": dry_run})
        return
    if not found.anything:
        click.echo("nothing is old enough")
    else:
        did = "would remove" if dry_run else "removed"
        click.echo(f"{did} {_words(found, about=about)}")
    if found.held:
        click.echo(f"{plural(found.held, 'event')} stay: a delivery waits", err=True)
