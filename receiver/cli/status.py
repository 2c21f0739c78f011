"""status: the ledger, the queues, what needs attention."""

import sys
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import looking, settings_of, waits
from receiver.cli.output import ago, as_json, emit_json, facts, table
from receiver.ledger import Ledger, Standing, orphan_advice, standings
from receiver.models import Status
from receiver.stores import DeliveryFilter


@click.command()
@as_json
@click.pass_obj
@waits
async def status(config: Path | None, json_: bool) -> None:
    """
    Prove that nothing was lost: every delivery that was decided is there, by status.

    Reads the whole store.  Exit code 1 if the ledger does not add up.

    \b
    Examples:
      receiver status
      receiver status --json | jq .difference
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        ledger = Ledger(await reader.ledger(), await reader.totals())
        found = standings(
            await reader.queues(), await reader.pauses(), settings.destinations
        )
        dead = await reader.deliveries(DeliveryFilter(Status.DEAD), limit=1)
    if json_:
        emit_json(
            {
                "difference": ledger.difference,
                "totals": ledger.totals,
                "ledger": ledger.tallies,
                "destinations": found,
            }
        )
    else:
        _show(ledger, found, any_dead=bool(dead))
    sys.exit(1 if ledger.difference else 0)


def _show(ledger: Ledger, found: list[Standing], *, any_dead: bool) -> None:
    totals = ledger.totals
    facts(
        [
            ("events", f"{totals.events:,}"),
            ("rejections kept", f"{totals.rejections:,}"),
        ]
    )
    click.secho("\nledger", bold=True)
    show_ledger(ledger)
    click.secho("\nqueues", bold=True)
    now = clock.now()
    table(
        ("DESTINATION", "WAITING", "OLDEST", "STATE"),
        [
            (
                standing.queue.destination,
                standing.queue.pending,
                ago(standing.queue.oldest_at, now)
                if standing.queue.oldest_at
                else None,
                "paused" if standing.pause else "active",
            )
            for standing in found
        ],
    )
    for line in attention(found, any_dead=any_dead):
        click.secho(f"\n! {line}", fg="yellow")


def show_ledger(ledger: Ledger) -> None:
    """The rows, and the one number that must be 0."""
    table(
        (
            "SOURCE",
            "DESTINATION",
            "DECIDED",
            *(s.value.upper() for s in Status),
            "DIFFERENCE",
        ),
        [
            (
                tally.source,
                tally.destination,
                tally.decided,
                *(tally.by_status.get(status, 0) for status in Status),
                tally.difference,
            )
            for tally in ledger.tallies
        ],
    )
    good = ledger.difference == 0
    words = (
        "every decided delivery is accounted for"
        if good
        else "the ledger does not add up"
    )
    click.secho(
        f"difference {ledger.difference}: {words}", fg="green" if good else "red"
    )


def attention(found: list[Standing], *, any_dead: bool) -> list[str]:
    """What somebody should do something about, with the command that does it."""
    lines = [orphan_advice(standing) for standing in found if standing.orphaned]
    lines += [
        f"{standing.queue.destination} is paused ({standing.pause.reason}): "
        f"receiver destinations resume {standing.queue.destination}"
        for standing in found
        if standing.pause
    ]
    if any_dead:
        lines.append(
            "there are dead deliveries: receiver deliveries list --status dead; "
            "then receiver deliveries retry --status dead"
        )
    return lines
