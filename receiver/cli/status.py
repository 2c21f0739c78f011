"""status: the ledger, the queues, what needs attention."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from receiver import clock
from receiver.cli.common import held_back, looking, server, settings_of, waits
from receiver.cli.output import ago, as_json, clean, emit_json, facts, plural, table
from receiver.cli.refusals import refused_lately
from receiver.errors import NotFound
from receiver.ledger import Ledger, Standing, orphan_advice, standings
from receiver.models import Status
from receiver.stores import DeliveryFilter, Reader
from receiver.stores.pruning import Extent


@click.command()
@click.option(
    "--quick", is_flag=True, help="Without the proof, which reads everything."
)
@as_json
@click.pass_obj
@waits
async def status(config: Path | None, quick: bool, json_: bool) -> None:
    """
    Prove that nothing was lost: every delivery that was decided is there, by status.

    Reads the whole store, which takes seconds where there are millions of events.  Exit
    code 1 if the ledger does not add up.

    \b
    Examples:
      receiver status
      receiver status --quick
      receiver status --json | jq .difference
    """
    settings = settings_of(config)
    running = await server(settings)
    async with looking(settings) as reader:
        ledger = None if quick else Ledger(await reader.ledger(), await reader.totals())
        extent = await reader.extent()
        found = standings(
            await reader.queues(),
            await reader.pauses(),
            settings.destinations,
            held_back(running),
        )
        any_dead = await _any_dead(reader)
        notes = [
            *await _failing(reader, found),
            *attention(found, any_dead=any_dead),
            *await refused_lately(reader, clock.now()),
        ]
    if json_:
        emit_json(
            {
                "server": running,
                "difference": ledger and ledger.difference,
                "totals": ledger and ledger.totals,
                "ledger": ledger and ledger.tallies,
                "destinations": found,
                "store": extent,
            }
        )
    else:
        notes += keys_refused(running or {})
        if running is None:
            notes.insert(0, "no server is running: receiver serve")
        _show(ledger, extent, found, running)
        for note in notes:
            click.secho(f"\n! {clean(note)}", fg="yellow")
    sys.exit(1 if ledger and ledger.difference else 0)


async def _any_dead(reader: Reader) -> bool:
    """Whether there are dead deliveries of which there is still something to send."""
    for newest in await reader.deliveries(DeliveryFilter(Status.DEAD), limit=1):
        with suppress(NotFound):
            return (await reader.event(newest.event_id)).body_pruned_at is None
    return False


def _show(
    ledger: Ledger | None,
    extent: Extent,
    found: Sequence[Standing],
    running: Mapping[str, object] | None,
) -> None:
    now = clock.now()
    lines = [("server", "not running" if running is None else _running(running))]
    if ledger is not None:
        totals = ledger.totals
        gone = f", {extent.pruned_events:,} of them pruned"
        lines += [
            ("events", f"{totals.events:,}" + (gone if extent.pruned_events else "")),
            ("rejections kept", f"{totals.rejections:,}"),
        ]
    oldest = extent.oldest_body_at
    back = f", bodies of the last {ago(oldest, now)}" if oldest else ""
    facts([*lines, ("store", f"{extent.file_bytes / 1e6:,.1f} MB{back}")])
    if ledger is not None:
        click.secho("\nledger", bold=True)
        show_ledger(ledger)
    click.secho("\nqueues", bold=True)
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


def keys_refused(server: Mapping[str, Any]) -> list[str]:
    """The sources whose APIs are not asked any more, with what to do."""
    return [
        f"the API of {source} does not take its key ({why}), and is not asked any more: "
        f"set another sources.{source}.api_key, then reload"
        for source, why in server.get("keys_refused", {}).items()
    ]


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
        f"{_at_once(standing)}"
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


def _at_once(standing: Standing) -> str:
    """What somebody types who has mended it and does not want to wait."""
    if standing.state != "breaker open" or not standing.queue.failing:
        return ""
    return f"; once mended, now: receiver deliveries retry {standing.queue.failing}"
