"""
Counters and their Prometheus text form.

Counting is in memory; a scrape reads counters and never scans a table.  Label values
are configured names and fixed words only, so their number is bounded.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    5,
    30,
    300,
    3600,
)


class Taking(NamedTuple):
    """What is counted of one source's requests, for each of them."""

    received: Counter
    accepted: Counter
    duplicates: Counter


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self._taking: dict[str, Taking] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        source = ("source",)
        self.received = self._counter("received", "Requests to a source path.", source)
        self.accepted = self._counter("accepted", "Events stored.", source)
        self.duplicates = self._counter(
            "duplicates", "Requests whose event was stored already.", source
        )
        self.rejected = self._counter(
            "rejected", "Requests refused, by code.", ("source", "code")
        )
        self.route_failures = self._counter(
            "route_failures", "Conditions that failed when evaluated.", ("route",)
        )
        self.attempts = self._counter(
            "attempts", "Attempts at deliveries, by outcome.", ("destination", "result")
        )
        self._commits = self._counter("store_commits", "Transactions committed.", ())
        self._commits_told = 0
        self.delivered_after = Histogram(
            "receiver_accept_to_delivered_seconds",
            "From accepting an event to its delivery being confirmed.",
            ("destination",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.pruned = self._counter(
            "pruned",
            "What went since it was old: events, bodies, deliveries, rejections.",
            ("kind",),
        )
        self.pruned_bytes = self._counter(
            "pruned_bytes", "Bytes of bodies and headers that went.", ()
        )
        self.oldest_body = self._one("oldest_body_seconds", "Age of the oldest body.")
        self.store_bytes = self._one("store_bytes", "Size of the store's file.")
        self.free_bytes = self._one(
            "store_free_bytes", "Of that, what holds nothing and is used again."
        )
        self.pending = self._gauge(
            "pending_deliveries", "Deliveries that wait or are being attempted."
        )
        self.oldest = self._gauge(
            "oldest_pending_seconds", "Age of the oldest pending delivery; 0 if none."
        )
        self.paused = self._gauge(
            "destination_paused", "1 while a destination is paused."
        )
        self.breaker_open = self._gauge(
            "breaker_open", "1 while a destination does not answer and is seldom asked."
        )

    def taking(self, source: str) -> Taking:
        """Looked up once for each source: labels are slow to find."""
        known = self._taking.get(source)
        if known is None:
            counters = (self.received, self.accepted, self.duplicates)
            known = Taking(*(counter.labels(source) for counter in counters))
            self._taking[source] = known
        return known

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(f"receiver_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"receiver_{name}", text, ("destination",), registry=self.registry)

    def _one(self, name: str, text: str) -> Gauge:
        return Gauge(f"receiver_{name}", text, registry=self.registry)

    def set_store(
        self,
        file_bytes: int,
        free_bytes: int,
        oldest_body_at: datetime | None,
        now: datetime,
    ) -> None:
        """How large the store is and how far back it goes, as of now."""
        age = (now - oldest_body_at).total_seconds() if oldest_body_at else 0.0
        self.oldest_body.set(max(0.0, age))
        self.store_bytes.set(file_bytes)
        self.free_bytes.set(free_bytes)

    def set_queue(
        self, destination: str, pending: int, oldest_at: datetime | None, now: datetime
    ) -> None:
        """What waits for one destination, as of now."""
        age = (now - oldest_at).total_seconds() if oldest_at else 0.0
        self.pending.labels(destination).set(pending)
        self.oldest.labels(destination).set(max(0.0, age))

    def set_commits(self, commits: int) -> None:
        """How many transactions the store has committed since the process began."""
        self._commits.inc(commits - self._commits_told)
        self._commits_told = commits

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)
