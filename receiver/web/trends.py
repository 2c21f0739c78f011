"""
The last hour in numbers: what was received and delivered, what failed, how long it took,
and how much of it there is a minute, by source and by destination.

Samples of the metrics' own counters, kept in memory: no table is read for them, and
after a start the hour begins anew.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client import Counter, Histogram

from receiver import clock
from receiver.metrics import Metrics

EVERY_S = 30.0
KEPT = 121
"""An hour of samples, and the one before it."""

A_MINUTE_S = 60.0

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Counts since the start; `within` are the deliveries confirmed by (seconds, count),
    `of_sources`, `refused_by` and `to_destinations` are by name.
    """

    at: float
    received: float
    refused: float
    delivered: float
    failed: float
    within: tuple[tuple[float, float], ...]
    of_sources: Counts = field(default_factory=dict[str, float])
    refused_by: Counts = field(default_factory=dict[str, float])
    to_destinations: Counts = field(default_factory=dict[str, float])


class Trends:
    """Samples of one process's metrics; `start` begins taking them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._task: asyncio.Task[None] | None = None

    def start(self, stopping: asyncio.Event) -> None:
        """Take a sample now, and from now on until we stop."""
        self._task = asyncio.create_task(self._run(stopping), name="trends")

    def samples(self) -> Sequence[Sample]:
        """Those of the last hour, the oldest first, and how it stands now."""
        return [*self._samples, self._now()]

    def received(self, source: str) -> int:
        """Requests to a source since the start."""
        return round(_total(self._metrics.received, source=source))

    def delivered(self, destination: str) -> int:
        """Attempts that succeeded since the start."""
        return round(
            _total(self._metrics.attempts, destination=destination, result="ok")
        )

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self._samples.append(self._now())
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), EVERY_S)

    def _now(self) -> Sample:
        metrics = self._metrics
        delivered = _total(metrics.attempts, result="ok")
        return Sample(
            clock.monotonic(),
            _total(metrics.received),
            _total(metrics.rejected),
            delivered,
            _total(metrics.attempts) - delivered,
            _buckets(metrics.delivered_after),
            _by(metrics.received, "source"),
            _by(metrics.rejected, "source"),
            _by(metrics.attempts, "destination", result="ok"),
        )


def steps(samples: Sequence[Sample], field: str) -> list[float]:
    """How much a count grew from one sample to the next."""
    values = [float(getattr(sample, field)) for sample in samples]
    return [max(0.0, b - a) for a, b in pairwise(values)]


def a_minute(samples: Sequence[Sample], field: str) -> Counts:
    """
    How much each of a sample's counts by name grew lately, for a minute.

    It is the growth of one to one and a half minutes; of what began less than a minute
    ago nothing is made up.
    """
    last = samples[-1]
    old = [one for one in samples if last.at - one.at >= A_MINUTE_S]
    first = old[-1] if old else samples[0]
    minutes = max(last.at - first.at, A_MINUTE_S) / 60
    before: Counts = getattr(first, field)
    counts: Counts = getattr(last, field)
    return {
        name: max(0.0, count - before.get(name, 0.0)) / minutes
        for name, count in counts.items()
    }


def quantile(first: Sample, last: Sample, share: float) -> float | None:
    """Within how many seconds this share was delivered between two samples."""
    before = dict(first.within)
    grown = [(le, count - before.get(le, 0.0)) for le, count in last.within]
    total = grown[-1][1] if grown else 0.0
    if total <= 0:
        return None
    return next(le for le, count in grown if count >= share * total)


def _total(counter: Counter, **labels: str) -> float:
    return sum(value for _, value in _counted(counter, labels))


def _by(counter: Counter, label: str, **labels: str) -> Counts:
    found: dict[str, float] = {}
    for names, value in _counted(counter, labels):
        found[names[label]] = found.get(names[label], 0.0) + value
    return found


def _counted(
    counter: Counter, labels: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], float]]:
    for metric in counter.collect():
        for sample in metric.samples:
            fits = labels.items() <= sample.labels.items()
            if fits and sample.name.endswith("_total"):
                yield sample.labels, sample.value


def _buckets(histogram: Histogram) -> tuple[tuple[float, float], ...]:
    found: dict[float, float] = {}
    for metric in histogram.collect():
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                le = float(sample.labels["le"])
                found[le] = found.get(le, 0.0) + sample.value
    return tuple(sorted(found.items()))
