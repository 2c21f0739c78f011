"""crashtest: kill a receiver at random moments, on the user's own disk."""

import asyncio
import shutil
import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import click

from receiver.cli.common import program, waits
from receiver.cli.output import as_json, clean, emit_json, facts, plural, table
from receiver.crashtest.killing import Course, Until
from receiver.crashtest.killing import crashtest as killing
from receiver.crashtest.plan import Plan
from receiver.settings.fields import duration

ROUNDS = 10
SHOWN = 5
"""How many of what was lost are printed; the files have all of it."""


def _time(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = duration(text)
    if not found:
        raise click.BadParameter(f"{text!r} is no duration; write 30s, 10m or 2h")
    return found


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(1, 1_000_000),
    help=f"Kill it so many times (default: {ROUNDS}).",
)
@click.option("--for", "time", callback=_time, help="Go on for so long: 30s, 10m, 2h.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="Where a folder for the store is made: the disk to be tried (default: here).",
)
@click.option("--seed", type=int, help="Kill at the same moments as another time.")
@as_json
@waits
async def crashtest(
    rounds: int | None,
    time: timedelta | None,
    folder: Path,
    seed: int | None,
    json_: bool,
) -> None:
    """
    Kill a receiver with SIGKILL at random moments, and prove that it lost nothing.

    It is a receiver of its own, on a new store in a folder of its own; yours is not
    touched. A sender posts signed events and notes every 2xx; a sink notes every
    request it gets, refuses some and drops some connections. In the end their notes
    are compared: everything that was accepted must be stored, once, have arrived, and
    for each subject in order. The folder is removed unless something was lost.

    This tries the program, the kernel and the file system. What a disk forgets when
    the power fails, only pulling the plug can show.

    \b
    Examples:
      receiver crashtest
      receiver crashtest --for 10m --folder /var/lib/receiver
      receiver crashtest --rounds 100 --json
    """
    if rounds is not None and time is not None:
        raise click.UsageError("--rounds or --for, not both.")
    plan = Plan.new(seed)
    until = Until(None if time else rounds or ROUNDS, time)
    here = _folder(folder)
    try:
        course = await _interruptible(here, plan, until, quiet=json_)
    except BaseException:
        shutil.rmtree(here, ignore_errors=True)
        raise
    if course.verdict.good:
        shutil.rmtree(here)
    if json_:
        _emit(course, here)
    else:
        _show(course, here)
    sys.exit(0 if course.verdict.good else 1)


def _folder(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="crashtest-", dir=parent)).resolve()
    except OSError as error:
        message = f"cannot make a folder in {parent}: {error.strerror}"
        raise click.ClickException(message) from None


async def _interruptible(
    folder: Path, plan: Plan, until: Until, *, quiet: bool
) -> Course:
    """Ctrl-C and SIGTERM end it in order: nothing that was started stays."""
    work = asyncio.ensure_future(_with_bar(folder, plan, until, quiet=quiet))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise click.Abort from None


async def _with_bar(folder: Path, plan: Plan, until: Until, *, quiet: bool) -> Course:
    if not quiet:
        click.echo(f"seed {plan.seed}, in {folder}", err=True)
    with click.progressbar(
        length=1000,
        label="killing",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=_kills,
    ) as bar:

        def told(kills: int, share: float) -> None:
            bar.update(min(1000, round(share * 1000)) - bar.pos, kills)

        return await killing(folder, plan, until, told)


def _kills(count: int | None) -> str | None:
    return None if count is None else plural(count, "kill")


def _emit(course: Course, folder: Path) -> None:
    good = course.verdict.good
    emit_json(
        {
            "kept": good,
            "seed": course.seed,
            "kills": course.kills,
            "before_ready": course.early,
            "counts": course.verdict.counts,
            "promises": [
                {"promise": one.promise, "kept": one.kept, "broken": one.broken}
                for one in course.verdict.promises
            ],
            "folder": None if good else folder,
        }
    )


def _show(course: Course, folder: Path) -> None:
    killed = f"{course.kills} times, {course.early} of them before it was ready"
    counts = [(name, f"{count:,}") for name, count in course.verdict.counts.items()]
    facts([("killed", killed), *counts])
    click.echo()
    table(
        ("PROMISE", "BROKEN"),
        [(one.promise, len(one.broken) or "no") for one in course.verdict.promises],
    )
    if course.verdict.good:
        click.secho("\nevery promise was kept", fg="green")
        return
    for one in course.verdict.promises:
        if not one.kept:
            click.secho(f"\n{one.promise}: it was not", fg="red")
            for line in one.broken[:SHOWN]:
                click.echo(f"  {clean(line)}")
            if len(one.broken) > SHOWN:
                click.echo(f"  and {len(one.broken) - SHOWN} more")
    _look(course, folder)


def _look(course: Course, folder: Path) -> None:
    run = f"{program()} -c {folder / 'receiver.toml'}"
    click.echo(f"\nEverything is kept in {folder}:")
    facts(
        [
            ("sent.jsonl", "what the sender was answered"),
            ("received.jsonl", "what the sink was asked"),
            ("receiver.log", "what the receivers said of themselves"),
            ("receiver.db", f"{run} status;  {run} events list"),
            ("again", f"{program()} crashtest --seed {course.seed}"),
        ]
    )
