"""send: be the provider for a moment."""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import httpx

from receiver import clock
from receiver.cli.common import settings_of
from receiver.cli.output import as_json, clean, coloured, emit_json
from receiver.cli.serving import find_source
from receiver.errors import NotFound
from receiver.models import Request, State
from receiver.providers import provider_of
from receiver.providers.body import parse
from receiver.providers.samples import Sample, samples
from receiver.providers.sending import outgoing
from receiver.settings import Source

GOOD = (State.SUCCEEDED, State.PARTIAL)


@click.command()
@click.argument("source")
@click.argument("event_type", metavar="[TYPE]", default="")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Send this body instead.",
)
@click.option("--subject", help="The batch id to use (default: a fresh one).")
@click.option("--url", "address", help="Post here instead of to the configured server.")
@click.option("--unsigned", is_flag=True, help="Leave the signature out.")
@as_json
@click.pass_obj
def send(
    config: Path | None,
    source: str,
    event_type: str,
    file: Path | None,
    subject: str | None,
    address: str | None,
    unsigned: bool,
    json_: bool,
) -> None:
    """
    Sign a sample as the provider would, and post it.  Exit code 1 if it is refused.

    \b
    Examples:
      receiver send sora2                          a completed batch
      receiver send sora2 batch.refunded
      receiver send sora2 as-sent                  the flat form that is really sent
      receiver send sora2 --file body.json
    """
    settings = settings_of(config)
    found = find_source(settings, source)
    made = (
        sample(found, event_type, subject)
        if not file
        else Sample("", file.read_bytes())
    )
    base = f"http://{settings.server.host}:{settings.server.port}"
    response = post(found, made, address or base + found.path, signed=not unsigned)
    answer = _answer(response)
    if json_:
        emit_json({"status_code": response.status_code, "answer": answer})
    else:
        known = answer if isinstance(answer, dict) else {}
        error = known.get("error")
        if not isinstance(error, dict):
            error = {}
        word = known.get("status") or error.get("code") or response.text[:200]
        rest = known.get("id") or error.get("message") or ""
        said = f"{coloured(clean(str(word)))} {clean(str(rest))}"
        click.echo(f"{response.status_code} {said}".rstrip())
    sys.exit(0 if response.is_success else 1)


def _answer(response: httpx.Response) -> Any:
    """Whatever answers there: its JSON, or an empty object."""
    try:
        return response.json()
    except ValueError:
        return {}


def sample(source: Source, event_type: str, subject: str | None) -> Sample:
    """
    A body as the provider would send it.

    Raises:
        NotFound: the provider has no such event.
    """
    found = samples(source.provider, subject or fresh_subject(source), clock.now())
    wanted = event_type or usual(source, found)
    if wanted not in found:
        there = ", ".join(found) or "none; give a body with --file"
        raise NotFound(f"no sample {wanted!r}; there are: {there}")
    return found[wanted]


def fresh_subject(source: Source) -> str:
    """A batch, task or job id that was not there before."""
    prefix = {"sora2": "bat", "sophon": "job"}.get(source.provider, "task")
    return f"{prefix}_{secrets.token_hex(6)}"


def usual(source: Source, found: Mapping[str, Sample]) -> str:
    """The sample most people wait for: the first that tells of an end that is good."""
    provider = provider_of(source)
    for name, one in found.items():
        request = Request(one.headers, {}, one.body, clock.now())
        reading = provider.read(request, parse(one.body))
        if reading.final and reading.type == name and reading.state in GOOD:
            return name
    return next(iter(found), "")


def post(
    source: Source, made: Sample, url: str, *, signed: bool = True
) -> httpx.Response:
    """
    Post a body as the source's provider would; no proxy of the environment's is used.

    Raises:
        NotFound: nobody listens there.
        click.BadParameter: it is no address, or a header would hold what none can.
    """
    provider = provider_of(source if signed else replace(source, secrets=()))
    sent = outgoing(provider, made.body, clock.now(), headers=made.headers)
    try:
        return httpx.post(
            url,
            content=sent.body,
            headers=dict(sent.headers),
            params=sent.query or None,
            trust_env=False,
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise click.BadParameter(f"{url!r} cannot be posted to: {error}") from None
    except httpx.TransportError as error:
        reason = f"{url} cannot be reached ({error}); is `receiver serve` running?"
        raise NotFound(reason) from None
