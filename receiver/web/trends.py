"""
The last hour in numbers: what was received and delivered, what failed, and how long it took.

Samples of the metrics' own counters, kept in memory: no table is read for them, and
after a start the hour begins anew.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client import Counter, Histogram

from receiver import clock
from receiver.metrics import Metrics

EVERY_S = 30.0
KEPT = 121
"""An hour of samples, and the one before it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts since the start; `within` are the deliveries confirmed by (seconds, count)."""

    at: float
    received: float
    refused: float
    delivered: float
    failed: float
    within: tuple[tuple[float, float], ...]


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
        )


def steps(samples: Sequence[Sample], field: str) -> list[float]:
    """How much a count grew from one sample to the next."""
    values = [float(getattr(sample, field)) for sample in samples]
    return [max(0.0, b - a) for a, b in pairwise(values)]


def quantile(first: Sample, last: Sample, share: float) -> float | None:
    """Within how many seconds this share was delivered between two samples."""
    before = dict(first.within)
    grown = [(le, count - before.get(le, 0.0)) for le, count in last.within]
    total = grown[-1][1] if grown else 0.0
    if total <= 0:
        return None
    return next(le for le, count in grown if count >= share * total)


def _total(counter: Counter, **labels: str) -> float:
    return sum(
        sample.value
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


def _buckets(histogram: Histogram) -> tuple[tuple[float, float], ...]:
    found: dict[float, float] = {}
    for metric in histogram.collect():
        for sample in metric.samples:
            if sample.name.endswith("_bucket"):
                le = float(sample.labels["le"])
                found[le] = found.get(le, 0.0) + sample.value
    return tuple(sorted(found.items()))
