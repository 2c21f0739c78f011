"""Setting up and running: init, check, url, serve."""

import asyncio
import os
import secrets
import shutil
import sys
from base64 import b64encode
from importlib import resources
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote, urlsplit

import click

from receiver.cli.common import check_complete, check_name, program, settings_of
from receiver.cli.output import as_json, clean, emit_json, facts, plural, table
from receiver.errors import SettingsError
from receiver.providers import provider_of
from receiver.providers.verification import authorization_of
from receiver.settings import DEFAULT_FILE, Join, Settings, Source
from receiver.settings.fields import shown


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

    settings = complete(config)
    logs.configure(settings.server.log_level, settings.server.log_format)
    from receiver.process import run

    run(settings, lambda: complete(config), fd if fd is not None else _handed_over())


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
    from receiver.cli.trying import notes, would_send

    try:
        settings = complete(config)
    except SettingsError as error:
        if not json_:
            raise
        emit_json({"problems": error.problems})
        sys.exit(2)
    noted = [*notes(settings), *asyncio.run(would_send(settings))]
    if json_:
        told = [{"key": key, "message": message} for key, message in noted]
        emit_json({**_summary(settings), "notes": told})
        return
    click.echo(f"{settings.file}: no problems\n")
    table(
        ("SOURCE", "PROVIDER", "PATH", "GUARDED BY"),
        [
            (s.name, s.provider, s.path, guarded_by(s))
            for s in settings.sources.values()
        ],
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
    if settings.joins:
        click.echo()
        table(
            ("JOIN", "SOURCE", "TYPES", "WHEN", "KEY", "COMPLETE", "WITHIN"),
            map(_joined, settings.joins.values()),
        )
    if not settings.routes:
        click.secho("\nno route: events are stored and go nowhere", fg="yellow")
    for key, message in noted:
        click.secho(f"\nnote: {key}: {clean(message)}", fg="yellow")


def complete(config: Path | None) -> Settings:
    """
    The configuration, and all it needs on this machine.

    Raises:
        SettingsError: `serve` would not start, or could not deliver.
    """
    settings = settings_of(config)
    check_complete(settings, settings.destinations.values())
    return settings


def _joined(join: Join) -> tuple[object, ...]:
    """A join's row."""
    complete, within = join.complete or f"{join.count} parts", shown(join.timeout)
    return (
        *(join.name, join.source, join.types),
        *(join.when, join.key, complete, within),
    )


def guarded_by(source: Source) -> str:
    """What a request must have or be, in a few words without secrets."""
    provider = provider_of(source)
    parts = [plural(len(source.secrets), "secret")] if source.secrets else []
    parts += ["public keys"] if provider.schemes and not provider.needs_secret else []
    parts += ["URL token"] if source.token else []
    parts += ["basic"] if source.basic else []
    parts += ["bearer"] if source.bearer else []
    parts += [f"header {name}" for name in source.require_headers]
    parts += ["addresses"] if source.allow_ips else []
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
        "joins": {
            j.name: {
                "source": j.source,
                "types": j.types,
                "when": j.when,
                "key": j.key,
                "count": j.count,
                "complete": j.complete,
                "timeout_s": j.timeout.total_seconds(),
                "fail_fast": j.fail_fast,
            }
            for j in settings.joins.values()
        },
    }


@click.command()
@click.argument("source")
@click.option("--base", help="The public address, e.g. https://hooks.example.com")
@click.option(
    "--show-token",
    is_flag=True,
    help="Print the URL's token and what headers must hold; both are secret.",
)
@click.pass_obj
def url(config: Path | None, source: str, base: str | None, show_token: bool) -> None:
    """
    The exact URL to register with the provider.

    Headers that the source requires, and that have to be set there too, are told on
    standard error.

    \b
    Examples:
      receiver url sora2 --base https://hooks.example.com
      receiver url luma --base https://hooks.example.com --show-token
    """
    settings = settings_of(config)
    found = find_source(settings, source)
    host, port = settings.server.host, settings.server.port
    address = (_base(base) if base else f"http://{host}:{port}") + found.path
    if found.token:
        address += f"?token={quote(found.token, safe='') if show_token else '***'}"
    click.echo(address)
    for name, value in authorization_of(found).items():
        shown = value if show_token else "***"
        click.echo(f"and this header: {name}: {shown}", err=True)
    if not show_token and (found.token or authorization_of(found)):
        note = "*** stands for what is secret; --show-token shows it"
        click.secho(note, fg="yellow", err=True)
    if base is None and host in ("127.0.0.1", "localhost", "::1"):
        note = "only this machine can reach it; --base gives your public address"
        click.secho(note, fg="yellow", err=True)


def _base(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        good = False
    if not good or "?" in text or "#" in text:
        raise click.BadParameter(
            f"--base {text}: write scheme and host, like https://hooks.example.com"
        )
    return text.rstrip("/")


def find_source(settings: Settings, name: str) -> Source:
    """
    Raises:
        click.BadParameter: no source has this name.
    """
    check_name("source", name, settings.sources)
    return settings.sources[name]


@click.command()
@click.option(
    "--force", is_flag=True, help="Replace files that are there; copies are kept."
)
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

    A file that is there stays as it is, but variables that are missing in .env are
    added to it.

    \b
    Examples:
      receiver init && receiver check
      receiver init --dir /etc/receiver
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
    if DEFAULT_FILE in there and ".env" in there and not force:
        raise click.ClickException(
            f"{' and '.join(there)} exist already; --force replaces them"
        )
    if there == [DEFAULT_FILE] and not force:
        del contents[DEFAULT_FILE]
    done: list[tuple[str, object]] = []
    try:
        for name, text in contents.items():
            done += _write(folder / name, text, keep=not force)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise click.ClickException(f"cannot write in {folder}: {why}") from None
    run = program()
    if folder.resolve() != Path.cwd():
        run += f" -c {folder / DEFAULT_FILE}"
    todo = "put the webhook secret of .env into the provider's dashboard"
    commands = f"{run} check; {run} serve; {run} send sora2"
    facts([*done, ("next", todo), ("then", commands)])


def _write(path: Path, text: str, *, keep: bool) -> list[tuple[str, object]]:
    """
    Write the file as a whole or not at all; what was done.

    What is there is copied beside it, or with `keep` only added to.
    """
    done: list[tuple[str, object]] = []
    if path.exists() and keep:
        text = _completed(path.read_text(), text)
        done.append(("completed", path))
    elif path.exists():
        names = (path.with_name(f"{path.name}.bak{n or ''}") for n in count())
        copy = next(name for name in names if not name.exists())
        shutil.copy2(path, copy)
        done.append(("kept", copy))
    with NamedTemporaryFile(
        "w", dir=path.parent, prefix=path.name, delete=False
    ) as file:  # readable by its owner alone, as all such files are
        try:
            file.write(text)
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
    if not (keep and done):
        note = " (keep it out of version control)"
        done.append(("wrote", f"{path}{note if path.name == '.env' else ''}"))
    return done


def _completed(before: str, template: str) -> str:
    """`before`, and those variables of the template that it does not set."""
    names = {line.partition("=")[0].strip() for line in before.splitlines()}
    names |= {name.removeprefix("export ").strip() for name in names}
    missing = [
        line
        for line in template.splitlines()
        if line.partition("=")[0].strip() not in names and not line.startswith("#")
    ]
    added = "".join(f"{line}\n" for line in missing if "=" in line)
    return before + ("\n" if before and not before.endswith("\n") else "") + added
