"""batches: what became of each batch, task and job, and whether its credits add up."""

import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import click

from receiver.cli.common import (
    check_names,
    listing,
    looking,
    moment,
    options,
    settings_of,
    waits,
)
from receiver.cli.output import (
    as_json,
    clean,
    coloured,
    emit_json,
    facts,
    listed,
    plural,
    table,
)
from receiver.credits import mismatch
from receiver.errors import NotFound
from receiver.messages.words import lasting
from receiver.models import Event, State
from receiver.providers import Provider
from receiver.providers.senders import Senders
from receiver.shown import (
    MEANINGS,
    items_of,
    last_event,
    lasted,
    links_of,
    shown_batch,
    shown_credits,
)
from receiver.stores import Reader
from receiver.subjects import (
    Credits,
    CreditsBy,
    CreditsLine,
    Subject,
    SubjectFilter,
    Trouble,
)
from receiver.timeline import Moment, timeline


@click.group()
def batches() -> None:
    """
    What became of each batch, task and job, by all of its events.

    \b
    Examples:
      receiver batches list --open --older-than 2h
      receiver batches list --problem ledger
      receiver batches show bat_abc123def456
      receiver batches credits --since 30d --by day --by source
    """


_filters = options(
    click.option("--source", help="From this source."),
    click.option(
        "--state", type=click.Choice([s.value for s in State]), help="In this state."
    ),
    click.option(
        "--problem",
        type=click.Choice([t.value for t in Trouble]),
        help="With this problem.",
    ),
    click.option("--request-id", help="Made by the request with this id."),
    click.option("--final/--open", default=None, help="That have ended, or have not."),
    click.option("--older-than", help="Nothing was heard of them for so long: 2h, 3d."),
    click.option("--since", help="First heard of from this time on: 2h (ago), ..."),
    click.option("--until", help="First heard of before this time."),
)


@batches.command("list")
@_filters
@listing("batch")
async def list_(
    config: Path | None,
    /,
    limit: int,
    after: str | None,
    json_: bool,
    **chosen: Any,
) -> None:
    """
    The newest first.

    \b
    Examples:
      receiver batches list --state failed --since 2026-01-24
      receiver batches list --request-id order-12345 --json
    """
    settings, where = settings_of(config), _filter(**chosen)
    async with looking(settings) as reader:
        await check_names(reader, settings, source=where.source)
        found = await reader.subjects(where, limit=limit, after=after)
    if json_:
        emit_json(found)
        return
    listed(
        ("BATCH", "SOURCE", "STATE", "BEGUN", "TOOK", "EVENTS", "PROBLEMS"),
        {
            one.id: (
                one.subject,
                one.source,
                one.state,
                one.begun_at,
                _words(one.lasted),
                one.events,
                one.troubles,
            )
            for one in found
        },
        limit,
        dull=("SOURCE",),
    )


def _filter(
    source: str | None,
    state: str | None,
    problem: str | None,
    request_id: str | None,
    final: bool | None,
    older_than: str | None,
    since: str | None,
    until: str | None,
) -> SubjectFilter:
    return SubjectFilter(
        source=source,
        state=None if state is None else State(state),
        final=final,
        trouble=None if problem is None else Trouble(problem),
        request_id=request_id,
        since=moment(since),
        until=moment(until),
        silent_since=moment(older_than),
    )


@batches.command()
@click.argument("subject", metavar="BATCH")
@click.option("--source", help="Where several sources have one of this name.")
@as_json
@click.pass_obj
@waits
async def show(
    config: Path | None, subject: str, source: str | None, json_: bool
) -> None:
    """
    One batch, task or job: its life, its credits, its results.

    BATCH is the provider's id, or the sub_... that the list's JSON has.

    \b
    Examples:
      receiver batches show bat_abc123def456
      receiver batches show bat_abc123def456 --source sora2 --json
    """
    settings = settings_of(config)
    senders = Senders(settings.sources.values())
    async with looking(settings) as reader:
        found = await _one(reader, subject, source)
        if json_:
            emit_json(await shown_batch(reader, senders, found))
            return
        steps = await reader.subject_steps(found.id)
        event = await last_event(reader, senders, steps)
    _show_facts(found, lasted(found, event))
    _show_troubles(found, senders.of(found.source))
    click.secho("\ntimeline", bold=True)
    for line in drawn(timeline(steps)):
        click.echo(line)
    _show_results(event)


