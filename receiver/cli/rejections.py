"""rejections: what was refused, and why."""

from pathlib import Path

import click

from receiver.cli.common import check_names, looking, paged, settings_of, waits
from receiver.cli.output import as_json, emit_json, facts, plain, readable, table
from receiver.models import Rejection
from receiver.providers.kept import shown_headers
from receiver.providers.senders import Senders
from receiver.settings import Settings


@click.group()
def rejections() -> None:
    """
    List and show requests that were refused (the newest thousand are kept).

    \b
    Examples:
      receiver rejections list
      receiver rejections show rej_0123456789abcdef
    """


@rejections.command("list")
@click.option("--source", help="At this source.")
@paged("rejection")
@as_json
@click.pass_obj
@waits
async def list_(
    config: Path | None, source: str | None, limit: int, after: str | None, json_: bool
) -> None:
    """
    The newest first.

    \b
    Examples:
      receiver rejections list --source sora2
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        await check_names(reader, settings, source=source)
        found = await reader.rejections(source=source, limit=limit, after=after)
    if json_:
        emit_json([_plain(settings, rejection, body=False) for rejection in found])
        return
    table(
        ("ID", "RECEIVED", "SOURCE", "CODE", "BYTES", "WHY"),
        [
            (r.id, r.received_at, r.source, r.code, r.body_bytes, r.message)
            for r in found
        ],
        dull=("SOURCE",),
    )


@rejections.command()
@click.argument("rejection_id", metavar="REJECTION")
@as_json
@click.pass_obj
@waits
async def show(config: Path | None, rejection_id: str, json_: bool) -> None:
    """
    One refused request: why, its headers, its body (the beginning of a long one).

    \b
    Examples:
      receiver rejections show rej_0123456789abcdef
    """
    settings = settings_of(config)
    async with looking(settings) as reader:
        rejection = await reader.rejection(rejection_id)
    if json_:
        emit_json(_plain(settings, rejection, body=True))
        return
    facts(
        [
            ("rejection", rejection.id),
            ("source", rejection.source),
            ("received", rejection.received_at),
            ("code", rejection.code),
            ("why", rejection.message),
            ("bytes", rejection.body_bytes),
        ]
    )
    click.secho("\nheaders", bold=True)
    facts(sorted(_headers(settings, rejection).items()))
    click.secho("\nbody", bold=True)
    click.echo(readable(rejection.body.decode("utf-8", "replace")))


def _plain(
    settings: Settings, rejection: Rejection, *, body: bool
) -> dict[str, object]:
    found: dict[str, object] = plain(rejection)
    found["headers"] = _headers(settings, rejection)
    if not body:
        del found["body"]
    return found


def _headers(settings: Settings, rejection: Rejection) -> dict[str, str]:
    """Signatures masked: they are as good as the request itself."""
    senders = Senders(settings.sources.values())
    return shown_headers(rejection.headers, senders.masked(rejection.source))
