"""doctor: what is wrong with an installation, or soon will be, and what to do."""

import asyncio
import os
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from receiver import __version__, clock
from receiver.cli.common import held_back, looking_at, server_at
from receiver.cli.output import as_json, clean, emit_json, plural, table
from receiver.cli.refusals import refused_lately
from receiver.cli.serving import complete, guarded_by
from receiver.cli.status import attention
from receiver.cli.trying import notes
from receiver.destinations import Reaches, make
from receiver.doctor import (
    Finding,
    Verdict,
    facts,
    machine,
    ok,
    problem,
    unknown,
    warning,
)
from receiver.doctor import store as judging
from receiver.errors import SettingsError, StoreError
from receiver.ledger import Ledger, standings
from receiver.models import Outcome, Result, Status
from receiver.settings import (
    DEFAULT_FILE,
    DestinationSettings,
    Settings,
    StoreSettings,
    load_store,
)
from receiver.stores import (
    DeliveryFilter,
    EventFilter,
    Reader,
    control_path,
    sqlite_path,
)
from receiver.stores.sqlite.examine import examine
from receiver.stores.sqlite.lock import holder
from receiver.stores.sqlite.migrate import newest

PATIENCE_S = 10.0
A_DAY = timedelta(days=1)
A_WEEK = timedelta(days=7)
AN_HOUR = timedelta(hours=1)


@click.command()
@click.option("--offline", is_flag=True, help="Do not connect to destinations.")
@click.option(
    "--full", is_flag=True, help="Check indexes and the ledger, too; takes longer."
)
@as_json
@click.pass_obj
def doctor(config: Path | None, offline: bool, full: bool, json_: bool) -> None:
    """
    Look at everything, change nothing; say what is wrong and what to do about it.

    Destinations are connected to, but sent nothing.  It goes on with what it can when
    the configuration or the store is broken.  Exit code 0 when there is no problem,
    1 when there is; warnings are not problems.

    \b
    Examples:
      receiver doctor
      receiver doctor --full --offline
      receiver doctor --json | jq '.findings[] | select(.verdict == "problem")'
    """
    found = asyncio.run(_all(config, offline=offline, full=full))
    counts = Counter(finding.verdict for finding in found)
    if json_:
        emit_json(
            {
                "problems": counts[Verdict.PROBLEM],
                "warnings": counts[Verdict.WARNING],
                "findings": found,
            }
        )
    else:
        _show(found)
        problems = plural(counts[Verdict.PROBLEM], "problem")
        click.echo(f"\n{problems}, {plural(counts[Verdict.WARNING], 'warning')}")
    sys.exit(1 if counts[Verdict.PROBLEM] else 0)


def _show(found: Sequence[Finding]) -> None:
    table(
        ("", "ABOUT", "FOUND"),
        [(one.verdict.value, one.about, one.words) for one in found],
    )
    for one in found:
        if one.advice:
            click.echo(f"\n{one.verdict.value}: {one.about}: {clean(one.words)}")
            for line in one.advice.splitlines():
                click.echo(textwrap.indent(clean(line), "  "))


async def _all(config: Path | None, *, offline: bool, full: bool) -> list[Finding]:
    found, settings = _configuration(config)
    store = _store_settings(config)
    if store is None:
        found.append(unknown("store", "the configuration does not say where it is"))
    else:
        found += [one async for one in _store(store, settings, full=full)]
    if settings is not None and not offline:
        found += await _destinations(settings)
    return found


# -- the configuration


def _configuration(config: Path | None) -> tuple[list[Finding], Settings | None]:
    """What `check` says of it, and which sources have which secrets."""
    files = facts.files([config or Path(DEFAULT_FILE), _dotenv(config)])
    found = list(machine.configuration_files(files))
    try:
        settings = complete(config)
    except SettingsError as error:
        advice = "mend it, then: receiver check"
        found += [problem("configuration", str(one), advice) for one in error.problems]
        return found, None
    found.append(ok("configuration", f"{settings.file}: no problems"))
    for source in settings.sources.values():
        guard = guarded_by(source)
        about = f"sources.{source.name}"
        found.append(ok(about, f"guarded by {guard}") if guard else _open(about))
    found += [
        warning(key, message, "see receiver check") for key, message in notes(settings)
    ]
    return found, settings


def _open(about: str) -> Finding:
    return warning(about, "takes what anybody sends", "set `secrets` or a condition")


def _dotenv(config: Path | None) -> Path:
    return (config or Path(DEFAULT_FILE)).parent / ".env"


def _store_settings(config: Path | None) -> StoreSettings | None:
    with suppress(SettingsError):
        return load_store(config, os.environ)
    return None  # what is wrong with it was said with the rest


# -- the store and its server