async def _one(reader: Reader, subject: str, source: str | None) -> Subject:
    if subject.startswith("sub_") and source is None:
        return await reader.subject(subject)
    where = SubjectFilter(source=source, subject=subject)
    found = await reader.subjects(where, limit=10)
    if not found:
        raise NotFound(f"nothing is known of {clean(subject)!r} (any more)")
    if len(found) > 1:
        names = ", ".join(sorted(one.source for one in found))
        raise click.UsageError(f"several sources have it; add --source ({names})")
    return found[0]


def _show_facts(found: Subject, took: timedelta | None) -> None:
    marks, ended = found.credits, None
    if found.ended_at is not None:
        after = f", after {_words(took)}" if took is not None else ""
        ended = f"{found.ended_at:%Y-%m-%d %H:%M:%S}Z{after}"
    told = {"reserved", "settled", "refunded", "request_id"}
    counters = {k: v for k, v in found.facts.items() if k not in told}
    facts(
        [
            (found.kind or "subject", found.subject),
            ("source", f"{found.source} ({found.provider})"),
            ("state", f"{found.state}{' (final)' if found.final else ''}"),
            *([("request", found.request_id)] if found.request_id else []),
            ("begun", f"{found.begun_at:%Y-%m-%d %H:%M:%S}Z"),
            ("ended", ended),
            ("events", found.events),
            ("facts", ", ".join(f"{k} {v}" for k, v in counters.items())),
            *([("credits", credits_words(marks))] if marks != Credits() else []),
            *_asking(found),
        ]
    )


def _asking(found: Subject) -> list[tuple[str, object]]:
    """What came of asking its sender, of one that somebody watches or that is silent."""
    rows: list[tuple[str, object]] = []
    if found.registered_at is not None:
        rows.append(("watched", f"since {found.registered_at:%Y-%m-%d %H:%M:%S}Z"))
    if found.ask_note is not None:
        times = plural(found.asked, "time")
        again = f"{found.next_ask_at:%Y-%m-%d %H:%M:%S}Z" if found.next_ask_at else ""
        then = f", again at {again}" if again else ", and not any more"
        rows.append(
            ("asked", f"{times}{'' if found.final else then}: {found.ask_note}")
        )
    return rows


def _show_troubles(found: Subject, sender: Provider | None) -> None:
    wrong = mismatch(found.facts, sender.item_cost if sender is not None else None)
    for trouble in found.troubles:
        more = f" ({wrong.problem})" if trouble is Trouble.LEDGER and wrong else ""
        click.secho(clean(f"! {trouble}: {MEANINGS[trouble]}{more}"), fg="yellow")


def credits_words(found: Credits) -> str:
    """`reserved 100, settled 90, refunded 10`, as far as it is known."""
    pairs = (
        ("reserved", found.reserved),
        ("settled", found.settled),
        ("refunded", found.refunded),
    )
    return ", ".join(f"{name} {value}" for name, value in pairs if value is not None)


def drawn(moments: Sequence[Moment]) -> Iterator[str]:
    """
    A life as lines: each step with its time, and between them how long it was so.

    Coloured where that is wanted, and as readable without.
    """
    if not moments:
        yield "  no event has come yet"
        return
    several_days = moments[0].at.date() != moments[-1].at.date()
    form = "%Y-%m-%d %H:%M:%SZ" if several_days else "%H:%M:%SZ"
    wide = len(moments[0].at.strftime(form))
    types = max(len(clean(one.step.type)) for one in moments)
    states = max(len(one.step.state) for one in moments)
    for one in moments:
        kind = clean(one.step.type).ljust(types)
        state = coloured(one.step.state) + " " * (states - len(one.step.state))
        notes = click.style(f"  ! {'; '.join(one.notes)}", fg="yellow")
        line = f"{one.at.strftime(form)}  o  {kind}  {state}  {one.step.event_id}"
        yield "  " + line + (notes if one.notes else "")
        if one.lasted is not None:
            yield "  " + f"{_words(one.lasted):>{wide}}  |"


