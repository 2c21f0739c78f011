"""deliveries: what became of each, and mending it."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import looking, moment, settings_of, waits
from receiver.cli.output import as_json, emit_json, facts, plural, readable, table
from receiver.cli.writing import CHUNK, writing
from receiver.models import Attempt, Delivery, Status
from receiver.settings import Settings
from receiver.stores import DeliveryFilter, Reader

Step = Callable[[Sequence[Delivery]], Awaitable[int]]


@click.group()
def deliveries() -> None:
    """List, show, retry, cancel and move deliveries."""


def filters(command: Any) -> Any:
    """The options that choose deliveries."""
    for option in (
        click.option("--until", help="Made before this time."),
        click.option(
            "--since", help="Made from this time on: 2h (ago), 2026-01-24, ..."
        ),
        click.option("--event", help="Of this event."),
        click.option("--destination", help="To this destination."),
        click.option("--status", type=click.Choice([s.value for s in Status])),
    ):
        command = option(command)
    return command


def _filter(
    status: str | None,
    destination: str | None,
    event: str | None,
    since: str | None,
    until: str | None,
) -> DeliveryFilter:
    chosen = Status(status) if status else None
    return DeliveryFilter(chosen, destination, event, moment(since), moment(until))


@deliveries.command("list")
@filters
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--after", help="Go on after this delivery id (older ones).")
@as_json
@click.pass_obj
@waits
async def list_(
    config: Path | None,
    status: str | None,
    destination: str | None,
    event: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    after: str | None,
    json_: bool,
) -> None:
    """
    The newest first.

    \b
    Examples:
      receiver deliveries list --status dead
      receiver deliveries list --destination crm --since 1d --json
    """
    where = _filter(status, destination, event, since, until)
    async with looking(settings_of(config)) as reader:
        found = await reader.deliveries(where, limit=limit, after=after)
    if json_:
        emit_json(found)
        return
    table(
        ("ID", "EVENT", "TO", "STATUS", "ATTEMPTS", "DUE OR ENDED"),
        [
            (
                d.id,
                d.event_id,
                d.destination,
                d.status,
                d.attempts,
                d.settled_at or d.due_at,
            )
            for d in found
        ],
    )
    if len(found) == limit:
        click.echo(f"\nmore: --after {found[-1].id}", err=True)


@deliveries.command()
@click.argument("delivery_id", metavar="DELIVERY")
@as_json
@click.pass_obj
@waits
async def show(config: Path | None, delivery_id: str, json_: bool) -> None:
    """
    One delivery, with every attempt and what was answered.

    \b
    Examples:
      receiver deliveries show dlv_0123456789abcdef
    """
    async with looking(settings_of(config)) as reader:
        delivery = await reader.delivery(delivery_id)
        attempts = await reader.attempts(delivery_id)
    if json_:
        emit_json({"delivery": delivery, "attempts": attempts})
        return
    facts(
        [
            ("delivery", delivery.id),
            ("event", delivery.event_id),
            ("to", delivery.destination),
            ("status", delivery.status),
            ("attempts", delivery.attempts),
            ("made", delivery.created_at),
            ("next", delivery.due_at if delivery.status is Status.PENDING else None),
            ("ended", delivery.settled_at),
            ("replay", delivery.replay_id),
        ]
    )
    click.echo()
    table(
        ("#", "STARTED", "TRIGGER", "RESULT", "CODE", "MS", "DETAIL"),
        [_attempt_row(attempt) for attempt in attempts],
    )
    last = attempts[-1].outcome.response if attempts else ""
    if last:
        click.secho("\nanswered last", bold=True)
        click.echo(readable(last))


def _attempt_row(attempt: Attempt) -> tuple[object, ...]:
    outcome = attempt.outcome
    return (
        attempt.number,
        attempt.started_at,
        attempt.trigger,
        outcome.result,
        outcome.status_code,
        f"{attempt.duration_ms:.1f}",
        outcome.detail,
    )


def bulk(command: Any) -> Any:
    """Arguments of what changes many at a time."""
    command = click.option("--dry-run", is_flag=True, help="Only say how many.")(
        command
    )
    command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    return as_json(filters(command))


@deliveries.command()
@click.argument("ids", metavar="[DELIVERY]...", nargs=-1)
@bulk
@click.pass_obj
@waits
async def retry(config: Path | None, /, ids: tuple[str, ...], **options: Any) -> None:
    """
    Start a new round of attempts for pending or dead deliveries.

    \b
    Examples:
      receiver deliveries retry dlv_0123456789abcdef
      receiver deliveries retry --status dead --destination crm
    """
    settings = settings_of(config)
    async with writing(settings) as writer:

        async def step(found: Sequence[Delivery]) -> int:
            answer = await writer.post(
                "/deliveries/retry", {"ids": [d.id for d in found]}
            )
            return int(answer["changed"])

        await _in_bulk(settings, "retry", ids, options, step)


@deliveries.command()
@click.argument("ids", metavar="[DELIVERY]...", nargs=-1)
@bulk
@click.pass_obj
@waits
async def cancel(config: Path | None, /, ids: tuple[str, ...], **options: Any) -> None:
    """
    Never try these pending or dead deliveries again.

    \b
    Examples:
      receiver deliveries cancel --destination crm --dry-run
    """
    settings = settings_of(config)
    async with writing(settings) as writer:

        async def step(found: Sequence[Delivery]) -> int:
            answer = await writer.post(
                "/deliveries/cancel", {"ids": [d.id for d in found]}
            )
            return int(answer["changed"])

        await _in_bulk(settings, "cancel", ids, options, step)


@deliveries.command()
@click.argument("ids", metavar="[DELIVERY]...", nargs=-1)
@click.option("--to", required=True, help="The destination to send to instead.")
@bulk
@click.pass_obj
@waits
async def move(
    config: Path | None, /, ids: tuple[str, ...], to: str, **options: Any
) -> None:
    """
    Send what waits for one destination to another: a replay there, then a cancel here.

    \b
    Examples:
      receiver deliveries move --destination old-crm --to crm
    """
    settings = settings_of(config)
    async with writing(settings) as writer:
        replays: list[str] = []

        async def step(found: Sequence[Delivery]) -> int:
            if not replays:
                asked = {"asked": {"move": options["destination"], "to": to}}
                replays.append((await writer.post("/replays", asked))["id"])
            wanted = {"events": [d.event_id for d in found], "to": [to]}
            await writer.post(f"/replays/{replays[0]}/events", wanted)
            answer = await writer.post(
                "/deliveries/cancel", {"ids": [d.id for d in found]}
            )
            return int(answer["changed"])

        await _in_bulk(settings, "move", ids, options, step)


async def _in_bulk(
    settings: Settings,
    verb: str,
    ids: tuple[str, ...],
    options: dict[str, Any],
    step: Step,
) -> None:
    """Find, say how many, ask, then do it in steps with a progress bar."""
    json_, yes, dry_run = (
        options.pop("json_"),
        options.pop("yes"),
        options.pop("dry_run"),
    )
    if not ids and not any(options.values()):
        raise click.UsageError(f"{verb} what? Name deliveries, or give filters.")
    async with looking(settings) as reader:
        found = await _find(reader, ids, _filter(**options))
    if not found or dry_run:
        _report(verb, len(found), 0, json_=json_, dry_run=dry_run)
        return
    if (
        not ids
        and not yes
        and not click.confirm(f"{verb} {plural(len(found), 'delivery')}?")
    ):
        sys.exit(1)
    changed = 0
    with click.progressbar(length=len(found), label=verb, file=sys.stderr) as bar:
        for start in range(0, len(found), CHUNK):
            part = found[start : start + CHUNK]
            changed += await step(part)
            bar.update(len(part))
    _report(verb, len(found), changed, json_=json_, dry_run=False)
    if ids and not changed:
        sys.exit(1)  # named, and all of them in a state that forbids it


def _report(
    verb: str, matched: int, changed: int, *, json_: bool, dry_run: bool
) -> None:
    if json_:
        emit_json({"matched": matched, "changed": changed, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"would {verb} {plural(matched, 'delivery')}")
    else:
        click.echo(f"{verb}: {changed:,} of {plural(matched, 'delivery')}")


async def _find(
    reader: Reader, ids: tuple[str, ...], where: DeliveryFilter
) -> list[Delivery]:
    if ids:
        return [await reader.delivery(delivery_id) for delivery_id in ids]
    statuses = [where.status] if where.status else [Status.PENDING, Status.DEAD]
    found: list[Delivery] = []
    for status in statuses:
        after = None
        chosen = DeliveryFilter(
            status, where.destination, where.event_id, where.since, where.until
        )
        while page := await reader.deliveries(
            chosen, limit=CHUNK, after=after, newest_first=False
        ):
            found += page
            after = page[-1].id
    return found
