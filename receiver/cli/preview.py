"""preview: what a destination would be sent, without sending it."""

import sys
from pathlib import Path

import click

from receiver import clock, examples, internal
from receiver.cli.common import check_name, looking, settings_of, waits
from receiver.cli.output import as_json, emit_json, facts, readable
from receiver.destinations import Preview
from receiver.errors import NotFound, Rejected
from receiver.models import Event, Request, event_of
from receiver.settings import Settings
from receiver.trial import NO_EVENT, previewed


@click.command()
@click.argument("destination")
@click.argument("event_id", metavar="[EVENT]", default="")
@click.option("--source", help="Of a made-up event: from this source, or receiver.")
@click.option("--type", "type_", default="", help="Of a made-up event: its type.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Of a made-up event: its body, instead of a sample.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an email's HTML part there.",
)
@as_json
@click.pass_obj
@waits
async def preview(
    config: Path | None,
    destination: str,
    event_id: str,
    source: str | None,
    type_: str,
    file: Path | None,
    page: Path | None,
    json_: bool,
) -> None:
    """
    What a destination would be sent about an event.  Nothing is sent or stored.

    The event is a stored one, or a sample as the source's provider sends it; the
    source `receiver` has our own alerts.  Exit code 1 if a template of yours failed.

    \b
    Examples:
      receiver preview ops evt_0123456789abcdef
      receiver preview ops --source sora2 --type batch.failed
      receiver preview mail --source sora2 --file body.json --html mail.html
      receiver preview ops --source receiver --type delivery.dead
    """
    settings = settings_of(config)
    check_name("destination", destination, settings.destinations)
    if event_id and (source or file or type_):
        raise click.UsageError("Preview what? Name an event, or make one up.")
    if event_id:
        event = await _stored(settings, event_id)
    else:
        event = made_up(settings, _source(settings, source), type_, file)
    found = await previewed(settings.destinations[destination], event)
    if page is not None and not found.html:
        raise click.ClickException(f"what {destination} is sent has no HTML part")
    if page is not None:
        page.write_text(found.html)
    if json_:
        emit_json(found.payload)
    else:
        show(found, page)
    if found.note:
        click.secho(found.note, fg="yellow", err=True)
        sys.exit(1)


async def _stored(settings: Settings, event_id: str) -> Event:
    from receiver.providers.senders import Senders

    async with looking(settings) as reader:
        stored = await reader.event(event_id)
    return await Senders(settings.sources.values()).read(stored.whole())


def _source(settings: Settings, name: str | None) -> str:
    """The source that was named, or the only one there is."""
    if name is None and len(settings.sources) == 1:
        return next(iter(settings.sources))
    if name is None:
        known = ", ".join(settings.sources)
        raise click.UsageError(f"From which source? Add --source ({known}).")
    if name != internal.SOURCE:
        check_name("source", name, settings.sources)
    return name


def made_up(
    settings: Settings, source: str, event_type: str, file: Path | None
) -> Event:
    """
    An event as it would be accepted now.

    Raises:
        NotFound: there is no such sample.
        click.BadParameter: the file's body is not one that the source sends.
    """
    from receiver.cli.shots import fresh_subject, sample_name
    from receiver.providers import provider_of
    from receiver.providers.body import parse
    from receiver.providers.samples import Sample, sample

    if source == internal.SOURCE:
        return _alert(event_type)
    declared = settings.sources[source]
    if file:
        made = Sample("", file.read_bytes())
    else:
        name, subject = sample_name(declared, event_type), fresh_subject(declared)
        made = sample(declared.provider, name, subject, clock.now())
    headers = {"content-type": "application/json", **made.headers}
    request = Request(headers, {}, made.body, clock.now())
    try:
        read = provider_of(declared).read(request, parse(made.body))
    except Rejected as error:
        raise click.BadParameter(f"{source} would refuse it: {error}") from None
    return event_of(
        source, declared.provider, request, read, origin="preview", id=NO_EVENT
    )


def _alert(event_type: str) -> Event:
    now = clock.now()
    bodies = examples.samples(now)
    wanted = event_type or next(iter(bodies))
    if wanted not in bodies:
        raise NotFound(f"no sample {wanted!r}; there are: {', '.join(bodies)}")
    body = bodies[wanted]
    request = Request({}, {}, internal.encoded(body), now)
    read = internal.reading(body, now)
    ours = internal.SOURCE
    return event_of(ours, ours, request, read, origin="preview", id=NO_EVENT)


def show(found: Preview, page: Path | None = None) -> None:
    """Headers and text, as they would be sent."""
    facts([*found.headers, ("Note", found.note)] if found.note else found.headers)
    click.echo()
    click.echo(readable(found.text))
    if page is not None:
        click.echo(f"\nthe HTML part: {page}", err=True)
    elif found.html:
        click.echo("\nand an HTML part: --html FILE writes it", err=True)
