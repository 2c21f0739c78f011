"""destinations: where events go, pausing, and trying one out."""

import sys
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import (
    check_complete,
    check_name,
    held_back,
    looking,
    server,
    settings_of,
    waits,
)
from receiver.cli.output import ago, as_json, coloured, emit_json, readable, table
from receiver.ledger import Standing, standings
from receiver.models import Claim, Outcome, Reading, Request, State, event_of
from receiver.settings import Settings


@click.group()
def destinations() -> None:
    """
    List, pause, resume and test destinations.

    \b
    Examples:
      receiver destinations list
      receiver destinations pause crm --reason "maintenance until noon"
      receiver destinations test crm
    """


@destinations.command("list")
@as_json
@click.pass_obj
@waits
async def list_(config: Path | None, json_: bool) -> None:
    """
    Every destination, with what waits for it.

    \b
    Examples:
      receiver destinations list
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        found = standings(
            await reader.queues(),
            await reader.pauses(),
            settings.destinations,
            held_back(await server(settings)),
        )
    if json_:
        emit_json(found)
        return
    now = clock.now()
    table(
        ("NAME", "TO", "WAITING", "OLDEST", "STATE", "WHY"),
        [
            (
                standing.queue.destination,
                _described(settings, standing),
                standing.queue.pending,
                ago(standing.queue.oldest_at, now)
                if standing.queue.oldest_at
                else None,
                standing.state,
                _why(standing),
            )
            for standing in found
        ],
    )


def _why(standing: Standing) -> str | None:
    if standing.pause:
        return standing.pause.reason
    held = standing.held_back
    return f"until {clock.iso(held.until)}: {held.why}" if held else None


def _described(settings: Settings, standing: Standing) -> str:
    configured = settings.destinations.get(standing.queue.destination)
    return configured.described() if configured else "not configured any more"


@destinations.command()
@click.argument("name")
@click.option(
    "--reason",
    default="paused by hand",
    show_default=True,
    help="Shown by list and status.",
)
@as_json
@click.pass_obj
@waits
async def pause(config: Path | None, name: str, reason: str, json_: bool) -> None:
    """
    Give a destination nothing more; its deliveries wait and do not age.

    \b
    Examples:
      receiver destinations pause crm --reason "maintenance until noon"
    """
    await _change(config, name, "pause", {"reason": reason}, json_=json_)


@destinations.command()
@click.argument("name")
@as_json
@click.pass_obj
@waits
async def resume(config: Path | None, name: str, json_: bool) -> None:
    """
    Go on delivering to a destination that was paused, if all it needs is there.

    \b
    Examples:
      receiver destinations resume crm
    """
    await _change(config, name, "resume", {}, json_=json_)


async def _change(
    config: Path | None, name: str, verb: str, body: dict[str, object], *, json_: bool
) -> None:
    from receiver.cli.writing import writing

    settings = settings_of(config)
    check_name("destination", name, settings.destinations)
    if verb == "resume":  # or it would only pause itself again
        check_complete(settings, [settings.destinations[name]])
    async with writing(settings) as writer:
        answer = await writer.post(f"/destinations/{name}/{verb}", body)
    if json_:
        emit_json(answer)
    elif answer["changed"]:
        click.echo(f"{name}: {verb}d")
    else:
        click.echo(
            f"{name} was {'paused already' if verb == 'pause' else 'not paused'}"
        )


@destinations.command()
@click.argument("name")
@as_json
@click.pass_obj
@waits
async def test(config: Path | None, name: str, json_: bool) -> None:
    """
    Send a made-up event there now, and show what came of it.  Nothing is stored.

    \b
    Examples:
      receiver destinations test ops
    """
    from receiver.app import make_destination
    from receiver.delivery import attempt
    from receiver.providers.senders import Senders

    settings = settings_of(config)
    check_name("destination", name, settings.destinations)
    declared = settings.destinations[name]
    destination = make_destination(declared)
    read = Senders(settings.sources.values()).read
    try:
        made = await attempt(destination, declared, _made_up(name), read)
    finally:
        await destination.close()
    _show(made.outcome, made.duration_ms, json_=json_)
    sys.exit(0 if made.outcome.ok else 1)


def _show(outcome: Outcome, duration_ms: float, *, json_: bool) -> None:
    if json_:
        emit_json({"outcome": outcome, "duration_ms": duration_ms})
        return
    click.echo(
        f"{coloured(outcome.result)} in {duration_ms:.0f} ms {outcome.detail}".rstrip()
    )
    if outcome.response:
        click.echo(readable(outcome.response))


def _made_up(destination: str) -> Claim:
    from receiver.cli.preview import NO_EVENT, parcel

    now = clock.now()
    body = b'{"type":"receiver.test","message":"a test of this destination"}'
    request = Request({"content-type": "application/json"}, {}, body, now)
    reading = Reading(
        key="receiver.test",
        type="receiver.test",
        subject="test",
        state=State.UNKNOWN,
        final=False,
        occurred_at=now,
    )
    event = event_of(
        "receiver", "receiver", request, reading, origin="test", id=NO_EVENT
    )
    return Claim(0, parcel(destination, event).delivery, event)
