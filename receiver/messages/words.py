"""
From whatever a body holds to text that is safe to show: short, on one line, harmless.

Bodies are written by others, so every function here takes any value and never raises.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

_UNWANTED = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # control characters, line ends among them
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # would turn the writing round
    r"\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff"
    r"\ud800-\udfff\U000e0000-\U000e007f]"  # halves of characters, invisible tags
)
_SPACES = re.compile(r"\s+")
_ADDRESS = re.compile(r"https?://[^\s<>\"'\\^`{|}]+", re.IGNORECASE)
_LONGEST_ADDRESS = 2000
_LARGEST = 10**15

Number = int | float


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters, without what a reader cannot see."""
    text = text[: 4 * limit]  # so that the work is bounded as well
    text = _SPACES.sub(" ", _UNWANTED.sub(" ", text)).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def legible(text: str) -> str:
    """The same for a text of several lines, whose line ends and tabs stay."""
    text = text.replace("\r\n", "\n")
    return _UNWANTED.sub(lambda found: found[0] if found[0] in "\n\t" else " ", text)


def shown(value: object, limit: int = 200) -> str:
    """A scalar as text; empty for anything else."""
    if isinstance(value, str):
        return clean(value, limit)
    if isinstance(value, bool):
        return "yes" if value else "no"
    found = number(value)
    return "" if found is None else figures(found)


def number(value: object) -> Number | None:
    """A number of believable size, whole where it can be; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -_LARGEST < value < _LARGEST:  # so neither are nan and the infinities
        return None
    return int(value) if value == int(value) else value


def figures(value: Number) -> str:
    """`1,000`, and `12.50` where it is not whole."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def counted(value: Number, one: str, many: str = "") -> str:
    """`1 video`, `1,000 videos`."""
    return f"{figures(value)} {one if value == 1 else many or one + 's'}"


def table(value: object) -> Mapping[str, object]:
    """A JSON object; anything else is an empty one."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def rows(value: object) -> Sequence[object]:
    """A JSON array; anything else is an empty one."""
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def address(value: object) -> str:
    """A web address that can be made a link as it is; empty for anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST_ADDRESS:
        return ""
    return value if value.isprintable() and _ADDRESS.fullmatch(value) else ""


def moment(value: datetime | None) -> str:
    """`2026-01-24 10:02:05 UTC`; empty for none."""
    if value is None:
        return ""
    try:
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return ""  # next to the ends of what a datetime can be


def moment_in(value: object) -> str:
    """The same of a text in a body, `2026-01-24T10:02:05Z`; empty for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return ""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return ""
    return moment(found if found.tzinfo else found.replace(tzinfo=UTC))


def lasting(milliseconds: Number) -> str:
    """`850 ms`, `42 s`, `2 min 5 s`, `3 h 10 min`; empty for less than nothing."""
    if milliseconds < 0:
        return ""
    if milliseconds < 1000:
        return f"{round(milliseconds)} ms"
    seconds = int(milliseconds) // 1000
    minutes, hours = seconds // 60, seconds // 3600
    if not minutes:
        return f"{seconds} s"
    if not hours:
        return f"{minutes} min {seconds % 60} s"
    return f"{hours:,} h {minutes % 60} min"
