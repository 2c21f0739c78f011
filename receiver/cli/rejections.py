"""rejections: what was refused, and why."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import (
    ask,
    check_names,
    choose,
    in_bulk,
    listing,
    looking,
    options,
    server,
    settings_of,
    steps,
    waits,
)
from receiver.cli.output import (
    as_json,
    emit_json,
    facts,
    listed,
    plural,
    readable,
    table,
)
from receiver.cli.writing import writing
from receiver.models import Rejection
from receiver.providers.kept import shown_headers
from receiver.providers.senders import Senders
from receiver.settings import Settings
from receiver.shown import shown_rejection
from receiver.stores import Reader

MOST = 10_000
SHOWN = 20
"""Results shown one by one; more are only counted."""

RIGHT = ("accepted", "duplicate")

_CARRIED = {
    "unsigned": "no signature",
    "signed": "a signature",
    "verified": "a signature that is right",
}


@click.group()
def rejections() -> None:
    """
    List and show requests that were refused, and verify them again.

    The newest are kept: 300 without a signature, a thousand with one.

    \b
    Examples:
      receiver rejections list
      receiver rejections show rej_0123456789abcdef
      receiver rejections reverify --source sora2
    """


filtered = options(
    click.option("--source", help="At this source."),
    click.option("--code", help="Refused for this, as `list` says it."),
)


@rejections.command("list")
@filtered
@listing("rejection")
async def list_(
    config: Path | None,
    source: str | None,
    code: str | None,
    limit: int,
    after: str | None,
    json_: bool,
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
        found = await reader.rejections(
            source=source, code=code, limit=limit, after=after
        )
    if json_:
        senders = Senders(settings.sources.values())
        emit_json([shown_rejection(senders, one, body=False) for one in found])
        return
    listed(
        ("ID", "RECEIVED", "SOURCE", "CODE", "BYTES", "WHY"),
        {
            r.id: (r.id, r.received_at, r.source, r.code, r.body_bytes, r.message)
            for r in found
        },
        limit,
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
        senders = Senders(settings.sources.values())
        emit_json(shown_rejection(senders, rejection, body=True))
        return
    facts(
        [
            ("rejection", rejection.id),
            ("source", rejection.source),
            ("received", rejection.received_at),
            ("code", rejection.code),
            ("why", rejection.message),
            ("carried", _CARRIED[rejection.carried]),
            ("from", rejection.client),
            ("bytes", rejection.body_bytes),
            ("accepted as", rejection.event_id),
        ]
    )
    click.secho("\nheaders", bold=True)
    facts(sorted(_headers(settings, rejection).items()))
    click.secho("\nbody", bold=True)
    click.echo(readable(rejection.body.decode("utf-8", "replace")))


@rejections.command()
@click.argument("rejection_ids", nargs=-1, metavar="[REJECTION]...")
@filtered
@in_bulk
@as_json
@click.pass_obj
@waits
async def reverify(
    config: Path | None,
    rejection_ids: tuple[str, ...],
    source: str | None,
    code: str | None,
    dry_run: bool,
    yes: bool,
    json_: bool,
) -> None:
    """
    Verify refused requests again, after the secret was mended.

    Each is judged by today's configuration (the running server's: reload it first) as
    of the moment it arrived.  What is right is accepted and delivered as it should
    have been; what was accepted meanwhile is a duplicate.  Exit code 1 if some
    were named and none of them is right.

    \b
    Examples:
      receiver rejections reverify rej_0123456789abcdef
      receiver rejections reverify --source sora2 --code signature_mismatch --dry-run
      receiver rejections reverify --source sora2 --yes
    """
    choose("reverify", "rejections", rejection_ids, (source, code))
    settings = settings_of(config)
    async with looking(settings) as reader:
        await check_names(reader, settings, source=source)
        chosen = list(rejection_ids) or await _matching(reader, source, code)
    if chosen and not (dry_run or rejection_ids or yes):
        ask(f"verify {plural(len(chosen), 'rejection')} again?")
    results: list[Mapping[str, Any]] = []
    async with writing(settings) as writer:
        for part in steps("verifying", chosen):
            asked = {"ids": list(part), "dry_run": dry_run}
            answer = await writer.post("/rejections/reverify", asked)
            results += answer["results"]
    _show_results(results, dry_run=dry_run, json_=json_)
    if any(result["status"] not in RIGHT for result in results) and not json_:
        _say_by_what(await server(settings))
    right = sum(result["status"] in RIGHT for result in results)
    sys.exit(1 if rejection_ids and not right else 0)


async def _matching(reader: Reader, source: str | None, code: str | None) -> list[str]:
    """Those that were not accepted yet, the oldest first."""
    found = await reader.rejections(source=source, code=code, limit=MOST)
    return [r.id for r in reversed(found) if r.event_id is None]


def _say_by_what(running: Mapping[str, Any] | None) -> None:
    """Where a secret was mended and the server has not read it yet, nothing is right."""
    if running is not None:
        click.echo(
            "judged by what the running server has read; after a change of secrets, "
            "first: receiver reload"
        )


def _show_results(
    results: list[Mapping[str, Any]], *, dry_run: bool, json_: bool
) -> None:
    counted = Counter(str(result["status"]) for result in results)
    if json_:
        emit_json({"results": results, "counts": counted, "dry_run": dry_run})
        return
    if not results:
        click.echo("nothing matched")
        return
    if len(results) <= SHOWN:
        table(
            ("REJECTION", "NOW", "EVENT", "WHY"),
            [
                (r["id"], r["status"], r.get("event_id") or "", r.get("message") or "")
                for r in results
            ],
        )
    would = "would be " if dry_run else ""
    parts = [f"{count:,} {would}{word}" for word, count in counted.most_common()]
    click.echo(", ".join(parts))


def _headers(settings: Settings, rejection: Rejection) -> dict[str, str]:
    """Signatures masked: they are as good as the request itself."""
    senders = Senders(settings.sources.values())
    return shown_headers(rejection.headers, senders.masked(rejection.source))
