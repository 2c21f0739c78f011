"""replay: new deliveries from stored events."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from receiver import clock
from receiver.cli.common import (
    CHUNK,
    ask,
    check_name,
    check_names,
    choose,
    in_bulk,
    looking,
    moment,
    options,
    rate,
    settings_of,
    waits,
)
from receiver.cli.events import event_filter, filters
from receiver.cli.output import as_json, emit_json, plural
from receiver.settings import Settings
from receiver.stores import EventFilter, Reader, StoredEvent

MOST_NAMED = 1_000
POLL_S = 0.1


@click.command()
@click.argument("events", metavar="[EVENT]...", nargs=-1)
@filters
@click.option(
    "--to", multiple=True, help="To this destination (default: today's routes)."
)
@click.option("--rate", "rate_", help="Spread the deliveries: 20/s, 5/m.")
@click.option(
    "--as-new",
    is_flag=True,
    help="Under new ids, so that nobody takes it for a repeat.",
)
@options(in_bulk, as_json)
@click.pass_obj
@waits
async def replay(
    config: Path | None,
    /,
    events: tuple[str, ...],
    to: tuple[str, ...],
    rate_: str | None,
    as_new: bool,
    dry_run: bool,
    yes: bool,
    json_: bool,
    **chosen: Any,
) -> None:
    """
    Deliver stored events again, oldest first.  They go where today's routes send
    them, or with --to elsewhere, under their own ids unless --as-new.

    \b
    Examples:
      receiver replay evt_0123456789abcdef
      receiver replay --source sora2 --since 2h --to crm --rate 20/s
      receiver replay --type batch.completed --since 2026-01-24 --dry-run
    """
    choose("replay", "events", events, chosen.values())
    settings, where, per_second = (
        settings_of(config),
        event_filter(**chosen),
        rate(rate_),
    )
    for name in to:
        check_name("destination", name, settings.destinations)
    if len(events) > MOST_NAMED:
        raise click.UsageError(
            f"at most {MOST_NAMED:,} events can be named; use filters"
        )
    async with looking(settings) as reader:
        await check_names(reader, settings, source=where.source)
        if dry_run:
            await _would(settings, _stored(reader, events, where), to, json_=json_)
            return
        count = len(set(events)) if events else await reader.count_events(where)
        for event_id in events:
            (await reader.event(event_id)).whole()
    replay: Mapping[str, Any] | None = None
    if count:
        if not events and not yes:
            ask(f"replay {plural(count, 'event')}?")
        wanted: dict[str, object] = {"to": list(dict.fromkeys(to)), "as_new": as_new}
        if per_second:
            wanted["per_second"] = per_second
        which = (
            {"events": list(dict.fromkeys(events))}
            if events
            else {"where": _where(chosen)}
        )
        replay = await _replay(settings, {**wanted, **which}, quiet=json_)
    _show(replay, json_=json_)
    if replay and replay["state"] == "done":
        _say_left_out(count - replay["events"])


def _show(replay: Mapping[str, Any] | None, *, json_: bool) -> None:
    events, deliveries = (
        (replay or {}).get("events", 0),
        (replay or {}).get("deliveries", 0),
    )
    if json_:
        answer = {"events": events, "deliveries": deliveries, "dry_run": False}
        emit_json({**answer, "replay": replay and replay["id"]})
    elif replay is None:
        click.echo("nothing matched")
    else:
        count = f"{plural(deliveries, 'delivery')} of {plural(events, 'event')}"
        cancelled = ", then cancelled" if replay["state"] == "cancelled" else ""
        click.echo(f"{replay['id']}: {count}{cancelled}")
        if events and not deliveries and not cancelled:
            click.echo("no route sends them anywhere; say where with --to", err=True)
    if replay and replay["state"] == "cancelled":
        sys.exit(1)


async def _stored(
    reader: Reader, ids: Sequence[str], where: EventFilter
) -> AsyncGenerator[StoredEvent, None]:
    """
    Each event that was named, or all that the filters let through, once.

    Raises:
        Conflict: the body of one that was named was pruned.
    """
    for event_id in dict.fromkeys(ids):
        stored = await reader.event(event_id)
        stored.whole()
        yield stored
    after, gone = None, 0
    while not ids and (
        page := await reader.events(where, limit=CHUNK, after=after, newest_first=False)
    ):
        for stored in page:
            gone += stored.body_pruned_at is not None
            if stored.body_pruned_at is None:
                yield stored
        after = page[-1].event.id
    _say_left_out(gone)


def _say_left_out(count: int) -> None:
    if count > 0:
        note = f"{plural(count, 'event')} left out: the bodies were pruned"
        click.secho(note, fg="yellow", err=True)


async def _would(
    settings: Settings,
    found: AsyncGenerator[StoredEvent, None],
    to: Sequence[str],
    *,
    json_: bool,
) -> None:
    """Say how many deliveries it would be, to which destinations."""
    from receiver.providers.senders import Senders
    from receiver.replay import targets
    from receiver.routing import Router

    router, named = Router(settings.routes), tuple(dict.fromkeys(to))
    read = Senders(settings.sources.values()).read
    events, counts = 0, Counter[str]()
    async for stored in found:
        events += 1
        counts.update(named or await targets(router, read, stored))
    if json_:
        answer = {"events": events, "deliveries": counts.total(), "dry_run": True}
        emit_json({**answer, "destinations": counts, "replay": None})
    elif not events:
        click.echo("nothing matched")
    else:
        each = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        click.echo(
            f"would replay {plural(events, 'event')}: "
            f"{plural(counts.total(), 'delivery')}" + (f" ({each})" if each else "")
        )


async def _replay(
    settings: Settings, wanted: Mapping[str, object], *, quiet: bool
) -> Mapping[str, Any]:
    """The replay, once it is done; who leaves earlier does not stop it."""
    from receiver.cli.writing import writing

    async with writing(settings) as writer:
        replay = await writer.post("/replays", wanted)
        with click.progressbar(
            length=100,
            label=f"replay {replay['id']}",
            file=sys.stderr,
            hidden=quiet or not sys.stderr.isatty(),
        ) as bar:
            while replay["state"] == "running":
                await asyncio.sleep(POLL_S)
                replay = await writer.get(f"/replays/{replay['id']}")
                bar.update(int(replay["progress"] * 100) - bar.pos)
    return replay


def _where(chosen: Mapping[str, str | None]) -> dict[str, str]:
    """The filters as the API takes them, relative times made absolute."""
    found = {name.rstrip("_"): value for name, value in chosen.items() if value}
    times = {name: moment(found[name]) for name in ("since", "until") if name in found}
    return found | {name: clock.iso(at) for name, at in times.items() if at}
