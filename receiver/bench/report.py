"""
What `receiver bench` found, as JSON and as a table (pure).
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import receiver
from receiver.bench.footprint import Footprint
from receiver.bench.machine import Cores
from receiver.bench.measured import ENOUGH_HEADROOM, Row, headroom
from receiver.bench.running import Plan

HEADINGS = (
    *("SCENARIO", "CASE", "LOOP", "EVENTS/S", "RATIO", "OF", "P50 MS", "P99"),
    *("P99.9", "CPU US", "WRITTEN B", "COMMITS"),
)
BUSY = 0.9


@dataclass
class Report:
    """All of it."""

    plan: Plan
    cores: Cores
    in_memory: bool
    rows: list[Row] = field(default_factory=list[Row])
    ceiling: float | None = None
    footprint: Footprint | None = None

    @property
    def headroom(self) -> float | None:
        """How much more the load can do than what it measured."""
        return headroom(self.ceiling, self.rows) if self.ceiling else None

    def warnings(self) -> list[str]:
        """Why the figures may not say what they seem to."""
        found: list[str] = []
        enough = self.headroom is None or self.headroom >= ENOUGH_HEADROOM
        if not enough:
            found.append(
                f"the load can do only {self.headroom:g} times what was measured: it "
                "may be the limit, and ratios look better than they are"
            )
        if self.in_memory:
            found.append(
                "the temporary folder is in memory, where a commit costs nothing: "
                "name one on the disk you mean with --dir"
            )
        if self.cores.server is None:
            found.append(
                "the server and the load share what cores there are: figures of "
                "different machines cannot be compared"
            )
        late = max((row.late_ms or 0.0 for row in self.rows), default=0.0)
        if late > 10:
            found.append(
                f"an open loop was {late:.0f} ms late itself: the machine does "
                "something else, too"
            )
        return found

    def json(self) -> dict[str, Any]:
        """For machines; docs/speed.md says what each field is."""
        plan = asdict(self.plan)
        return {
            "version": receiver.__version__,
            "machine": {
                "python": platform.python_version(),
                "system": platform.platform(),
                "cores": os.cpu_count(),
                "server_core": self.cores.server,
                "load_core": self.cores.load,
                "load_average": list(os.getloadavg()),
                "store_in_memory": self.in_memory,
            },
            "plan": plan,
            "generator": {"per_second": self.ceiling, "headroom": self.headroom},
            "rows": [asdict(row) for row in self.rows],
            "footprint": asdict(self.footprint) if self.footprint else None,
            "warnings": self.warnings(),
        }


def cells(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """The rows of the table; `OF` says what the milliseconds are of."""
    return [_cells(row) for row in rows]


def _cells(row: Row) -> tuple[object, ...]:
    shown = row.arrival or row.answer
    of = "arrival" if row.arrival else "answer" if row.answer else None
    return (
        row.scenario,
        row.case,
        row.loop,
        f"{row.per_second:,.0f}",
        f"{row.ratio:.2f}",
        of,
        f"{shown.p50_ms:.1f}" if shown else None,
        f"{shown.p99_ms:.1f}" if shown else None,
        f"{shown.p999_ms:.1f}" if shown else None,
        f"{row.cpu_us:,.0f}" if row.cpu_us is not None else None,
        f"{row.written_bytes:,.0f}" if row.written_bytes is not None else None,
        f"{row.commits:.3f}" if row.commits is not None else None,
    )
