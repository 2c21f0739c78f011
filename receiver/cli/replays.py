"""replay: new deliveries from stored events."""

import sys
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import looking, rate, settings_of, waits
from receiver.cli.events import event_filter, filters
from receiver.cli.output import as_json, emit_json, plural
from receiver.cli.writing import CHUNK, writing
from receiver.stores import EventFilter, Reader


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
@click.option("--dry-run", is_flag=True, help="Only say how many events.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
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
    if not events and not any(chosen.values()):
        raise click.UsageError("replay what? Name events, or give filters.")
    settings = settings_of(config)
    where, per_second = event_filter(**chosen), rate(rate_)
    async with looking(settings) as reader:
        found = list(events) if events else await _ids(reader, where)
        for event_id in events:
            await reader.event(event_id)
    if dry_run or not found:
        _report(len(found), None, dry_run=dry_run, json_=json_)
        return
    if (
        not events
        and not yes
        and not click.confirm(f"replay {plural(len(found), 'event')}?")
    ):
        sys.exit(1)
    wanted = {"to": list(to), "as_new": as_new, "per_second": per_second}
    async with writing(settings) as writer:
        asked = {"events": len(found), "filter": chosen, **wanted}
        replay_id = (await writer.post("/replays", {"asked": asked}))["id"]
        step: dict[str, Any] = {"due_at": None}
        deliveries = 0
        with click.progressbar(
            length=len(found), label="replay", file=sys.stderr
        ) as bar:
            for start in range(0, len(found), CHUNK):
                part = found[start : start + CHUNK]
                body = {**wanted, "events": part, "due_at": step["due_at"]}
                step = dict(await writer.post(f"/replays/{replay_id}/events", body))
                deliveries += step["deliveries"]
                bar.update(len(part))
    _report(len(found), deliveries, dry_run=False, json_=json_, replay_id=replay_id)


def _report(
    events: int,
    deliveries: int | None,
    *,
    dry_run: bool,
    json_: bool,
    replay_id: str | None = None,
) -> None:
    if json_:
        answer = {"events": events, "deliveries": deliveries or 0, "dry_run": dry_run}
        emit_json({**answer, "replay": replay_id})
    elif dry_run or deliveries is None:
        click.echo(
            f"{'would replay' if dry_run else 'nothing matched:'} {plural(events, 'event')}"
        )
    else:
        click.echo(
            f"{replay_id}: {plural(deliveries, 'delivery')} of {plural(events, 'event')}"
        )
        if not deliveries:
            click.echo("no route sends them anywhere; say where with --to", err=True)


async def _ids(reader: Reader, where: EventFilter) -> list[str]:
    found: list[str] = []
    after = None
    while page := await reader.events(
        where, limit=CHUNK, after=after, newest_first=False
    ):
        found += [stored.event.id for stored in page]
        after = page[-1].event.id
    return found
