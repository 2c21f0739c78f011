"""
What was measured, and rows made of it (pure).

A round is one load on one server.  Rounds of what is compared alternate, so a row's
ratio is the median of each round against the baseline's round beside it.
"""

import math
import statistics
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ENOUGH_HEADROOM = 1.5
"""How much more than the fastest server the load must be able to do."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds within which half, 99 and 99.9 per cent were done, and all."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """
    One load.  What is per event is of the server's process; None: nobody knows.

    `answer` is from when a request was due to its answer, `arrival` to the delivery's
    arrival where it was delivered to.
    """

    events: int
    seconds: float
    answer: Latency | None = None
    arrival: Latency | None = None
    cpu_us: float | None = None
    written_bytes: float | None = None
    commits: float | None = None
    late_ms: float | None = None
    generator_busy: float | None = None

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result: medians of its rounds."""

    scenario: str
    case: str
    loop: str
    events: int
    rounds: int
    per_second: float
    ratio: float
    """Events per second, against the baseline's: the row before it with ratio 1."""
    answer: Latency | None
    arrival: Latency | None
    cpu_us: float | None
    written_bytes: float | None
    commits: float | None
    late_ms: float | None
    generator_busy: float | None
    store_bytes: float | None = None
    """Bytes of the store's file per event that was in it before the load."""


def latency(milliseconds: Sequence[float]) -> Latency | None:
    """Of measured times; each percentile is one of them (the nearest rank)."""
    ordered = sorted(milliseconds)
    if not ordered:
        return None

    def at(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return Latency(at(0.5), at(0.99), at(0.999), at(1))


def answered_after(due: "array[float]", answered: "array[float]") -> list[float]:
    """Milliseconds from when each was due to its answer."""
    return [(end - begin) * 1000 for begin, end in zip(due, answered, strict=True)]


def arrived_after(
    due: "array[float]", first: int, numbers: "array[int]", times: "array[float]"
) -> list[float]:
    """Milliseconds from when each was due to its arrival; others' are left out."""
    return [
        (moment - due[number - first]) * 1000
        for number, moment in zip(numbers, times, strict=True)
        if 0 <= number - first < len(due)
    ]


def row(
    scenario: str,
    case: str,
    loop: str,
    rounds: Sequence[Round],
    base: Sequence[Round],
    store_bytes: float | None = None,
) -> Row:
    """Medians of the rounds, and their ratio to those of the baseline."""
    ratios = [
        mine.per_second / theirs.per_second
        for mine, theirs in zip(rounds, base, strict=True)
    ]
    return Row(
        scenario=scenario,
        case=case,
        loop=loop,
        events=rounds[0].events,
        rounds=len(rounds),
        per_second=round(statistics.median(r.per_second for r in rounds), 1),
        ratio=round(statistics.median(ratios), 3),
        answer=_latency(rounds, lambda r: r.answer),
        arrival=_latency(rounds, lambda r: r.arrival),
        cpu_us=_median(rounds, lambda r: r.cpu_us, 1),
        written_bytes=_median(rounds, lambda r: r.written_bytes, 0),
        commits=_median(rounds, lambda r: r.commits, 3),
        late_ms=_median(rounds, lambda r: r.late_ms, 2),
        generator_busy=_median(rounds, lambda r: r.generator_busy, 2),
        store_bytes=store_bytes,
    )


def headroom(ceiling: float, rows: Sequence[Row]) -> float | None:
    """How much more the load can do than the fastest closed loop of the rows."""
    fastest = max((r.per_second for r in rows if r.loop == "closed"), default=None)
    return round(ceiling / fastest, 2) if fastest else None


def _median(
    rounds: Sequence[Round], of: Callable[[Round], float | None], digits: int
) -> float | None:
    known = [value for value in map(of, rounds) if value is not None]
    return round(statistics.median(known), digits) if known else None


def _latency(
    rounds: Sequence[Round], of: Callable[[Round], Latency | None]
) -> Latency | None:
    known = [value for value in map(of, rounds) if value is not None]
    if not known:
        return None
    return Latency(
        *(
            round(statistics.median(getattr(value, name) for value in known), 3)
            for name in ("p50_ms", "p99_ms", "p999_ms", "max_ms")
        )
    )
