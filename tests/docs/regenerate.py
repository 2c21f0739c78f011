"""
Writes the parts of the documentation that repeat the code: run it when they differ.

    .venv/bin/python tests/docs/regenerate.py

docs/cli.md is the help of every command; docs/alerts.md has a table of our own events;
on all pages the tables between `<!-- options: CLASS -->` and `<!-- end -->` are the
fields of settings dataclasses, those after `<!-- providers -->` what providers declare.
"""

import dataclasses
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from receiver.cli import root
from receiver.destinations import TYPES
from receiver.destinations.oauth2 import OAuth2
from receiver.internal import INTERNAL_TYPES, InternalType
from receiver.providers import KINDS
from receiver.providers.hmac import Signature
from receiver.settings import DestinationSettings
from receiver.settings.model import (
    BreakerPolicy,
    Join,
    RetryPolicy,
    Route,
    Server,
    Source,
    StoreSettings,
)
from tests.docs.providers import providers_table

DOCS = Path(__file__).parents[2] / "docs"
CLI = DOCS / "cli.md"
ALERTS = DOCS / "alerts.md"
COMMAND = "python tests/docs/regenerate.py"
WIDTH = 80

_MARKED = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PROVIDERS = re.compile(r"(<!-- providers -->\n).*?(<!-- end -->)", re.DOTALL)

_ALERTS = re.compile(r"(\|---\|---\|---\|---\|\n).*?(<!-- end -->)", re.DOTALL)

_CLI_HEAD = f"""\
# Commands

What every command's `--help` says, written by `{COMMAND}`.

All commands read the configuration as `serve` does: `-c FILE`, else `receiver.toml` in
the current folder, else the built-in one. Those that look read the store's file, whether
or not a server runs; those that change something ask the running server through the
Unix socket beside the store, or do it themselves if none runs.

Exit codes: 0 done, also when nothing matched; 1 it failed, or the state forbids it;
2 the command, the configuration or the store is wrong, or another process owns the
store; 130 interrupted.  What changes many at a time asks first; without a terminal it
needs `--yes`.
"""


def settings_classes() -> dict[str, type]:
    """Every dataclass that has options, by name."""
    base = (
        Server,
        StoreSettings,
        Source,
        Route,
        Join,
        DestinationSettings,
        RetryPolicy,
        OAuth2,
        BreakerPolicy,
    )
    specific = (*source_classes(), Signature, *destination_classes())
    return {cls.__name__: cls for cls in (*base, *specific)}


def source_classes() -> Iterator[type[Source]]:
    """The settings classes of providers that have options of their own."""
    for kind in KINDS.values():
        for cls in reversed(kind.settings_class().__mro__):
            if issubclass(cls, Source) and cls is not Source:
                yield cls


def destination_classes() -> tuple[type[DestinationSettings], ...]:
    """The settings class of each destination type."""
    return tuple(kind.settings_class() for kind in TYPES.values())


def options(cls: type) -> Iterator[tuple[str, str, str]]:
    """Name, default and help of each option as a user writes them."""
    base = cls.__base__
    inherited = _fields(base) if base and dataclasses.is_dataclass(base) else {}
    for name, field in _fields(cls).items():
        if field == inherited.get(name):
            continue
        yield name.rstrip("_"), _default(field), field.metadata["help"]


def _fields(cls: type) -> dict[str, Any]:
    found = {f.name: f for f in dataclasses.fields(cls) if "help" in f.metadata}
    return {name: _Comparable.of(field) for name, field in found.items()}


@dataclasses.dataclass(frozen=True)
class _Comparable:
    """What of a dataclass field decides whether a subclass changed it."""

    default: Any
    factory: Any
    metadata: Any

    @classmethod
    def of(cls, field: "dataclasses.Field[Any]") -> "_Comparable":
        return cls(field.default, field.default_factory, dict(field.metadata))


def _default(field: _Comparable) -> str:
    if field.factory is dict:
        return "`{}`"
    if field.factory is not dataclasses.MISSING:
        return "see below"
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "none"
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f'"{_duration(value)}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int):
        return f"{value:_}" if value >= 100_000 else str(value)
    return f'"{value}"'


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def table(cls: type) -> str:
    """The options of a class as a Markdown table."""
    rows = [
        f"| `{name}` | {default} | {_escaped(help_text)} |"
        for name, default, help_text in options(cls)
    ]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown takes as it is, in a cell."""
    return re.sub(r"([|<])", r"\\\1", text)


def with_tables(text: str) -> str:
    """The text with every marked table as it should be."""
    classes = settings_classes()
    text = _MARKED.sub(lambda m: m[1] + table(classes[m[2]]) + m[3], text)
    return _PROVIDERS.sub(lambda m: m[1] + providers_table() + m[2], text)


def with_alerts(text: str) -> str:
    """The page of alerts with its rows as they should be."""
    rows = [
        f"| `{kind}` | `{found.state}` | {found.when} | {_fields_of(found)} |\n"
        for kind, found in INTERNAL_TYPES.items()
    ]
    return _ALERTS.sub(lambda m: m[1] + "".join(rows) + m[2], text)


def _fields_of(found: InternalType) -> str:
    return "; ".join(f"`{name}`: {what}" for name, what in found.fields.items())


def cli_page() -> str:
    """docs/cli.md as it should be."""
    parts = [_CLI_HEAD]
    for title, text in _helps(root, "receiver", None):
        parts.append(f"## {title}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _helps(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    help_text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    yield context.command_path, help_text
    if isinstance(command, click.Group):
        for inner_name in command.list_commands(context):
            inner = command.get_command(context, inner_name)
            assert inner is not None
            yield from _helps(inner, inner_name, context)


def main() -> None:
    CLI.write_text(cli_page())
    ALERTS.write_text(with_alerts(ALERTS.read_text()))
    for page in DOCS.glob("*.md"):
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
