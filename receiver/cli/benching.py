"""bench: how fast it is, on this machine and this disk."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click

from receiver.bench.events import Place
from receiver.bench.footprint import footprint
from receiver.bench.machine import Cores, in_memory, need_room
from receiver.bench.report import HEADINGS, Report, cells
from receiver.bench.running import Plan, Target
from receiver.bench.running import bench as running
from receiver.bench.scenarios import SCENARIOS, at
from receiver.cli.common import check_name, options, settings_of, waits
from receiver.cli.output import emit_json, facts, table
from receiver.plain import plain

FOOTPRINT = "footprint"
ALL = "all"
STDOUT = "-"
FOOTPRINT_ROUNDS = 5

how_much = options(
    click.option(
        "--rounds",
        default=Plan.rounds,
        show_default=True,
        type=click.IntRange(1, 1_000),
        help="So many of each case, in turn; medians are shown.",
    ),
    click.option(
        "--count",
        default=Plan.count,
        show_default=True,
        type=click.IntRange(10, 10_000_000),
        help="Events in a round.",
    ),
    click.option(
        "--connections",
        default=Plan.connections,
        show_default=True,
        type=click.IntRange(1, 10_000),
        help="Connections that are kept alive.",
    ),
    click.option(
        "--rate",
        default=Plan.rate,
        show_default=True,
        type=click.FloatRange(1, 1_000_000),
        help="Events a second of the open loops.",
    ),
    click.option(
        "--events",
        "kept",
        default=Plan.kept,
        show_default=True,
        type=click.IntRange(1, 100_000_000),
        help="Events in the store that growth fills first.",
    ),
)


@click.command()
@click.argument("scenarios", metavar="[SCENARIO]...", nargs=-1)
@how_much
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    help="Where the temporary stores are: on the disk you mean.",
)
@click.option("--url", help="Post to this server, not to one of its own.")
@click.option("--source", help="Sign with this source's secret, with --url.")
@click.option(
    "--json",
    "json_",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE]",
    help="Print JSON, for machines; or write it to FILE beside the table.",
)
@click.pass_obj
@waits
async def bench(
    config: Path | None,
    scenarios: tuple[str, ...],
    rounds: int,
    count: int,
    connections: int,
    rate: float,
    kept: int,
    folder: Path | None,
    url: str | None,
    source: str | None,
    json_: str | None,
) -> None:
    """
    Measure a server of its own, on a temporary store, beside one that does nothing.

    \b
    Scenarios (the first two if none is named):
      intake      signed events against bare uvicorn, closed and open loop
      delivered   from a webhook to its arrival where it is delivered to
      drain       a backlog to one destination, against aiohttp that posts
      duplicates  one event again and again
      dead        what a dead and a hanging destination cost a third one
      growth      a store with --events in it, against an empty one
      footprint   the time to start, and the memory when idle
      all         all of these

    With --url only intake and duplicates: what is posted there is stored and
    delivered like anything else.

    \b
    Examples:
      receiver bench
      receiver bench intake --rounds 7 --count 20000 --json intake.json
      receiver bench growth --events 10_000_000 --dir /var/tmp
      receiver -c receiver.toml bench intake --url http://127.0.0.1:8080/webhook/sora2
    """
    if json_ in (*SCENARIOS, FOOTPRINT):  # `--json intake` names no file
        scenarios, json_ = (json_, *scenarios), STDOUT
    plan = Plan(rounds, count, connections, rate, kept)
    place = _place(config, url, source) if url else None
    names = _chosen(scenarios, only_at_url=place is not None)
    with (
        tempfile.TemporaryDirectory(prefix="receiver-bench-", dir=folder) as name,
        _ended_by_sigterm(),
    ):
        report = await _measure(plan, names, Path(name), place)
    _show(report, json_)


def _chosen(scenarios: Sequence[str], *, only_at_url: bool) -> Sequence[str]:
    """
    Raises:
        click.BadParameter: there is no such scenario, or none at a server elsewhere.
    """
    known = ("intake", "duplicates") if only_at_url else (*SCENARIOS, FOOTPRINT)
    for name in scenarios:
        kind = "scenario with --url" if only_at_url else "scenario"
        check_name(kind, name, (*known, ALL))
    if ALL in scenarios:
        return known
    if scenarios or only_at_url:
        return tuple(dict.fromkeys(scenarios or known))
    return [name for name, found in SCENARIOS.items() if found.quick]


def _place(config: Path | None, url: str, name: str | None) -> Place:
    """
    Raises:
        click.BadParameter: nothing of ours can be posted there.
    """
    if urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
        message = "write it like http://127.0.0.1:8080/webhook/sora2 (no https)"
        raise click.BadParameter(f"--url {url}: {message}")
    settings = settings_of(config)
    found = {s.name: s for s in settings.sources.values() if s.provider == "sora2"}
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name is None:
        raise click.UsageError("whose secret? Name a source of sora2 with --source.")
    check_name("source of sora2", name, found)
    return Place.of(url, found[name])


async def _measure(
    plan: Plan, names: Sequence[str], folder: Path, place: Place | None
) -> Report:
    report = Report(plan, Cores.choose(), in_memory(folder))
    loads = [name for name in names if name != FOOTPRINT]
    need_room(folder, sum(SCENARIOS[name].needed_bytes(plan) for name in loads))
    if loads:
        with _progress(sum(SCENARIOS[name].steps(plan) for name in loads)) as step:
            async with running(plan, folder, step) as started:
                report.ceiling = round(await started.ceiling(), 1)
                elsewhere = at(Target(place)) if place else {}
                for name in loads:
                    run = elsewhere.get(name, SCENARIOS[name].run)
                    report.rows += await run(started)
    if FOOTPRINT in names:
        report.footprint = await footprint(folder, FOOTPRINT_ROUNDS)
    return report


@contextmanager
def _progress(length: int) -> Generator[Callable[[str], None], None, None]:
    """A bar where somebody watches; each step is told before it is done."""
    with click.progressbar(
        length=length,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=_said,
    ) as bar:

        def step(what: str) -> None:
            bar.update(1, what)

        yield step


def _said(what: object) -> str:
    return str(what or "")


@contextmanager
def _ended_by_sigterm() -> Generator[None, None, None]:
    """
    The server runs in a session of its own: end it whoever ends us.

    Raises:
        click.Abort: somebody did.
    """
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _show(report: Report, json_: str | None) -> None:
    found = report.json()
    if json_ == STDOUT:
        emit_json(found)
        return
    if json_ is not None:
        text = json.dumps(plain(found), ensure_ascii=False, indent=2)
        Path(json_).write_text(text + "\n")
    if report.rows:
        table(HEADINGS, cells(report.rows), dull=("LOOP", "OF"))
        _facts(report)
    if report.footprint:
        size = report.footprint.idle_rss_mb
        facts(
            [
                ("receiver --help", f"{report.footprint.help_s:.2f} s"),
                ("start to ready", f"{report.footprint.ready_s:.2f} s"),
                ("memory when idle", f"{size:.0f} MB" if size is not None else None),
            ]
        )
    for warning in report.warnings():
        click.secho(f"\nnote: {warning}", fg="yellow", err=True)


def _facts(report: Report) -> None:
    plan = report.plan
    said = f"{plan.rounds} rounds of {plan.count:,}, {plan.connections} connections"
    found: list[tuple[str, object]] = [("\nmeasured", f"medians of {said}")]
    if report.ceiling:
        more = f"; {report.headroom:g} times the fastest" if report.headroom else ""
        found.append(("the load alone", f"{report.ceiling:,.0f} events/s{more}"))
    found += [
        ("store", f"{row.store_bytes:,.0f} bytes per event kept")
        for row in report.rows
        if row.store_bytes is not None
    ]
    click.echo()
    facts([(name.strip(), value) for name, value in found])
