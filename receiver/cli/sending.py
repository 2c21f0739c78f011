"""send: be the provider for a moment."""

import secrets
import sys
from pathlib import Path
from typing import Any

import click
import httpx

from receiver import clock
from receiver.cli.common import settings_of
from receiver.cli.output import as_json, clean, coloured, emit_json
from receiver.cli.serving import find_source
from receiver.errors import NotFound
from receiver.providers import PROVIDERS
from receiver.settings import Source


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
    body = file.read_bytes() if file else sample(found, event_type, subject)
    base = f"http://{settings.server.host}:{settings.server.port}"
    response = post(found, body, address or base + found.path, signed=not unsigned)
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


def sample(source: Source, event_type: str, subject: str | None) -> bytes:
    """
    A body as the provider would send it.

    Raises:
        NotFound: the provider has no such event.
    """
    batch = subject or f"bat_{secrets.token_hex(6)}"
    samples = PROVIDERS[source.provider].samples(batch, clock.now())
    usual = "batch.completed" if "batch.completed" in samples else next(iter(samples))
    wanted = event_type or usual
    if wanted not in samples:
        raise NotFound(f"no sample {wanted!r}; there are: {', '.join(samples)}")
    return samples[wanted]


def post(
    source: Source, body: bytes, url: str, *, signed: bool = True
) -> httpx.Response:
    """
    Post a body as the source's provider would; no proxy of the environment's is used.

    Raises:
        NotFound: nobody listens there.
        click.BadParameter: it is no address, or a header would hold what none can.
    """
    headers = {"content-type": "application/json"}
    if signed and source.secrets:
        headers |= PROVIDERS[source.provider].sign(body, source.secrets[0], clock.now())
    token = {"token": str(source.token)} if source.token else None
    try:
        return httpx.post(
            url, content=body, headers=headers, params=token, trust_env=False
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise click.BadParameter(f"{url!r} cannot be posted to: {error}") from None
    except httpx.TransportError as error:
        reason = f"{url} cannot be reached ({error}); is `receiver serve` running?"
        raise NotFound(reason) from None
