"""backup: a copy of the store, whether a server runs or not."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from receiver import clock
from receiver.cli.copying import cleaning_up, copied, store_of
from receiver.cli.output import as_json, emit_json, facts
from receiver.errors import StoreUnusable
from receiver.stores.sqlite.backup import Contents, sync_folder
from receiver.stores.sqlite.swap import companions


@click.command()
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@as_json
@click.pass_obj
def backup(config: Path | None, file: str, force: bool, json_: bool) -> None:
    """
    Copy the store to FILE: one moment of it, checked, readable by you alone.

    The server may run; it goes on taking webhooks.  FILE may be a folder, which gets a
    file named by the time, or - for standard output.  Of the configuration only
    [store] is needed.

    \b
    Examples:
      receiver backup /backup/receiver.db
      receiver backup /backup                  # receiver-2026-01-24T10-02-05Z.db
      receiver backup - | gzip > receiver.db.gz
    """
    settings, store = store_of(config)
    if not store.exists():
        raise StoreUnusable(f"there is no store at {store}: nothing to copy")
    with cleaning_up():
        if file == "-":
            _to_output(store, json_=json_)
            return
        target = _target(file, store, force=force)
        same_disk = target.parent.stat().st_dev == store.stat().st_dev
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            found = copied(
                "copying", store, partial, settings.min_free_bytes if same_disk else 0
            )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)
    if json_:
        emit_json({"file": str(target), **as_values(found)})
    else:
        facts([("backup", target), *described(found)])


def described(found: Contents) -> list[tuple[str, object]]:
    """What a copy holds, for people."""
    return [
        ("size", f"{found.bytes:,} bytes, checked"),
        ("schema", found.schema),
        ("events", f"{found.events:,}"),
        ("newest", clock.iso(found.newest_event_at) if found.newest_event_at else None),
        ("keys", f"{found.keys:,}"),
        ("deliveries", f"{found.deliveries:,}"),
    ]


def as_values(found: Contents) -> dict[str, object]:
    """The same for programs."""
    return {
        "bytes": found.bytes,
        "schema": found.schema,
        "newest_event_at": found.newest_event_at,
        "rows": found.rows,
    }


def _target(file: str, store: Path, *, force: bool) -> Path:
    """
    Where the backup goes; a symbolic link is followed.

    Raises:
        click.ClickException: nothing can or should be written there.
    """
    try:
        target = Path(file).resolve()
    except (OSError, RuntimeError):
        raise click.ClickException(f"{file} leads to itself") from None
    if target.is_dir():
        name = f"{store.stem}-{clock.now():%Y-%m-%dT%H-%M-%SZ}{store.suffix or '.db'}"
        target /= name
    if file.endswith("/") and not Path(file).is_dir():
        raise click.ClickException(f"{file} is not a folder")
    if not target.parent.is_dir():
        raise click.ClickException(f"the folder {target.parent} does not exist")
    real = store.resolve()
    if target in (real, *companions(real)) or _is(target, store):
        raise click.ClickException(f"{target} is the store itself")
    if target.exists() and not target.is_file():
        raise click.ClickException(f"{target} is not a file; for a pipe write -")
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists already; --force replaces it")
    return target


def _is(target: Path, store: Path) -> bool:
    return target.exists() and target.samefile(store)


def _to_output(store: Path, *, json_: bool) -> None:
    """By way of a checked file among the temporary ones (see TMPDIR)."""
    if json_:
        raise click.UsageError("--json would end up in the backup; give a file.")
    if sys.stdout.isatty():
        raise click.UsageError("The backup is no text: receiver backup - > FILE")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / store.name
        found = copied("copying", store, file)
        try:
            with file.open("rb") as copy, open(1, "wb", 0, closefd=False) as output:
                shutil.copyfileobj(copy, output)
        except BrokenPipeError:
            message = "who read the backup stopped: it is not whole"
            raise click.ClickException(message) from None
    words = ", ".join(f"{name} {value}" for name, value in described(found))
    click.echo(words, err=True)
