"""restore: a backup in the place of the store."""

import asyncio
import glob
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from receiver import clock
from receiver.cli.backing_up import as_values, described
from receiver.cli.common import ask, settings_of
from receiver.cli.copying import cleaning_up, copied, owning, store_of
from receiver.cli.output import as_json, clean, emit_json, facts, plural
from receiver.ledger import Ledger
from receiver.stores import open_store
from receiver.stores.sqlite.backup import Contents
from receiver.stores.sqlite.swap import companions, put_in_place

GZIP = b"\x1f\x8b"
PAUSED = "restored from a backup"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What will be the store, beside it, with what its start would bring."""

    contents: Contents
    pending: dict[str, int]
    paused: tuple[str, ...]
    difference: int


@click.command()
@click.argument("file")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--pause",
    is_flag=True,
    help="Pause all destinations first, so that nothing is delivered until resumed.",
)
@as_json
@click.pass_obj
def restore(
    config: Path | None, file: str, yes: bool, pause: bool, json_: bool
) -> None:
    """
    Put a backup in the place of the store, which is kept beside it.

    No server may run.  The backup is checked first, and brought to this version's
    schema; FILE itself is not changed.  What was pending when it was made is delivered
    (again) when the server starts, with the same webhook-id.

    \b
    Examples:
      receiver restore /backup/receiver-2026-01-24T10-02-05Z.db
      receiver restore --pause --yes /backup/receiver.db
    """
    settings, store = store_of(config)
    store = store.resolve()  # where a link leads, as for the server
    source = _source(file, store)
    configured = settings_of(config).destinations if pause else ()
    partial = store.with_name(f".{store.name}.{os.getpid()}.partial")
    with owning(store), cleaning_up():
        _remove_what_was_left(store)
        try:
            found = copied("copying", source, partial, settings.min_free_bytes)
            prepared = asyncio.run(_prepare(found, partial, configured, pause=pause))
            if not yes:
                _tell(prepared, source, store)
                ask(f"Put it in the place of {store}?")
            kept = put_in_place(partial, store, clock.now())
        finally:
            for left in (partial, *companions(partial), _lock_of(partial)):
                left.unlink(missing_ok=True)
    _report(prepared, store, kept, json_=json_)


def _remove_what_was_left(store: Path) -> None:
    """By a restore that was killed; nobody else is at it, for the store is ours."""
    for left in store.parent.glob(f".{glob.escape(store.name)}.*.partial*"):
        left.unlink(missing_ok=True)


def _source(file: str, store: Path) -> Path:
    """
    Raises:
        click.ClickException: that cannot be a backup.
    """
    path = Path(file)
    if file == "-":
        raise click.ClickException("a backup is restored from a file, not from a pipe")
    if path.is_dir():
        files = [p for p in path.glob(f"*{store.suffix}") if p.resolve() != store]
        newest = max(files, key=lambda p: p.stat().st_mtime, default=None)
        hint = f"; the newest there is {newest}" if newest else ""
        raise click.ClickException(f"{file} is a folder: name the file{hint}")
    if not path.is_file():
        raise click.ClickException(f"there is no file {file}")
    if store.exists() and path.samefile(store):
        raise click.ClickException(f"{file} is the store itself")
    try:
        with path.open("rb") as opened:
            compressed = opened.read(2) == GZIP
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    if compressed:
        raise click.ClickException(f"{file} is compressed: gunzip it first")
    return path


async def _prepare(
    contents: Contents, file: Path, configured: Collection[str], *, pause: bool
) -> _Prepared:
    """Bring the copy to our schema, pause, and count what its start would bring."""
    store = await open_store(f"sqlite:///{file}")
    try:
        queues = {q.destination: q.pending for q in await store.queues() if q.pending}
        if pause:
            for name in sorted({*configured, *queues}):
                await store.pause(name, PAUSED, clock.now())
        paused = [p.destination for p in await store.pauses() if p.ended_at is None]
        ledger = Ledger(await store.ledger(), await store.totals())
    finally:
        await store.close()
    return _Prepared(contents, queues, tuple(paused), ledger.difference)


def _tell(prepared: _Prepared, source: Path, store: Path) -> None:
    """What is about to happen, on standard error, where the question is asked."""
    found = prepared.contents
    click.echo(f"{clean(str(source))}: {_in_words(found)}", err=True)
    for line in (_about(store), *_consequences(prepared)):
        click.echo(clean(line), err=True)


def _in_words(found: Contents) -> str:
    newest = found.newest_event_at
    last = f", the newest of {clock.iso(newest)}" if newest else ""
    return f"{plural(found.events, 'event')}{last}"


def _about(store: Path) -> str:
    if not store.exists():
        return f"{store}: there is none yet"
    size, changed = (
        store.stat().st_size,
        clock.from_ms(store.stat().st_mtime_ns // 10**6),
    )
    return f"{store}: {size:,} bytes, last changed {clock.iso(changed)}; it is kept"


def _consequences(prepared: _Prepared) -> Iterable[str]:
    count = sum(prepared.pending.values())
    going = sum(
        n for name, n in prepared.pending.items() if name not in prepared.paused
    )
    if going:
        where = ", ".join(
            f"{n:,} to {name}"
            for name, n in prepared.pending.items()
            if name not in prepared.paused
        )
        yield (
            f"{plural(going, 'delivery')} pending in it will be delivered when the server "
            f"starts ({where}), also what has arrived since; --pause holds them back"
        )
    elif count:
        yield f"{plural(count, 'delivery')} pending in it will wait: all is paused"
    if prepared.difference:
        yield f"its ledger does not add up: difference {prepared.difference}"


def _report(
    prepared: _Prepared, store: Path, kept: Path | None, *, json_: bool
) -> None:
    if json_:
        emit_json(
            {
                "store": str(store),
                "kept": kept and str(kept),
                "pending": prepared.pending,
                "paused": prepared.paused,
                "difference": prepared.difference,
                **as_values(prepared.contents),
            }
        )
        return
    paused = ", ".join(prepared.paused)
    resume = "receiver destinations resume NAME; " if paused else ""
    facts(
        [
            ("restored", store),
            *described(prepared.contents),
            ("kept", kept or "there was no store"),
            *([("paused", paused)] if paused else []),
            ("next", f"receiver serve; {resume}receiver status"),
        ]
    )
    for line in _consequences(prepared):
        click.secho(f"\n! {clean(line)}", fg="yellow")


def _lock_of(file: Path) -> Path:
    return file.with_name(file.name + ".lock")
