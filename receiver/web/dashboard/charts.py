"""Small charts as the points of an SVG path (pure): no style, no script, no library."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from receiver.messages import words
from receiver.web.trends import Sample, quantile, steps

WIDTH, HEIGHT = 240, 48
BARS = 60
A_MINUTE = 2
"""Samples."""

FASTEST_S, SLOWEST_S = 0.001, 3600.0
"""The lowest and the highest bar of the chart of durations."""


@dataclass(frozen=True, slots=True)
class Chart:
    """
    Something over the last hour: its name, its sum in words, and its bars.

    `outline` has a second bar around each.
    """

    name: str
    said: str
    kind: str
    path: str
    outline: str = ""


def charts(samples: Sequence[Sample]) -> list[Chart]:
    """What was received, refused, delivered and failed, and how long it took."""
    minutes = (samples[-1].at - samples[0].at) / 60
    span = "hour" if minutes >= 59 else f"{max(1, round(minutes))} min"
    return [
        *_counts(samples, span),
        Chart(
            "From accepted to delivered",
            latency(samples) or f"nothing was delivered in the last {span}",
            "busy",
            _durations(samples, 0.5),
            _durations(samples, 0.95),
        ),
    ]


def _counts(samples: Sequence[Sample], span: str) -> list[Chart]:
    return [
        _chart(samples, field, name, kind, span)
        for field, name, kind in (
            ("received", "Received", "busy"),
            ("delivered", "Delivered", "good"),
            ("failed", "Attempts that failed", "bad"),
            ("refused", "Refused", "warn"),
        )
    ]


def latency(samples: Sequence[Sample]) -> str:
    """`half within 25 ms, 95 % within 250 ms`; empty if nothing was delivered."""
    half, most = (quantile(samples[0], samples[-1], share) for share in (0.5, 0.95))
    if half is None or most is None:
        return ""
    return f"half {_within(half)}, 95 % {_within(most)}"


def _within(seconds: float) -> str:
    if seconds == float("inf"):
        return "in more than an hour"
    return f"within {words.lasting(seconds * 1000) if seconds >= 0.01 else '10 ms'}"


def _chart(
    samples: Sequence[Sample], field: str, name: str, kind: str, span: str
) -> Chart:
    values = _gathered(steps(samples, field))
    total = round(sum(values))
    return Chart(name, f"{total:,} in the last {span}", kind, _bars(values))


def _gathered(values: Sequence[float]) -> list[float]:
    """As many as there are bars, from the right."""
    size = max(1, -(-len(values) // BARS))
    first = len(values) % size
    heads = [sum(values[:first])] if first else []
    return heads + [sum(values[i : i + size]) for i in range(first, len(values), size)]


def _bars(values: Sequence[float]) -> str:
    highest = max([*values, 1.0])
    return _drawn([value / highest for value in values])


def _durations(samples: Sequence[Sample], share: float) -> str:
    """Within what time this share was delivered, by the minute, from the right."""
    places = [*range(len(samples) - 1, 0, -A_MINUTE), 0][BARS::-1]
    minutes = [samples[place] for place in places]
    found = [quantile(a, b, share) for a, b in pairwise(minutes)]
    return _drawn([0.0 if value is None else _height(value) for value in found])


def _height(seconds: float) -> float:
    """Between 0 and 1; a thousandth of a second is seen as well."""
    within = min(max(seconds, FASTEST_S), SLOWEST_S)
    return max(0.05, log(within / FASTEST_S) / log(SLOWEST_S / FASTEST_S))


def _drawn(heights: Sequence[float]) -> str:
    """Bars of these heights, 0 to 1, the last one at the right."""
    wide = WIDTH / BARS
    left = WIDTH - wide * len(heights)
    return " ".join(
        f"M{left + i * wide:.1f} {HEIGHT}v-{max(1.0, height * HEIGHT):.1f}"
        f"h{wide - 1:.1f}V{HEIGHT}z"
        for i, height in enumerate(heights)
        if height > 0
    )