async def _store(
    store: StoreSettings, settings: Settings | None, *, full: bool
) -> AsyncIterator[Finding]:
    path, now = sqlite_path(store.url).absolute(), clock.now()
    seen = await asyncio.to_thread(_seen, path, full=full)
    for one in judging.of_file(seen):
        yield one
    answer = await server_at(store.url)
    yield judging.of_owner(judging.Owner(holder(path), answer), __version__, now)
    yield machine.limits(facts.open_files(answer.get("pid") if answer else None))
    reads = _Reads()
    if judging.is_readable(seen):
        try:
            async with looking_at(store.url) as reader:
                reads = await _read(reader, seen.bytes, now)
                for one in await _deliveries(reader, settings, answer, full=full):
                    yield one
        except StoreError as error:
            yield unknown("deliveries", f"not looked at: {error}")
    for one in machine.clock_findings(
        facts.clock_is_synchronised(), reads.newest_event_at, reads.refused_at, now
    ):
        yield one
    for one in _surroundings(path, store, reads.per_day):
        yield one


def _seen(path: Path, *, full: bool) -> judging.Seen:
    try:
        size, log = path.stat().st_size, path.resolve().with_name(f"{path.name}-wal")
        log_bytes = log.stat().st_size if log.exists() else 0
    except FileNotFoundError:
        return judging.Seen(path, exists=False)
    except OSError as error:
        wrong = StoreError(f"{path}: {error.strerror}")
        return judging.Seen(path, exists=True, error=wrong)
    found = examine(path, full=full)
    return judging.Seen(
        path,
        exists=True,
        bytes=size,
        log_bytes=log_bytes,
        schema=found.schema,
        newest_schema=newest(),
        error=found.error,
        damaged=found.damaged,
        wrong=found.wrong,
        full=full,
    )


@dataclass(frozen=True, slots=True)
class _Reads:
    """What the store's rows tell of the machine."""

    per_day: float | None = None
    newest_event_at: datetime | None = None
    refused_at: datetime | None = None


async def _read(reader: Reader, size: int, now: datetime) -> _Reads:
    last = await reader.events(EventFilter(), limit=1)
    if not last:
        return _Reads()
    [first] = await reader.events(EventFilter(), limit=1, newest_first=False)
    refused = await reader.rejections(
        source=None, code="timestamp_out_of_range", limit=1
    )
    recent = await reader.count_events(EventFilter(since=now - A_WEEK))
    share = recent / await reader.count_events(EventFilter())
    time = min(now - first.event.received_at, A_WEEK)
    return _Reads(
        per_day=size * share / (time / A_DAY) if time >= AN_HOUR else None,
        newest_event_at=last[0].event.received_at,
        refused_at=refused[0].received_at if refused else None,
    )


async def _deliveries(
    reader: Reader,
    settings: Settings | None,
    answer: Mapping[str, Any] | None,
    *,
    full: bool,
) -> list[Finding]:
    """What waits, and what needs somebody, as `status` says it."""
    found: list[Finding] = []
    queues = await reader.queues()
    names = settings.destinations if settings else [q.destination for q in queues]
    standing = standings(queues, await reader.pauses(), names, held_back(answer))
    found += judging.of_queues(standing, clock.now())
    dead = await reader.deliveries(DeliveryFilter(Status.DEAD), limit=1)
    lines = attention(standing, any_dead=bool(dead))
    found += [warning("deliveries", line) for line in lines]
    refused = await refused_lately(reader, clock.now())
    found += [warning("requests", line) for line in refused]
    if full:
        ledger = Ledger(await reader.ledger(), await reader.totals())
        found.append(judging.of_ledger(ledger))
    return found


def _surroundings(
    path: Path, store: StoreSettings, per_day: float | None
) -> Iterator[Finding]:
    real = path.resolve()
    try:
        owner = facts.user(real.parent.stat().st_uid)
        disk = facts.disk(real.parent)
    except OSError as error:
        yield problem("disk", f"{real.parent}: {error.strerror}", "ls -ld it")
        return
    beside = [real.with_name(real.name + end) for end in ("-wal", "-shm", ".lock")]
    yield from machine.private_files(
        facts.files([real, *beside, control_path(store.url)]), owner
    )
    yield machine.room(disk, store.min_free_bytes, per_day)


# -- destinations


async def _destinations(settings: Settings) -> list[Finding]:
    """Each dialled, all at the same time."""
    return await asyncio.gather(*map(_reached, settings.destinations.values()))


async def _reached(settings: DestinationSettings) -> Finding:
    about = f"destinations.{settings.name}"
    destination = make(settings)
    try:
        if not isinstance(destination, Reaches):
            return ok(about, f"{settings.described()}: on this machine")
        patience_s = min(settings.timeout.total_seconds(), PATIENCE_S)
        try:
            async with asyncio.timeout(patience_s):
                outcome = await destination.reach()
        except TimeoutError:
            outcome = Outcome(Result.TIMEOUT, f"no answer within {patience_s:g} s")
    finally:
        await destination.close()
    if outcome is None:
        return unknown(about, "where it goes is only known when there is an event")
    if outcome.ok:
        return ok(about, outcome.detail)
    advice = f"try it with a made-up event: receiver destinations test {settings.name}"
    return problem(about, f"{settings.described()}: {outcome.detail}", advice)
