"""replay: new deliveries from stored events."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import (
    CHUNK,
    ask,
    check_name,
    check_names,
    choose,
    in_bulk,
    looking,
    options,
    rate,
    settings_of,
    steps,
    waits,
)
from receiver.cli.events import event_filter, filters
from receiver.cli.output import as_json, emit_json, plural
from receiver.settings import Settings
from receiver.stores import EventFilter, Reader, StoredEvent


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
    wanted = {"to": list(dict.fromkeys(to)), "as_new": as_new, "per_second": per_second}
    async with looking(settings) as reader:
        await check_names(reader, settings, source=where.source)
        if dry_run:
            await _would(settings, _stored(reader, events, where), to, json_=json_)
            return
        found = [stored.event.id async for stored in _stored(reader, events, where)]
    replay_id, deliveries = None, 0
    if found:
        if not events and not yes:
            ask(f"replay {plural(len(found), 'event')}?")
        asked = {"events": len(found), "filter": chosen, **wanted}
        replay_id, deliveries = await _replay(settings, found, wanted, asked)
    if json_:
        answer = {"events": len(found), "deliveries": deliveries, "dry_run": False}
        emit_json({**answer, "replay": replay_id})
        return
    if replay_id is None:
        click.echo("nothing matched")
        return
    count = f"{plural(deliveries, 'delivery')} of {plural(len(found), 'event')}"
    click.echo(f"{replay_id}: {count}")
    if not deliveries:
        click.echo("no route sends them anywhere; say where with --to", err=True)


async def _stored(
    reader: Reader, ids: Sequence[str], where: EventFilter
) -> AsyncGenerator[StoredEvent, None]:
    """Each event that was named, or all that the filters let through, once."""
    for event_id in dict.fromkeys(ids):
        yield await reader.event(event_id)
    after = None
    while not ids and (
        page := await reader.events(where, limit=CHUNK, after=after, newest_first=False)
    ):
        for stored in page:
            yield stored
        after = page[-1].event.id


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
    settings: Settings,
    events: Sequence[str],
    wanted: Mapping[str, object],
    asked: Mapping[str, object],
) -> tuple[str, int]:
    """The replay's id, and how many deliveries it made."""
    from receiver.cli.writing import writing

    async with writing(settings) as writer:
        replay_id = str((await writer.post("/replays", {"asked": asked}))["id"])
        due_at, deliveries = None, 0
        for part in steps("replay", events):
            body = {**wanted, "events": part, "due_at": due_at}
            step = await writer.post(f"/replays/{replay_id}/events", body)
            due_at, deliveries = step["due_at"], deliveries + step["deliveries"]
    return replay_id, deliveries
