"""explain: why an event went where it went, and where it would go today."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import looking, settings_of, waits
from receiver.cli.events import deliveries_of, show_deliveries, show_facts
from receiver.cli.output import as_json, clean, emit_json, facts, table
from receiver.cli.preview import show
from receiver.cli.serving import find_source
from receiver.destinations import Preview
from receiver.errors import NotFound, Rejected
from receiver.explain import Explained, explained
from receiver.models import Decision, Delivery, Event, Request, event_of
from receiver.providers import provider_of
from receiver.providers.body import parse
from receiver.providers.senders import Senders
from receiver.routing import Router, decide
from receiver.settings import Settings
from receiver.shown import shown_event
from receiver.stores import StoredEvent
from receiver.trial import NO_EVENT, previewed

WORDS = {
    "matched": "matched",
    "type": "another type",
    "when": "its condition is false",
    "failed": "its condition failed",
}


@click.command()
@click.argument("event_id", metavar="[EVENT]", default="")
@click.option("--source", help="Instead: as if this source had sent --file.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="The body of an event that did not come yet; - is standard input.",
)
@click.option(
    "--header", "headers", multiple=True, help='A header of that, "Name: value".'
)
@click.option(
    "--show-request", is_flag=True, help="And what would be sent, secrets masked."
)
@as_json
@click.pass_obj
@waits
async def explain(
    config: Path | None,
    event_id: str,
    source: str | None,
    file: Path | None,
    headers: tuple[str, ...],
    show_request: bool,
    json_: bool,
) -> None:
    """
    Why an event went, or did not go, to each destination.

    What was decided when it came, what became of that, and what today's configuration
    would decide: every route, and every part of its condition with its value.

    \b
    Examples:
      receiver explain evt_0123456789abcdef --show-request
      receiver explain --source sora2 --file body.json
      receiver explain --source github --file push.json --header "X-GitHub-Event: push"
    """
    settings = settings_of(config)
    if bool(event_id) == bool(source and file):
        raise click.UsageError("name an event, or give --source and --file")
    senders = Senders(settings.sources.values())
    router = Router(settings.routes)
    if source and file:
        event = _not_yet_received(settings, source, file, headers)
        stored, deliveries = StoredEvent(event, Decision((), ()), 0, {}), None
        confirmation = None
    else:
        async with looking(settings) as reader:
            stored = await reader.event(event_id)
            deliveries = await deliveries_of(reader, event_id)
            confirmation = await reader.confirmation(event_id)
        if stored.body_pruned_at is not None:
            _explain_pruned(senders, stored, deliveries, json_=json_)
            return
        event = stored.event
    event = await senders.read(event)
    today = explained(router, event)
    would = decide([one.opinion for one in today]).destinations
    requests = await _requests(settings, would, event) if show_request else {}
    if json_:
        known = {
            "decided": stored.decision,
            "deliveries": deliveries,
            "confirmation": confirmation,
        }
        emit_json(
            {
                "event": shown_event(senders, stored, body=False),
                **(known if deliveries is not None else {}),
                "today": [one.plain() for one in today],
                "today_destinations": would,
                **({"requests": _plain_requests(requests)} if show_request else {}),
            }
        )
        return
    show_facts(stored, confirmation)
    if deliveries is not None:
        _show_decided(stored)
        show_deliveries(deliveries)
    _show_today(today, would, had_come=deliveries is not None)
    for name, found in requests.items():
        click.secho(f"\n{clean(name)} would be sent", bold=True)
        if isinstance(found, Preview):
            show(found)
        else:
            click.echo(found)


def _explain_pruned(
    senders: Senders, stored: StoredEvent, deliveries: list[Delivery], *, json_: bool
) -> None:
    """What was decided is known for ever; today's routes have nothing to look at."""
    if json_:
        described = shown_event(senders, stored, body=False)
        decided = {"decided": stored.decision, "deliveries": deliveries}
        emit_json({"event": described, **decided, "today": None})
        return
    show_facts(stored)
    _show_decided(stored)
    show_deliveries(deliveries)
    click.echo(
        f"\nits body was pruned on {stored.body_pruned_at:%Y-%m-%d}, so it cannot be "
        "said what today's configuration would do with it"
    )


async def _requests(
    settings: Settings, destinations: Iterable[str], event: Event
) -> dict[str, Preview | str]:
    """What each would be sent, or why that cannot be shown."""
    found: dict[str, Preview | str] = {}
    for name in destinations:
        try:
            found[name] = await previewed(settings.destinations[name], event)
        except NotFound as error:
            found[name] = str(error)
    return found


def _plain_requests(requests: Mapping[str, Preview | str]) -> dict[str, object]:
    return {
        name: {"payload": found.payload, "note": found.note}
        if isinstance(found, Preview)
        else {"payload": None, "note": found}
        for name, found in requests.items()
    }


def _not_yet_received(
    settings: Settings, source: str, file: Path, headers: tuple[str, ...]
) -> Event:
    """The event this body would become if it were authentic."""
    provider = provider_of(find_source(settings, source))
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    pairs = (header.partition(":") for header in headers)
    named = {name.strip().lower(): value.strip() for name, _, value in pairs}
    now = clock.now()
    request = Request(named, {}, body, now)
    try:
        reading = provider.read(request, parse(body))
    except Rejected as refused:
        message = f"it would be refused, {refused.status} {refused.code}: {refused}"
        raise click.ClickException(message) from None
    return event_of(
        source, provider.name, request, reading, origin="preview", id=NO_EVENT
    )


def _show_decided(stored: StoredEvent) -> None:
    click.secho("\nwhen it came", bold=True)
    decided = [(name, WORDS[verdict]) for name, verdict in stored.decision.routes]
    if decided:
        table(("ROUTE", "SAID"), decided)
    if not stored.decision.destinations:
        click.echo("it matched no route: stored, and sent nowhere")


def _show_today(
    today: Sequence[Explained], would: Sequence[str], *, had_come: bool
) -> None:
    click.secho("\ntoday's configuration would say", bold=True)
    opinions = [one.opinion for one in today]
    if opinions:
        table(
            ("ROUTE", "SAID", "CONDITION"),
            [
                (o.route.name, WORDS[o.verdict], o.detail or o.route.when)
                for o in opinions
            ],
        )
    for one in today:
        if one.operands:
            click.echo(f"\nthe condition of {clean(one.opinion.route.name)}")
            facts((value, text) for text, value in one.operands)
    sent = "and send it to" if had_come or today else "it would be sent to"
    click.echo(f"{sent}: {', '.join(would) or 'nothing'}")
