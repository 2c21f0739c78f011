"""watch, reconcile: subjects that must exist, and what their senders say of them."""

import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import (
    CHUNK,
    check_name,
    looking,
    moment,
    settings_of,
    waits,
)
from receiver.cli.output import as_json, emit_json, plural, table
from receiver.settings import Settings
from receiver.stores import Reader
from receiver.subjects import SubjectFilter

SHOWN = 50
"""Results shown one by one; more are only counted."""


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("subjects", metavar="SUBJECT...", nargs=-1, required=True)
@as_json
@click.pass_obj
@waits
async def watch(
    config: Path | None, source: str, subjects: tuple[str, ...], json_: bool
) -> None:
    """
    Say that batches, tasks or jobs exist: they are asked for if nothing comes of them.

    A webhook that never arrives leaves no trace, so tell receiver the ids you were
    given when you began them.  Programs do the same with POST /api/v1/subjects on the
    server's socket.  Watching one that was given up begins anew.

    \b
    Examples:
      receiver watch sora2 bat_abc123def456
      receiver watch kie e989621f54392584b05867f87b160672
    """
    from receiver.cli.writing import writing

    settings = settings_of(config)
    check_name("source", source, settings.sources)
    async with writing(settings) as writer:
        asked = {"source": source, "subjects": list(subjects)}
        answer = await writer.post("/subjects", asked)
    if json_:
        emit_json(answer)
        return
    new = answer["registered"]
    click.echo(f"watching {plural(len(subjects), 'subject')}, {new} of them new")
    if settings.sources[source].reconcile is None:
        click.echo(f"nothing is asked by itself: {_advice(settings, source)}", err=True)


def _advice(settings: Settings, source: str) -> str:
    """What to do so that its sender is asked."""
    from receiver.providers import provider_of

    config = settings.sources[source]
    if not provider_of(config).status_api:
        return f"no status API of {config.provider} is known here"
    if config.api_key is None:
        return (
            f'set api_key = "${{...}}" in [sources.{source}], and reconcile, too; '
            "then: receiver reload"
        )
    return f"set sources.{source}.reconcile, or run receiver reconcile {source}"


@click.command()
@click.argument("source", metavar="[SOURCE]", required=False)
@click.option("--subject", help="Only this one, whether or not anything came of it.")
@click.option("--since", help="Begun since then: 2h, 2026-01-24.")
@click.option("--dry-run", is_flag=True, help="Ask, and only say what would be made.")
@as_json
@click.pass_obj
@waits
async def reconcile(
    config: Path | None,
    source: str | None,
    subject: str | None,
    since: str | None,
    dry_run: bool,
    json_: bool,
) -> None:
    """
    Ask senders what became of all that has not ended, and make the events that never
    arrived: of sources with an api_key, one question after another.

    They are events like any other, of origin `reconciled`, and are delivered as the
    real ones would have been; those are duplicates if they still come.  Exit code 1 if
    there were questions and no answer.

    \b
    Examples:
      receiver reconcile --dry-run
      receiver reconcile sora2 --since 2d
      receiver reconcile kie --subject e989621f54392584b05867f87b160672
    """
    settings = settings_of(config)
    sources = _sources(settings, source, subject)
    async with looking(settings) as reader:
        found = (
            [(sources[0], subject)]
            if subject
            else [
                (name, one)
                for name in sources
                async for one in _open(reader, name, moment(since))
            ]
        )
    results = await _ask(settings, found, dry_run=dry_run)
    counts = Counter(str(result["outcome"]) for result in results)
    if json_:
        emit_json({"results": results, "counts": counts, "dry_run": dry_run})
    else:
        _show(results, counts, dry_run=dry_run)
    answered = any(counts[outcome] for outcome in ("ended", "open", "unknown"))
    sys.exit(1 if results and not answered else 0)


def _sources(settings: Settings, source: str | None, subject: str | None) -> list[str]:
    """The sources to ask for."""
    able = [name for name, one in settings.sources.items() if one.api_key is not None]
    if source is not None:
        check_name("source", source, settings.sources)
        if source not in able:
            message = f"source {source} has no api_key: nobody can be asked"
            raise click.UsageError(message)
        return [source]
    if subject is not None:
        raise click.UsageError("--subject needs the source, too")
    if not able:
        raise click.UsageError("no source has an api_key: nobody can be asked")
    return able


async def _open(
    reader: Reader, source: str, since: datetime | None
) -> AsyncGenerator[str, None]:
    """What has not ended, the newest first."""
    where = SubjectFilter(source=source, final=False, since=since)
    after = None
    while page := await reader.subjects(where, limit=CHUNK, after=after):
        for one in page:
            yield one.subject
        after = page[-1].id


async def _ask(
    settings: Settings, found: Sequence[tuple[str, str]], *, dry_run: bool
) -> list[Mapping[str, Any]]:
    """One question after another; a key that is refused ends those of its source."""
    from receiver.cli.writing import writing

    results: list[Mapping[str, Any]] = []
    if not found:
        return results
    ended: set[str] = set()
    async with writing(settings) as writer:
        with click.progressbar(
            found, label="asking", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            for source, subject in bar:
                if source in ended:
                    continue
                asked = {"source": source, "subject": subject, "dry_run": dry_run}
                result = await writer.post("/subjects/ask", asked)
                results.append({"source": source, **result})
                if result["outcome"] == "key_refused":
                    ended.add(source)
    return results


def _show(
    results: Sequence[Mapping[str, Any]], counts: Counter[str], *, dry_run: bool
) -> None:
    if not results:
        click.echo("nothing waits: all that is known has ended")
        return
    if len(results) <= SHOWN:
        table(
            ("SOURCE", "SUBJECT", "NOW", "THE API SAYS", "EVENTS", "WHY"),
            [
                (
                    r["source"],
                    r["subject"],
                    r["outcome"],
                    r["word"],
                    [e["type"] for e in r["events"] if e["type"]],
                    r["note"],
                )
                for r in results
            ],
        )
    made = Counter(e["status"] for r in results for e in r["events"])
    events = f"{plural(made['accepted'], 'event')} {'would be ' * dry_run}made"
    click.echo(", ".join([*(f"{n:,} {word}" for word, n in counts.items()), events]))
