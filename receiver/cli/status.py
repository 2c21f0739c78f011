"""status: the ledger, the queues, what needs attention."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import held_back, looking, server, settings_of, waits
from receiver.cli.output import ago, as_json, clean, emit_json, facts, plural, table
from receiver.ledger import Ledger, Standing, orphan_advice, standings
from receiver.models import Status
from receiver.stores import DeliveryFilter, Reader


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
    running = await server(settings)
    async with looking(settings) as reader:
        ledger = Ledger(await reader.ledger(), await reader.totals())
        found = standings(
            await reader.queues(),
            await reader.pauses(),
            settings.destinations,
            held_back(running),
        )
        dead = await reader.deliveries(DeliveryFilter(Status.DEAD), limit=1)
        notes = [*await _failing(reader, found), *attention(found, any_dead=bool(dead))]
    if json_:
        emit_json(
            {
                "server": running,
                "difference": ledger.difference,
                "totals": ledger.totals,
                "ledger": ledger.tallies,
                "destinations": found,
            }
        )
    else:
        if running is None:
            notes.insert(0, "no server is running: receiver serve")
        _show(ledger, found, running)
        for note in notes:
            click.secho(f"\n! {clean(note)}", fg="yellow")
    sys.exit(1 if ledger.difference else 0)


def _show(
    ledger: Ledger, found: Sequence[Standing], running: Mapping[str, object] | None
) -> None:
    totals = ledger.totals
    facts(
        [
            ("server", "not running" if running is None else _running(running)),
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
                standing.state,
            )
            for standing in found
        ],
    )


def _running(server: Mapping[str, object]) -> str:
    pid = server.get("pid")
    return f"running (process {pid})" if pid else "running"


async def _failing(reader: Reader, found: Sequence[Standing]) -> list[str]:
    """What the destinations answered whose deliveries failed and are tried again."""
    lines: list[str] = []
    for queue in (standing.queue for standing in found):
        attempts = await reader.attempts(queue.failing) if queue.failing else ()
        if attempts:
            outcome = attempts[-1].outcome
            lines.append(
                f"of {plural(queue.pending, 'delivery')} waiting for "
                f"{queue.destination} some failed before, the oldest last with "
                f"{outcome.detail or outcome.result}: "
                f"receiver deliveries show {queue.failing}"
            )
    return lines


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


def attention(found: Sequence[Standing], *, any_dead: bool) -> list[str]:
    """What somebody should do something about, with the command that does it."""
    lines = [orphan_advice(standing) for standing in found if standing.orphaned]
    lines += [
        f"{standing.queue.destination} is paused ({standing.pause.reason}): "
        f"receiver destinations resume {standing.queue.destination}"
        for standing in found
        if standing.pause
    ]
    lines += [
        f"{standing.queue.destination} is not given more until "
        f"{clock.iso(standing.held_back.until)}: {standing.held_back.why}"
        for standing in found
        if standing.held_back and not standing.pause
    ]
    lines += [
        f"a dead delivery holds back its subject at {standing.queue.destination}: "
        f"receiver deliveries show {standing.queue.blocking}, then retry or cancel it"
        for standing in found
        if standing.queue.blocking
    ]
    if any_dead:
        lines.append(
            "there are dead deliveries: receiver deliveries list --status dead; "
            "then receiver deliveries retry --status dead"
        )
    return lines
