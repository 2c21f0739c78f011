"""verify: why a request would be accepted or refused, step by step."""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import looking, moment, settings_of, waits
from receiver.cli.output import as_json, clean, emit_json, facts, table
from receiver.cli.pasted import joined, parse_head, parse_request
from receiver.cli.serving import find_source
from receiver.errors import StoreError
from receiver.models import Rejection, Request
from receiver.providers import Provider, provider_of
from receiver.providers.diagnosis import Check, accepted, diagnose, summary
from receiver.providers.given import MASK
from receiver.providers.keys import recalled
from receiver.settings import Settings, Source

WIDTH = 80
UNKNOWN_QUERY = {"token": MASK}
"""Where nobody says what the URL was: a token in it is not known."""

readable_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to look at, as of when, and what is known of it beside."""

    request: Request
    now: datetime
    notes: tuple[str, ...] = ()
    rejection: str = ""
    pending: bool = False
    body_bytes: int = 0


@click.command()
@click.argument("source", metavar="[SOURCE]", default="")
@click.option("--rejection", metavar="ID", help="A refused request that was kept.")
@click.option("--file", type=readable_file, help="The body, byte for byte.")
@click.option("--header", "given", multiple=True, help='"Name: value"; repeatable.')
@click.option("--headers", type=readable_file, help="A file with a header a line.")
@click.option("--at", help="Judge its age as of then: 2h (ago), 2026-01-24T10:00:00Z.")
@as_json
@click.pass_obj
@waits
async def verify(
    config: Path | None,
    source: str,
    rejection: str | None,
    file: Path | None,
    given: tuple[str, ...],
    headers: Path | None,
    at: str | None,
    json_: bool,
) -> None:
    """
    Why a request would be accepted or refused: each step, and for a signature that
    does not fit the likely cause, found by trying.

    Without --rejection or --file the request is read from standard input: request
    line, headers, an empty line, the body; as `nc -l` or mitmproxy show it.

    Secrets are shown by their fingerprints: the first eight hex digits of their
    SHA-256.  Exit code 0 if it would be accepted, 1 if not.

    \b
    Examples:
      receiver verify --rejection rej_0123456789abcdef
      receiver verify sora2 --file body.json --header "X-Sora2-Signature: sha256=..."
      receiver verify sora2 --at 2026-01-24T10:00:00Z < request.txt
    """
    settings = settings_of(config)
    if rejection and (file or given or headers):
        raise click.UsageError("--rejection has its own body and headers.")
    if rejection:
        kept = await _kept(settings, rejection)
        asked = _of_rejection(kept)
        source = source or kept.source
    elif file:
        asked = _of_files(file, given, headers)
    else:
        asked = _of_input(given, headers)
    if not source:
        raise click.UsageError("At which source? Name it: receiver verify SOURCE")
    found = find_source(settings, source)
    asked = replace(asked, now=moment(at) or asked.now)
    provider = provider_of(found)
    await _recall_keys(settings, provider)
    checks = (*_size(settings, asked.request), *_diagnosed(settings, provider, asked))
    if json_:
        emit_json(_plain(found, asked, checks))
    else:
        _show(found, asked, checks)
    sys.exit(0 if accepted(checks) else 1)


# -- where requests come from


async def _kept(settings: Settings, rejection_id: str) -> Rejection:
    """
    Raises:
        NotFound: there is no such rejection.
    """
    async with looking(settings) as reader:
        return await reader.rejection(rejection_id)


def _of_rejection(kept: Rejection) -> _Asked:
    request = Request(
        kept.headers, kept.query, kept.body, kept.received_at, kept.client
    )
    notes = [f"it was refused when it came: {kept.code}, {kept.message}"]
    if kept.event_id is not None:
        notes.append(f"it was verified again, and is {kept.event_id}")
    return _Asked(
        request,
        kept.received_at,
        tuple(notes),
        rejection=kept.id,
        pending=kept.event_id is None,
        body_bytes=kept.body_bytes,
    )


def _of_files(file: Path, given: Sequence[str], headers: Path | None) -> _Asked:
    known, query = _headers(given, headers)
    now = clock.now()
    return _Asked(
        Request(
            known, UNKNOWN_QUERY if query is None else query, file.read_bytes(), now
        ),
        now,
    )


def _of_input(given: Sequence[str], headers: Path | None) -> _Asked:
    """
    Raises:
        click.UsageError: what is there is no request.
    """
    if sys.stdin.isatty():
        click.echo("paste the request, then Ctrl-D:", err=True)
    raw = sys.stdin.buffer.read()
    if not raw.strip():
        raise click.UsageError("No request: give --rejection or --file, or paste one.")
    more, _ = _headers(given, headers)
    try:
        pasted = parse_request(raw)
    except ValueError as error:
        raise click.UsageError(f"That is no HTTP request: {error}") from None
    now = clock.now()
    query = UNKNOWN_QUERY if pasted.query is None else pasted.query
    request = Request({**pasted.headers, **more}, query, pasted.body, now)
    return _Asked(request, now, pasted.notes)


def _headers(
    given: Sequence[str], file: Path | None
) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
    """
    Raises:
        click.BadParameter: they are none.
    """
    try:
        found, query = parse_head(file.read_bytes()) if file else ({}, None)
        # Bytes beyond ASCII are what they would be on the wire.
        lines = [os.fsencode(line) for line in given]
        pairs = [pair for line in lines for pair in parse_head(line)[0].items()]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return {**found, **joined(pairs)}, query


# -- what is said of them


async def _recall_keys(settings: Settings, provider: Provider) -> None:
    """Of a sender that publishes keys: those that the server fetched last."""
    if not provider.keys_url:
        return
    with suppress(StoreError, ValueError):
        async with looking(settings) as reader:
            found = await recalled(reader, provider.keys_url)
            provider.published = found[0] if found is not None else ()


def _diagnosed(
    settings: Settings, provider: Provider, asked: _Asked
) -> tuple[Check, ...]:
    elsewhere = {
        other.name: other.secrets
        for other in settings.sources.values()
        if other.name != provider.source.name
    }
    return diagnose(
        provider,
        asked.request,
        asked.now,
        digested=bool(asked.rejection),
        body_bytes=asked.body_bytes,
        elsewhere=elsewhere,
    )


def _size(settings: Settings, request: Request) -> tuple[Check, ...]:
    most = settings.server.max_body_bytes
    if len(request.body) <= most:
        return ()
    words = f"{len(request.body):,} bytes, taken are {most:,}"
    return (Check("size", "failed", words, "see `max_body_bytes`"),)


def _plain(source: Source, asked: _Asked, checks: Sequence[Check]) -> dict[str, object]:
    return {
        "source": source.name,
        "provider": source.provider,
        "as_of": asked.now,
        "accepted": accepted(checks),
        "notes": asked.notes,
        "checks": checks,
    }


def _show(source: Source, asked: _Asked, checks: Sequence[Check]) -> None:
    facts(
        [
            ("source", f"{source.name} ({source.provider})"),
            ("as of", asked.now),
            ("body", f"{len(asked.request.body):,} bytes"),
            *(("note", note) for note in asked.notes),
        ]
    )
    click.echo()
    rows = [(check.name, check.verdict, check.words) for check in checks]
    table(("STEP", "", "FOUND"), rows)
    for check in checks:
        if check.hint:
            text = f"{check.name}: {clean(check.hint)}"
            click.echo(f"\n{textwrap.fill(text, WIDTH, break_long_words=False)}")
    click.echo(f"\n{summary(checks)}")
    if asked.pending and accepted(checks):
        click.echo(
            f"accept it: receiver rejections reverify {asked.rejection} "
            "(a running server must have read this configuration: SIGHUP)"
        )
