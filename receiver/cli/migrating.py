"""migrate: bring the store to this version's schema without starting a server."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from receiver import __version__
from receiver.cli.copying import owning, store_of
from receiver.cli.output import as_json, emit_json, table
from receiver.errors import StoreUnusable
from receiver.stores.sqlite.errors import naming
from receiver.stores.sqlite.migrate import Migration, check, newest, outstanding
from receiver.stores.sqlite.migrate import migrate as run
from receiver.stores.sqlite.reader import open_file


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say which steps there would be.")
@as_json
@click.pass_obj
def migrate(config: Path | None, dry_run: bool, json_: bool) -> None:
    """
    Bring the store to the schema of this version, without starting a server.

    `serve` does the same when it starts.  Each step is done whole or not at all.  There
    is no way back but a backup: make one first.

    \b
    Examples:
      receiver migrate --dry-run
      receiver backup /backup && receiver migrate
    """
    _, store = store_of(config)
    if not store.exists():
        message = f"there is no store at {store}; start one with: receiver serve"
        raise StoreUnusable(message)
    with naming(store):
        schema, steps = _look(store) if dry_run else _migrated(store)
    if json_:
        names = [{"schema": step.number, "name": step.name} for step in steps]
        emit_json(
            {"before": schema, "newest": newest(), "steps": names, "done": not dry_run}
        )
        return
    if not steps:
        click.echo(
            f"schema {schema} is what receiver {__version__} needs: nothing to do"
        )
        return
    table(("SCHEMA", "STEP"), [(step.number, step.name) for step in steps])
    words = "would be brought" if dry_run else "was brought"
    click.echo(f"{store} {words} from schema {schema} to {steps[-1].number}")


def _look(store: Path) -> tuple[int, Sequence[Migration]]:
    with closing(open_file(store, "ro")) as connection:
        schema = check(connection)
    return schema, outstanding(schema)


def _migrated(store: Path) -> tuple[int, Sequence[Migration]]:
    with owning(store), closing(open_file(store, "rw")) as connection:
        schema = check(connection)
        return schema, run(connection)
