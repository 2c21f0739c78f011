"""events: what was accepted."""

import sys
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import (
    check_names,
    listing,
    looking,
    moment,
    options,
    settings_of,
    waits,
)
from receiver.cli.confirming import in_words
from receiver.cli.output import as_json, emit_json, facts, listed, readable, table
from receiver.models import Delivery
from receiver.providers.senders import Senders
from receiver.shown import shown_event
from receiver.stores import DeliveryFilter, EventFilter, Reader, StoredEvent
from receiver.stores.confirming import Confirmation

MOST_DELIVERIES = 1_000


@click.group()
def events() -> None:
    """
    List and show what was accepted.

    \b
    Examples:
      receiver events list --since 2h
      receiver events show evt_0123456789abcdef
    """


filters = options(
    click.option("--source", help="From this source."),
    click.option("--type", "type_", help='Of this type; globs like "batch.*".'),
    click.option("--subject", help="About this batch, task or job."),
    click.option("--since", help="From this time on: 2h (ago), 2026-01-24, ..."),
    click.option("--until", help="Before this time."),
)
"""The options that choose events."""


def event_filter(
    source: str | None,
    type_: str | None,
    subject: str | None,
    since: str | None,
    until: str | None,
) -> EventFilter:
    return EventFilter(source, type_, subject, moment(since), moment(until))


@events.command("list")
@filters
@listing("event")
async def list_(
    config: Path | None,
    /,
    limit: int,
    after: str | None,
    json_: bool,
    **chosen: Any,
) -> None:
    """
    The newest first.

    \b
    Examples:
      receiver events list --type "batch.*" --since 2h
      receiver events list --subject bat_abc123def456 --json
    """
    settings, where = settings_of(config), event_filter(**chosen)
    async with looking(settings) as reader:
        await check_names(reader, settings, source=where.source)
        found = await reader.events(where, limit=limit, after=after)
    if json_:
        senders = Senders(settings.sources.values())
        emit_json([shown_event(senders, stored, body=False) for stored in found])
        return
    listed(
        ("ID", "RECEIVED", "SOURCE", "TYPE", "SUBJECT", "STATE", "TO"),
        {
            stored.event.id: (
                stored.event.id,
                stored.event.received_at,
                stored.event.source,
                stored.event.type,
                stored.event.subject,
                stored.event.state,
                stored.decision.destinations,
            )
            for stored in found
        },
        limit,
        dull=("SOURCE",),
    )


@events.command()
@click.argument("event_id", metavar="EVENT")
@click.option("--raw", is_flag=True, help="Only the body, byte for byte.")
@as_json
@click.pass_obj
@waits
async def show(config: Path | None, event_id: str, raw: bool, json_: bool) -> None:
    """
    One event: what it says, its deliveries, its body.

    \b
    Examples:
      receiver events show evt_0123456789abcdef
      receiver events show evt_0123456789abcdef --raw > body.json
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        stored = await reader.event(event_id)
        if raw:
            sys.stdout.buffer.write(stored.whole().body)
            return
        deliveries = await deliveries_of(reader, event_id)
        variants = await reader.variants(event_id)
        confirmation = await reader.confirmation(event_id)
    if json_:
        senders = Senders(settings.sources.values())
        described = shown_event(senders, stored, body=True)
        more = {"deliveries": deliveries, "variants": variants}
        emit_json({**described, **more, "confirmation": confirmation})
        return
    show_facts(stored, confirmation)
    show_deliveries(deliveries)
    for variant in variants:
        click.secho(
            f"\nbody of a {variant.kind}, received {variant.received_at}", bold=True
        )
        click.echo(_readable(variant.body))
    click.secho("\nbody", bold=True)
    if stored.body_pruned_at is not None:
        click.echo(
            f"pruned on {stored.body_pruned_at:%Y-%m-%d}, with headers and query"
        )
        return
    click.echo(_readable(stored.event.body))


async def deliveries_of(reader: Reader, event_id: str) -> list[Delivery]:
    where = DeliveryFilter(event_id=event_id)
    found = await reader.deliveries(where, limit=MOST_DELIVERIES, newest_first=False)
    return list(found)


def show_facts(stored: StoredEvent, confirmation: Confirmation | None = None) -> None:
    event = stored.event
    facts(
        [
            ("event", event.id),
            ("type", event.type),
            ("subject", event.subject),
            ("state", f"{event.state}{' (final)' if event.final else ''}"),
            ("source", f"{event.source} ({event.provider}, {event.origin})"),
            ("key", event.key),
            ("occurred", event.occurred_at),
            ("received", event.received_at),
            ("facts", ", ".join(f"{k} {v}" for k, v in stored.facts.items())),
            ("confirmation", in_words(confirmation)),
        ]
    )


def show_deliveries(deliveries: list[Delivery]) -> None:
    click.secho("\ndeliveries", bold=True)
    if not deliveries:
        click.echo("none")
        return
    table(
        ("ID", "TO", "STATUS", "ATTEMPTS", "NEXT", "REPLAY"),
        [
            (
                d.id,
                d.destination,
                d.status,
                d.attempts,
                d.due_at if d.status == "pending" else None,
                d.replay_id,
            )
            for d in deliveries
        ],
    )


def _readable(body: bytes) -> str:
    return readable(body.decode("utf-8", "replace"))