def _show_results(event: Event | None) -> None:
    items = items_of(event)
    if items:
        click.secho("\nitems", bold=True)
        table(
            ("ITEM", "STATUS", "RESULT"),
            [
                (
                    one.get("item_id") or one.get("index"),
                    one.get("status"),
                    one.get("video_url") or one.get("error"),
                )
                for one in items
            ],
        )
    elif links := links_of(event):
        click.secho("\nresults", bold=True)
        for link in links:
            click.echo(f"  {clean(link)}")
    if event is not None and event.expires_at is not None:
        click.echo(f"links hold until {event.expires_at:%Y-%m-%d %H:%M}Z")


def _words(took: timedelta | None) -> str | None:
    return None if took is None else lasting(took.total_seconds() * 1000)


# -- credits


@batches.command("credits")
@click.option("--since", help="Ended from this time on: 30d (ago), 2026-01-24, ...")
@click.option("--until", help="Ended before this time.")
@click.option("--source", help="From this source.")
@click.option(
    "--by",
    type=click.Choice(get_args(CreditsBy)),
    multiple=True,
    help="A line for each day (UTC), source, or both; by default both.",
)
@click.option("--csv", "csv_", is_flag=True, help="Print CSV, for spreadsheets.")
@as_json
@click.pass_obj
@waits
async def credits_(
    config: Path | None,
    since: str | None,
    until: str | None,
    source: str | None,
    by: tuple[CreditsBy, ...],
    csv_: bool,
    json_: bool,
) -> None:
    """
    What batches that ended were held, charged and given back.

    \b
    Examples:
      receiver batches credits --since 30d --by day
      receiver batches credits --since 2026-01-01 --until 2026-02-01 --csv
    """
    if csv_ and json_:
        raise click.UsageError("either --csv or --json")
    settings = settings_of(config)
    chosen: frozenset[CreditsBy] = frozenset(by or get_args(CreditsBy))
    times: tuple[datetime | None, datetime | None] = (moment(since), moment(until))
    async with looking(settings) as reader:
        await check_names(reader, settings, source=source)
        found = await reader.credits(*times, by=chosen, source=source)
    if json_:
        emit_json([shown_credits(line) for line in found])
        return
    headings, rows = _columns(found, chosen)
    if csv_:
        writer = csv.writer(sys.stdout)
        writer.writerow([heading.lower() for heading in headings])
        writer.writerows(rows)
        return
    table(headings, [*rows, *_sum(found, chosen)])
    count = sum(line.mismatches for line in found)
    if count:
        named = f"{plural(count, 'batch')} whose credits do not add up"
        click.secho(f"\n! {named}: receiver batches list --problem ledger", fg="yellow")


def _columns(
    lines: Sequence[CreditsLine], by: frozenset[CreditsBy]
) -> tuple[list[str], list[list[object]]]:
    names = [name for name in get_args(CreditsBy) if name in by]
    headings = [*(name.upper() for name in names), "BATCHES", "RESERVED", "SETTLED"]
    headings += ["REFUNDED", "MISSING", "OVER", "MISMATCHES"]
    rows = [
        [*(getattr(line, name) for name in names), *_numbers(line)] for line in lines
    ]
    return headings, rows


def _numbers(line: CreditsLine) -> list[object]:
    return [
        line.subjects,
        line.reserved,
        line.settled,
        line.refunded,
        line.missing,
        line.over,
        line.mismatches,
    ]


def _sum(lines: Sequence[CreditsLine], by: frozenset[CreditsBy]) -> list[list[object]]:
    """A line of totals below several."""
    if len(lines) < 2:
        return []
    columns = zip(*(_numbers(line) for line in lines), strict=True)
    totals: list[object] = [sum(column) for column in columns]
    return [["in all", *[""] * (len(by) - 1), *totals]]
