"""Setting up and running: init, check, url, serve."""

import os
import secrets
import sys
from base64 import b64encode
from importlib import resources
from pathlib import Path

import click

from receiver.cli.common import settings_of
from receiver.cli.output import as_json, emit_json, facts, table
from receiver.errors import Problem, SettingsError
from receiver.settings import DEFAULT_FILE, Settings, Source
from receiver.settings.fields import suggest


@click.command()
@click.option("--fd", type=int, help="Take connections from this inherited socket.")
@click.pass_obj
def serve(config: Path | None, fd: int | None) -> None:
    """
    Take webhooks and deliver them, until SIGTERM.

    SIGHUP reads the configuration again; a bad one changes nothing and says why.
    With systemd socket activation the socket is found without --fd.

    \b
    Examples:
      receiver serve
      receiver -c /etc/receiver/receiver.toml serve --fd 3
    """
    from receiver import logs

    settings = settings_of(config)
    logs.configure(settings.server.log_level, settings.server.log_format)
    from receiver.app import run

    run(settings, lambda: settings_of(config), fd if fd is not None else _handed_over())


def _handed_over() -> int | None:
    """The first socket systemd passed to this very process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    return 3 if int(os.environ.get("LISTEN_FDS", "0")) > 0 else None


@click.command()
@as_json
@click.pass_obj
def check(config: Path | None, json_: bool) -> None:
    """
    Read the configuration as `serve` would; report every problem, or what would run.

    \b
    Examples:
      receiver check
      receiver -c staging.toml check --json
    """
    settings = settings_of(config)
    problems = [
        Problem(settings.file, f"destinations.{name}.{field}", message, hint)
        for name, destination in settings.destinations.items()
        for field, message, hint in destination.problems()
    ]
    if problems:
        raise SettingsError(problems)
    if json_:
        emit_json(_summary(settings))
        return
    click.echo(f"{settings.file}: no problems\n")
    table(
        ("SOURCE", "PROVIDER", "PATH", "SECRETS"),
        [(s.name, s.provider, s.path, _guard(s)) for s in settings.sources.values()],
    )
    click.echo()
    table(
        ("DESTINATION", "TYPE", "TO"),
        [(d.name, d.type, d.described()) for d in settings.destinations.values()],
    )
    click.echo()
    table(
        ("ROUTE", "SOURCE", "TYPES", "WHEN", "TO"),
        [(r.name, r.source, r.types, r.when, r.to) for r in settings.routes],
    )
    if not settings.routes:
        click.secho("\nno route: events are stored and go nowhere", fg="yellow")


def _guard(source: Source) -> str:
    parts = [f"{len(source.secrets)} secret(s)"] if source.secrets else []
    parts += ["URL token"] if source.token else []
    parts += (
        ["UNSIGNED ALLOWED"] if source.allow_unsigned and not source.secrets else []
    )
    return " + ".join(parts)


def _summary(settings: Settings) -> dict[str, object]:
    return {
        "file": settings.file,
        "server": {"host": settings.server.host, "port": settings.server.port},
        "store": settings.store.url,
        "sources": {
            s.name: {"provider": s.provider, "path": s.path, "secrets": len(s.secrets)}
            for s in settings.sources.values()
        },
        "destinations": {
            d.name: {"type": d.type, "to": d.described()}
            for d in settings.destinations.values()
        },
        "routes": settings.routes,
    }


@click.command()
@click.argument("source")
@click.option("--base", help="The public address, e.g. https://hooks.example.com")
@click.option(
    "--show-token", is_flag=True, help="Print the URL token, where there is one."
)
@click.pass_obj
def url(config: Path | None, source: str, base: str | None, show_token: bool) -> None:
    """
    The exact URL to register with the provider.

    \b
    Examples:
      receiver url sora2 --base https://hooks.example.com
    """
    settings = settings_of(config)
    found = find_source(settings, source)
    host, port = settings.server.host, settings.server.port
    address = (base or f"http://{host}:{port}").rstrip("/") + found.path
    if found.token:
        address += f"?token={found.token if show_token else '***'}"
    click.echo(address)
    if base is None and host in ("127.0.0.1", "localhost", "::1"):
        note = "only this machine can reach it; --base gives your public address"
        click.secho(note, fg="yellow", err=True)


def find_source(settings: Settings, name: str) -> Source:
    """
    Raises:
        click.BadParameter: no source has this name.
    """
    if name not in settings.sources:
        hint = suggest(name, settings.sources)
        raise click.BadParameter(f"there is no source {name!r} ({hint})")
    return settings.sources[name]


@click.command()
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    default=".",
    help="Where to write them (default: here).",
)
def init(force: bool, folder: Path) -> None:
    """
    Write receiver.toml and .env (readable by you alone), with fresh secrets.

    \b
    Examples:
      receiver init && receiver check
    """
    template = resources.files("receiver") / "starter"
    contents = {
        DEFAULT_FILE: (template / "receiver.toml").read_text(),
        ".env": (template / "env").read_text().format(
            sora2_secret=secrets.token_hex(32),
            signing_secret="whsec_" + b64encode(secrets.token_bytes(32)).decode(),
        ),
    }  # fmt: skip
    there = [name for name in contents if (folder / name).exists()]
    if there and not force:
        click.secho(
            f"{' and '.join(there)} exist already; --force overwrites", err=True
        )
        sys.exit(1)
    for name, text in contents.items():
        path = folder / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    facts(
        [
            ("wrote", folder / DEFAULT_FILE),
            ("wrote", f"{folder / '.env'} (secrets: keep it out of version control)"),
            ("next", "put the webhook secret of .env into the provider's dashboard"),
            ("then", "receiver check; receiver serve; receiver send sora2"),
        ]
    )
