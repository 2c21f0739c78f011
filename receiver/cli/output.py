"""What commands print: aligned for people, JSON for machines."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime

import click

from receiver import clock
from receiver.plain import plain

COLOURS = {
    "delivered": "green",
    "accepted": "green",
    "ok": "green",
    "succeeded": "green",
    "matched": "green",
    "pending": "yellow",
    "partial": "yellow",
    "paused": "yellow",
    "retrying": "yellow",
    "orphaned": "yellow",
    "duplicate": "yellow",
    "warning": "yellow",
    "unknown": "yellow",
    "problem": "red",
    "dead": "red",
    "failed": "red",
    "cancelled": "bright_black",
}

_UNPRINTABLE = re.compile(
    r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""What JSON may hold as it is, but could drive a terminal or hide text on it."""

as_json = click.option(
    "--json", "json_", is_flag=True, help="Print JSON, for machines."
)


def emit_json(value: object, *, indent: int | None = 2) -> None:
    """JSON that no terminal is driven by; without `indent` on one line."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    click.echo(_UNPRINTABLE.sub(lambda found: _escape(found[0]), text))


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    dull: Collection[str] = (),
) -> None:
    """
    Columns as wide as they need to be; known words in colour.

    Times of today are shown without their day; a column named in `dull` only if its
    rows differ.
    """
    today = clock.now().date()
    texts = [[clean(_cell(value, today)) for value in row] for row in rows]
    shown = [
        i
        for i, heading in enumerate(headings)
        if heading not in dull or len({row[i] for row in texts}) > 1
    ]
    headings = [headings[i] for i in shown]
    texts = [[row[i] for i in shown] for row in texts]
    widths = [
        max([len(heading), *(len(row[i]) for row in texts)])
        for i, heading in enumerate(headings)
    ]
    click.secho(_line(headings, widths, lambda text: text), bold=True)
    for row in texts:
        click.echo(_line(row, widths, coloured))


def listed(
    headings: Sequence[str],
    rows: Mapping[str, Sequence[object]],
    limit: int,
    *,
    dull: Collection[str] = (),
) -> None:
    """A page of a list, its rows by their ids; and how to go on if it is full."""
    table(headings, rows.values(), dull=dull)
    if len(rows) == limit:
        click.echo(f"\nmore: --after {list(rows)[-1]}", err=True)


class Growing:
    """A table whose rows come one by one; columns only become wider."""

    def __init__(self, headings: Sequence[str], least: Sequence[int]) -> None:
        pairs = zip(headings, least, strict=True)
        self._widths = [max(len(heading), width) for heading, width in pairs]
        click.secho(_line(headings, self._widths, lambda text: text), bold=True)

    def row(self, cells: Sequence[object]) -> None:
        today = clock.now().date()
        texts = [clean(_cell(value, today)) for value in cells]
        pairs = zip(self._widths, texts, strict=True)
        self._widths = [max(width, len(text)) for width, text in pairs]
        click.echo(_line(texts, self._widths, coloured))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """`name  value` lines."""
    found = [(name, clean(_cell(value))) for name, value in pairs]
    width = max((len(name) for name, _ in found), default=0)
    for name, value in found:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {coloured(value)}")


def coloured(word: str) -> str:
    colour = COLOURS.get(word.strip())
    return click.style(word, fg=colour) if colour else word


def ago(moment: datetime, now: datetime) -> str:
    """`3 s`, `5 min`, `2 h`, `4 d`."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clean(text: str) -> str:
    """Without control characters: what providers send must not drive the terminal."""
    return "".join(
        c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def short(text: str, limit: int = 100) -> str:
    """As much of a text as a column of a table can bear."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def readable(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(clean, text.splitlines()))


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else noun.removesuffix('y') + 'ies' if noun.endswith('y') else noun + 's'}"


def _cell(value: object, today: date | None = None) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        day = "" if value.date() == today else f"{value:%Y-%m-%d} "
        return f"{day}{value:%H:%M:%S}Z"
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _line(
    cells: Sequence[str], widths: Sequence[int], style: Callable[[str], str]
) -> str:
    padded = [
        style(cell) + " " * (width - len(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
