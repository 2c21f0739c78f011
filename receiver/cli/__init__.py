"""
The command line.  Each group of commands is a module, loaded when it is used.

Exit codes: 0 done (also when nothing matched), 1 it failed or the state forbids it,
2 the command, the configuration or the store is wrong, 130 interrupted.
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
    "reload": (
        "receiver.cli.reloading",
        "have the running server read the configuration again",
    ),
    "send": (
        "receiver.cli.sending",
        "sign a sample as the provider would, and post it",
    ),
    "events": ("receiver.cli.events", "list and show what was accepted"),
    "tail": (
        "receiver.cli.tailing",
        "events as they come; --forward posts them to a program of yours",
    ),
    "batches": (
        "receiver.cli.batches",
        "what became of each batch, task and job; credits",
    ),
    "explain": ("receiver.cli.explaining", "why an event went where it went"),
    "deliveries": ("receiver.cli.deliveries", "list, show, retry, cancel, move"),
    "destinations": ("receiver.cli.destinations", "list, pause, resume, test"),
    "preview": (
        "receiver.cli.preview",
        "what a destination would be sent, without sending it",
    ),
    "rejections": (
        "receiver.cli.rejections",
        "list and show what was refused, and why",
    ),
    "verify": (
        "receiver.cli.verifying",
        "why a request is accepted or refused, step by step",
    ),
    "watch": (
        "receiver.cli.reconciling",
        "say that a batch exists, so that it is asked for if nothing comes",
    ),
    "reconcile": ("receiver.cli.reconciling", "ask senders for what never arrived"),
    "replay": ("receiver.cli.replays", "deliver stored events again"),
    "prune": ("receiver.cli.pruning", "remove what is old, and make the file smaller"),
    "status": ("receiver.cli.status", "the ledger, the queues, what needs attention"),
    "doctor": ("receiver.cli.doctoring", "what is wrong, or soon will be; what to do"),
    "backup": ("receiver.cli.backing_up", "copy the store, also while the server runs"),
    "restore": ("receiver.cli.restoring", "put a backup in the place of the store"),
    "migrate": (
        "receiver.cli.migrating",
        "bring the store to this version's schema without starting",
    ),
    "bench": ("receiver.cli.benching", "how fast it is, on this machine and disk"),
    "crashtest": (
        "receiver.cli.crashing",
        "kill a receiver again and again, on this disk, and see what it kept",
    ),
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads the output has seen enough
            _discard_output()
            ctx.exit(0)

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
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Say which version this is.",
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
    """Run a command and exit; errors are sentences, never tracebacks."""
    try:
        code = root.main(prog_name="receiver", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        if os.environ.get("RECEIVER_DEBUG"):
            raise
        code = _explain(error)
    sys.exit(code)


def _explain(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    from receiver.errors import (
        ReceiverError,
        SettingsError,
        StoreLocked,
        StoreUnusable,
    )

    if isinstance(error, SettingsError):
        count = len(error.problems)
        _complain(f"{count} problem{'s' * (count > 1)} in the configuration:")
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        return 2
    if isinstance(error, ReceiverError):
        _complain(f"Error: {error}")
        return 2 if isinstance(error, StoreLocked | StoreUnusable) else 1
    if isinstance(error, OSError):
        _discard_output()  # a full disk behind it would fail again at the very end
        _complain(f"Error: {error}")
        return 1
    _complain(f"Error: {type(error).__name__}: {error}")
    click.echo("a fault of receiver's own; RECEIVER_DEBUG=1 shows where", err=True)
    return 1


def _complain(text: str) -> None:
    click.secho(text, fg="red", err=True)


def _discard_output() -> None:
    """Let what is still to be written to standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
