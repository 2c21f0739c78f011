"""deliveries: what became of each, and mending it."""

import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from receiver import clock, waiting
from receiver.cli.common import (
    CHUNK,
    ask,
    check_name,
    check_names,
    choose,
    held_back,
    in_bulk,
    listing,
    looking,
    moment,
    options,
    server,
    settings_of,
    steps,
    waits,
)
from receiver.cli.confirming import in_words
from receiver.cli.output import (
    as_json,
    clean,
    emit_json,
    facts,
    listed,
    plural,
    readable,
    short,
    table,
)
from receiver.destinations import Preview
from receiver.errors import Conflict, NotFound
from receiver.models import Attempt, Delivery, Status
from receiver.settings import Settings
from receiver.stores import DeliveryFilter, Reader, StoredEvent
from receiver.waiting import Listed

MOST_SENT = 2_000
"""Characters of what was sent that people are shown."""

OPEN = (Status.PENDING, Status.DEAD)
"""What can still be changed."""

Post = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, Any]]]
Step = Callable[[Post, Sequence[Delivery]], Awaitable[int]]


@click.group()
def deliveries() -> None:
    """
    List, show, retry, cancel and move deliveries.

    \b
    Examples:
      receiver deliveries list --status dead
      receiver deliveries retry --status dead --destination crm
    """


def filters(statuses: Iterable[Status]) -> Callable[[Any], Any]:
    """The options that choose deliveries."""
    return options(
        click.option(
            "--status",
            type=click.Choice([s.value for s in statuses]),
            help="In this state.",
        ),
        click.option("--destination", help="To this destination."),
        click.option("--event", help="Of this event."),
        click.option(
            "--since", help="Made from this time on: 2h (ago), 2026-01-24, ..."
        ),
        click.option("--until", help="Made before this time."),
    )


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
@filters(Status)
@listing("delivery")
async def list_(
    config: Path | None,
    /,
    limit: int,
    after: str | None,
    json_: bool,
    **chosen: Any,
) -> None:
    """
    The newest first: of what event each is, why it is dead, what it waits for.

    \b
    Examples:
      receiver deliveries list --status dead
      receiver deliveries list --destination crm --since 1d --json
    """
    settings, where = settings_of(config), _filter(**chosen)
    async with looking(settings) as reader:
        await check_names(reader, settings, destination=where.destination)
        some = await reader.deliveries(where, limit=limit, after=after)
        found = await _with_waits(reader, settings, some)
    if json_:
        emit_json([waiting.shown_listed(one) for one in found])
        return
    listed(
        ("ID", "EVENT", "TYPE", "SUBJECT", "TO", "STATUS", "TRIED", "DUE/ENDED", "WHY"),
        {one.delivery.id: _row(one) for one in found},
        limit,
        dull=[name for name, field in _ASKED.items() if chosen[field]],
    )


_ASKED = {"EVENT": "event", "TO": "destination", "STATUS": "status"}
"""Columns that say nothing new where the list was asked for by them."""


async def _with_waits(
    reader: Reader, settings: Settings, some: Sequence[Delivery]
) -> list[Listed]:
    """
    With what each waits for: what the store says, and the server, if something waits
    and one runs.
    """
    running: Mapping[str, Any] | None = None
    if any(one.status is Status.PENDING for one in some):
        running = await server(settings)
        if running is None:
            note = "no server is running, so nothing is attempted: receiver serve"
            click.secho(note, fg="yellow", err=True)
    destinations, held = settings.destinations, held_back(running)
    return await waiting.listed(reader, some, destinations, held, clock.now())


def _row(one: Listed) -> tuple[object, ...]:
    delivery, around = one.delivery, one.around
    return (
        delivery.id,
        delivery.event_id,
        around.type,
        around.subject,
        delivery.destination,
        delivery.status,
        delivery.attempts,
        delivery.settled_at or one.next_at,
        short(waiting.why_not(one)),
    )


