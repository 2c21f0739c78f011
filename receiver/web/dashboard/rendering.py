"""
Pages out of templates.

Everything a webhook sent is hostile: all that is put into a page is escaped, on one line
where it should be, and a link only where it is a plain web address.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from receiver import clock
from receiver.messages import words
from receiver.models import Result
from receiver.waiting import in_words, why_not
from receiver.web.dashboard import spoken
from receiver.web.dashboard.said import sentence

HERE = Path(__file__).parent
STATIC = HERE / "static"

FAILURES = frozenset(map(str, Result)) - {Result.OK}

_SYMBOLS = {
    "good": (
        "✓",
        {
            "delivered",
            "succeeded",
            "active",
            "done",
            "ok",
            "matched",
            "completed",
            "confirmed",
        },
    ),
    "bad": (
        "✕",
        {
            "dead",
            "failed",
            "orphaned",
            "conflict",
            "ledger",
            "contradictory",
            "contradicted",
            "timed_out",
            *FAILURES,
        },
    ),
    "warn": (
        "!",
        {
            "partial",
            "paused",
            "breaker open",
            "held back",
            "retrying",
            "stalled",
            "unconfirmed",
        },
    ),
    "busy": ("…", {"pending", "running", "open", "held"}),
}
_OTHER = "-"


def kind_of(word: object) -> str:
    """How a state is coloured."""
    text = str(word)
    return next((kind for kind, (_, all_) in _SYMBOLS.items() if text in all_), "dull")


def symbol_of(word: object) -> str:
    """What tells a state apart where colours do not."""
    return _SYMBOLS.get(kind_of(word), (_OTHER, ()))[0]


def ago(at: datetime, now: datetime) -> str:
    """`3 min ago`, `in 5 s`."""
    seconds = (now - at).total_seconds()
    size = _rough(abs(seconds))
    if abs(seconds) < 1:
        return "now"
    return f"{size} ago" if seconds > 0 else f"in {size}"


def _rough(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@pass_context
def when(context: Context, at: datetime | None) -> Markup:
    """A time as people say it; exactly what it is stands behind it."""
    if at is None:
        return Markup("-")
    shown = Markup('<time datetime="{}" title="{}">{}</time>')
    return shown.format(clock.iso(at), words.moment(at), ago(at, context["now"]))


@pass_context
def told(context: Context, value: str | datetime) -> str:
    """A value of `spoken.Pairs`."""
    return when(context, value) if isinstance(value, datetime) else line(value)


def legible_word(word: object) -> str:
    """A state of ours without underscores; a stranger's word as it is."""
    text = str(word)
    return text if kind_of(text) == "dull" else text.replace("_", " ")


def line(value: object, limit: int = 300) -> str:
    """One line of text without what a reader cannot see."""
    return words.clean(str(value), limit)


def size(count: int) -> str:
    """`850 B`, `12.3 kB`."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def took(value: timedelta | float) -> str:
    """A duration, or milliseconds."""
    ms = value.total_seconds() * 1000 if isinstance(value, timedelta) else value
    return words.lasting(ms)


def a_rate(value: float) -> str:
    """`0/min`, `0.7/min`, `1,200/min`."""
    if 0 < value < 0.1:
        return "under 0.1/min"
    digits = 1 if value < 9.95 and value != round(value) else 0
    return f"{value:,.{digits}f}/min"


def address(path: str, **changes: object) -> str:
    """A path with a query of what is not empty."""
    kept = {name: str(value) for name, value in changes.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


def asset(name: str) -> str:
    """The address of a file of ours, which changes when the file does."""
    return f"/ui/static/{name}?{ASSETS[name][1]}"


def _asset(path: Path) -> tuple[bytes, str]:
    body = path.read_bytes()
    return body, blake2b(body, digest_size=6).hexdigest()


ASSETS = {path.name: _asset(path) for path in sorted(STATIC.iterdir())}


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = made.filters
    filters.update(
        {
            "when": when,
            "line": line,
            "size": size,
            "took": took,
            "figures": words.figures,
            "counted": words.counted,
            "legible": words.legible,
            "web_address": words.address,
            "told": told,
            "legible_word": legible_word,
            "done": spoken.done,
            "of_a_replay": spoken.of_a_replay,
            "of_a_filter": spoken.of_a_filter,
            "of_a_change": spoken.of_a_change,
            "a_rate": a_rate,
            "kind": kind_of,
            "symbol": symbol_of,
            "in_words": in_words,
            "why_not": why_not,
        }
    )
    everywhere: dict[str, Any] = made.globals
    everywhere.update(asset=asset, address=address, sentence=sentence)
    return made


_PAGES = _environment()


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """The page."""
    return _PAGES.get_template(template).render(context)
