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
from receiver.models import Outcome
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
                standing.why,
            )
            for standing in found
        ],
    )


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
    from receiver.providers.senders import Senders
    from receiver.trial import tested

    settings = settings_of(config)
    check_name("destination", name, settings.destinations)
    read = Senders(settings.sources.values()).read
    made = await tested(settings.destinations[name], read)
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