@deliveries.command()
@click.argument("delivery_id", metavar="DELIVERY")
@as_json
@click.pass_obj
@waits
async def show(config: Path | None, delivery_id: str, json_: bool) -> None:
    """
    One delivery, with every attempt, what was sent and what was answered.

    What was sent is made once more by today's configuration; it is not kept.

    \b
    Examples:
      receiver deliveries show dlv_0123456789abcdef
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        delivery = await reader.delivery(delivery_id)
        attempts = await reader.attempts(delivery_id)
        confirmation = await reader.confirmation(delivery.event_id)
        stored = await reader.event(delivery.event_id)
        [one] = await _with_waits(reader, settings, [delivery])
    went = await _sent(settings, stored, delivery, attempts)
    if json_:
        found = {"delivery": delivery, "attempts": attempts, "wait": one.wait}
        sent = None if isinstance(went, str) else went
        emit_json({**found, "confirmation": confirmation, "sent": sent})
        return
    facts(
        [
            ("delivery", delivery.id),
            ("event", delivery.event_id),
            ("type", one.around.type),
            ("subject", one.around.subject),
            ("to", delivery.destination),
            ("status", delivery.status),
            ("attempts", delivery.attempts),
            ("made", delivery.created_at),
            ("next", one.next_at),
            ("waits", one.wait and waiting.in_words(one.wait)),
            ("ended", delivery.settled_at),
            ("replay", delivery.replay_id),
            ("confirmation", in_words(confirmation)),
        ]
    )
    click.echo()
    table(
        ("#", "STARTED", "TRIGGER", "RESULT", "CODE", "MS", "DETAIL"),
        [_attempt_row(attempt) for attempt in attempts],
    )
    click.secho("\nsent last" if attempts else "\nto be sent", bold=True)
    _show_sent(went)
    last = attempts[-1].outcome.response if attempts else ""
    if last:
        click.secho("\nanswered last", bold=True)
        click.echo(readable(last))


async def _sent(
    settings: Settings,
    stored: StoredEvent,
    delivery: Delivery,
    attempts: Sequence[Attempt],
) -> Preview | str:
    """What goes there, or why that cannot be shown."""
    from receiver.providers.senders import Senders
    from receiver.trial import sent

    declared = settings.destinations.get(delivery.destination)
    if declared is None:
        return f"{delivery.destination} is not configured any more"
    try:
        event = await Senders(settings.sources.values()).read(stored.whole())
        return await sent(declared, event, delivery, attempts)
    except (Conflict, NotFound) as error:
        return str(error)


def _show_sent(went: Preview | str) -> None:
    from receiver.cli.preview import show as show_preview

    if isinstance(went, str):
        click.echo(clean(went))
        return
    text = went.text
    if len(text) > MOST_SENT:
        text = f"{text[:MOST_SENT]}\n... --json has all {len(text):,} characters"
    show_preview(replace(went, text=text, html=""))


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
    ids = click.argument("ids", metavar="[DELIVERY]...", nargs=-1)
    return options(ids, filters(OPEN), in_bulk, as_json)(command)


@deliveries.command()
@bulk
@click.pass_obj
@waits
async def retry(config: Path | None, /, **chosen: Any) -> None:
    """
    Start a new round of attempts for pending or dead deliveries.

    \b
    Examples:
      receiver deliveries retry dlv_0123456789abcdef
      receiver deliveries retry --status dead --destination crm
      receiver deliveries retry --status dead --yes
    """
    settings = settings_of(config)
    found = await _find(settings, "retry", **chosen)
    for name in dict.fromkeys(d.destination for d in found):
        if name not in settings.destinations:
            note = (
                f"{name!r} is not configured, so nothing is attempted: "
                f"receiver deliveries move --destination {name} --to OTHER"
            )
            click.secho(note, fg="yellow", err=True)
    await _change(settings, "retry", found, chosen, _simply("retry"))


@deliveries.command()
@bulk
@click.pass_obj
@waits
async def cancel(config: Path | None, /, **chosen: Any) -> None:
    """
    Never try these pending or dead deliveries again.

    \b
    Examples:
      receiver deliveries cancel --destination crm --dry-run
      receiver deliveries cancel --destination crm --yes
    """
    settings = settings_of(config)
    found = await _find(settings, "cancel", **chosen)
    await _change(settings, "cancel", found, chosen, _simply("cancel"))


@deliveries.command()
@bulk
@click.option("--to", required=True, help="The destination to send to instead.")
@click.pass_obj
@waits
async def move(config: Path | None, /, to: str, **chosen: Any) -> None:
    """
    Send what waits for one destination to another: a replay there and a cancel
    here, in one. What was delivered or cancelled already is left alone.

    \b
    Examples:
      receiver deliveries move --destination old-crm --to crm --dry-run
      receiver deliveries move --destination old-crm --to crm --yes
    """
    settings = settings_of(config)
    check_name("destination", to, settings.destinations)
    if chosen["destination"] == to:
        raise click.UsageError(f"they are to {to} already")
    found = await _find(settings, "move", **chosen)
    same: dict[str, str] = {}  # all steps are one replay

    async def step(post: Post, part: Sequence[Delivery]) -> int:
        body = {"ids": [d.id for d in part], "to": to, **same}
        answer = await post("/deliveries/move", body)
        same["replay"] = answer["replay"]
        return int(answer["changed"])

    await _change(settings, "move", found, chosen, step, to=to)


def _simply(verb: str) -> Step:
    async def step(post: Post, part: Sequence[Delivery]) -> int:
        answer = await post(f"/deliveries/{verb}", {"ids": [d.id for d in part]})
        return int(answer["changed"])

    return step


async def _find(
    settings: Settings, verb: str, *, ids: tuple[str, ...], **chosen: Any
) -> list[Delivery]:
    """Those that were named, or all open ones that the filters let through."""
    for name in ("yes", "dry_run", "json_"):
        del chosen[name]
    choose(verb, "deliveries", ids, chosen.values())
    where = _filter(**chosen)
    async with looking(settings) as reader:
        await check_names(reader, settings, destination=where.destination)
        if ids:
            return [await reader.delivery(one) for one in dict.fromkeys(ids)]
        return await _filtered(reader, where)


async def _filtered(reader: Reader, where: DeliveryFilter) -> list[Delivery]:
    found: list[Delivery] = []
    for status in [where.status] if where.status else OPEN:
        chosen, after = replace(where, status=status), None
        while page := await reader.deliveries(
            chosen, limit=CHUNK, after=after, newest_first=False
        ):
            found += page
            after = page[-1].id
    return found


async def _change(
    settings: Settings,
    verb: str,
    found: Sequence[Delivery],
    chosen: dict[str, Any],
    step: Step,
    *,
    to: str | None = None,
) -> None:
    """Say how many it is, ask, then do it in steps."""
    skipped: dict[str, list[Delivery]] = defaultdict(list)
    gone = set[str]() if verb == "cancel" else await _without_body(settings, found)
    for delivery in found:
        skipped[_obstacle(delivery, to, gone)].append(delivery)
    able = skipped.pop("", [])
    what = plural(len(able), "delivery") + (f" to {to}" if to else "")
    changed = 0
    if able and not chosen["dry_run"]:
        if not chosen["ids"] and not chosen["yes"]:
            ask(f"{verb} {what}?")
        from receiver.cli.writing import writing

        async with writing(settings) as writer:
            for part in steps(verb, able):
                changed += await step(writer.post, part)
    if chosen["json_"]:
        reasons = {reason: len(several) for reason, several in skipped.items()}
        counts = {"matched": len(found), "changed": changed, "skipped": reasons}
        emit_json({**counts, "dry_run": chosen["dry_run"]})
    else:
        for reason, several in skipped.items():
            one = len(several) == 1
            which = several[0].id if one else plural(len(several), "delivery")
            click.echo(f"{which}: {reason}", err=True)
        if not found:
            click.echo("nothing matched")
        elif chosen["dry_run"]:
            click.echo(f"would {verb} {what}")
        else:
            click.echo(f"{verb}: {changed:,} of {plural(len(found), 'delivery')}")
    if chosen["ids"] and not (changed or (able and chosen["dry_run"])):
        sys.exit(1)  # named, and all of them in a state that forbids it


async def _without_body(settings: Settings, found: Sequence[Delivery]) -> set[str]:
    from receiver.replay import without_body

    async with looking(settings) as reader:
        return await without_body(reader, found)


def _obstacle(delivery: Delivery, to: str | None, gone: set[str]) -> str:
    if delivery.id in gone:
        return "the event's body was pruned, nothing is left to send"
    if delivery.status not in OPEN:
        return f"already {delivery.status}"
    return f"already to {to}" if delivery.destination == to else ""
