"""
The command line.  Each group of commands is a module, loaded when it is used.

Exit codes: 0 done (also when nothing matched), 1 it failed or the state forbids it,
2 the command or the configuration is wrong.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

_COMMANDS = {
    "demo": ("receiver.cli.demo", "the whole thing in a minute, nothing to configure"),
    "init": (
        "receiver.cli.serving",
        "write receiver.toml and .env, with fresh secrets",
    ),
    "check": (
        "receiver.cli.serving",
        "validate the configuration, show what would run",
    ),
    "url": ("receiver.cli.serving", "the exact URL to register with the provider"),
    "serve": ("receiver.cli.serving", "run it"),
    "send": (
        "receiver.cli.sending",
        "sign a sample as the provider would, and post it",
    ),
    "events": ("receiver.cli.events", "list and show what was accepted"),
    "explain": ("receiver.cli.events", "why an event went where it went"),
    "deliveries": ("receiver.cli.deliveries", "list, show, retry, cancel, move"),
    "destinations": ("receiver.cli.destinations", "list, pause, resume, test"),
    "rejections": (
        "receiver.cli.rejections",
        "list and show what was refused, and why",
    ),
    "replay": ("receiver.cli.replays", "deliver stored events again"),
    "status": ("receiver.cli.status", "the ledger, the queues, what needs attention"),
}


class Commands(click.Group):
    """Knows every command's name and summary without loading any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(_COMMANDS[cmd_name][0]), cmd_name
        )
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS:
            from receiver.settings.fields import suggest

            hint = suggest(args[0], _COMMANDS)
            ctx.fail(f"there is no command {args[0]!r} ({hint})")
        return super().resolve_command(ctx, args)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"receiver {version('receiver')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    envvar="RECEIVER_CONFIG",
    help="The configuration file (default: receiver.toml here, else the built-in one).",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version
)
@click.pass_context
def root(ctx: click.Context, config: Path | None) -> None:
    """
    Receive signed webhooks, keep each once, deliver them until they arrive.

    \b
    Try it:      receiver demo
    Set it up:   receiver init && receiver check && receiver serve
    Look at it:  receiver status;  receiver events list;  receiver explain EVENT
    """
    ctx.obj = config


def main() -> None:
    """Run a command; errors are sentences, never tracebacks."""
    from receiver.errors import ReceiverError, SettingsError

    try:
        root(prog_name="receiver")
    except SettingsError as error:
        count = len(error.problems)
        click.secho(
            f"{count} problem{'s' * (count > 1)} in the configuration:",
            fg="red",
            err=True,
        )
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(2)
    except ReceiverError as error:
        from receiver.errors import StoreLocked

        click.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(2 if isinstance(error, StoreLocked) else 1)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        if os.environ.get("RECEIVER_DEBUG"):
            raise
        click.secho(f"Error: {type(error).__name__}: {error}", fg="red", err=True)
        click.echo("a fault of receiver's own; RECEIVER_DEBUG=1 shows where", err=True)
        sys.exit(1)
