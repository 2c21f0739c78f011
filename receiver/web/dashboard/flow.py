"""
The flow as a drawing: sources, routes and destinations in three columns, and the lines
between them (pure).

Boxes of a column are spread evenly over its height, so a line needs to know only their
places: the page's style decides how large everything is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from receiver import internal
from receiver.ledger import Standing
from receiver.settings import Route
from receiver.web.dashboard.rendering import address
from receiver.web.trends import Counts, Sample, a_minute

MOST_SOURCES, MOST_ROUTES, MOST_DESTINATIONS = 12, 20, 12
"""With more than this a drawing is a tangle, and the table says it better."""

WIDTH, HEIGHT = 100, 1000
"""Of the space between two columns, in the units of its lines."""

GIVEN_NOTHING = frozenset({"orphaned", "paused", "breaker open", "held back"})
"""States in which a destination gets nothing, or next to nothing."""

Kind = Literal["moving", "idle", "still"]


@dataclass(frozen=True, slots=True)
class Sender:
    """
    A source: how much comes of it, and how much of that is refused, a minute.

    Nobody counts what is raised by receiver itself: its `rate` is None.
    """

    name: str
    path: str
    rate: float | None
    refused: float
    heard_at: datetime | None


@dataclass(frozen=True, slots=True)
class Way:
    """A route: from where, to where, and where the events are that it is about."""

    name: str
    path: str
    sources: Sequence[str]
    destinations: Sequence[str]


@dataclass(frozen=True, slots=True)
class Target:
    """A destination: how it does, what it is given a minute, and what waits for it."""

    standing: Standing
    rate: float

    @property
    def name(self) -> str:
        return self.standing.queue.destination


@dataclass(frozen=True, slots=True)
class Line:
    """From a box of one column to a box of the next, as an SVG path."""

    kind: Kind
    path: str


@dataclass(frozen=True, slots=True)
class Flow:
    """The three columns, and the lines between the first two and the last two."""

    senders: Sequence[Sender]
    ways: Sequence[Way]
    targets: Sequence[Target]

    @property
    def is_too_large(self) -> bool:
        """Whether nobody could follow its lines."""
        return (
            len(self.senders) > MOST_SOURCES
            or len(self.ways) > MOST_ROUTES
            or len(self.targets) > MOST_DESTINATIONS
        )

    @property
    def lines_in(self) -> Iterator[Line]:
        """From sources to routes."""
        for j, way in enumerate(self.ways):
            for i, sender in enumerate(self.senders):
                if sender.name in way.sources:
                    kind: Kind = "moving" if sender.rate else "idle"
                    ends = (i, len(self.senders), j, len(self.ways))
                    yield Line(kind, _curve(*ends))

    @property
    def lines_out(self) -> Iterator[Line]:
        """From routes to destinations."""
        rates = {sender.name: sender.rate for sender in self.senders}
        for i, way in enumerate(self.ways):
            comes = any(rates[name] != 0 for name in way.sources)
            for j, target in enumerate(self.targets):
                if target.name in way.destinations:
                    ends = (i, len(self.ways), j, len(self.targets))
                    yield Line(_kind(target, comes=comes), _curve(*ends))


def flow_of(
    sources: Sequence[str],
    routes: Sequence[Route],
    standings: Sequence[Standing],
    samples: Sequence[Sample],
    heard: dict[str, datetime],
) -> Flow:
    """What goes where now; receiver's own events are there if a route is for them."""
    names = [*sources]
    if any(route.source == internal.SOURCE for route in routes):
        names.append(internal.SOURCE)
    received = a_minute(samples, "of_sources")
    refused = a_minute(samples, "refused_by")
    delivered = a_minute(samples, "to_destinations")
    return Flow(
        [_sender(name, received, refused, heard) for name in names],
        [_way(route, names) for route in routes],
        [Target(one, delivered.get(one.queue.destination, 0.0)) for one in standings],
    )


def _sender(
    name: str, received: Counts, refused: Counts, heard: dict[str, datetime]
) -> Sender:
    path = address("/ui/events", source=name)
    rate = None if name == internal.SOURCE else received.get(name, 0.0)
    return Sender(name, path, rate, refused.get(name, 0.0), heard.get(name))


def _way(route: Route, names: Sequence[str]) -> Way:
    every = route.source == "*"
    sources = [
        name
        for name in names
        if name == route.source or (every and name != internal.SOURCE)
    ]
    one_type = route.types[0] if len(route.types) == 1 else "*"
    path = address(
        "/ui/events",
        source="" if every else route.source,
        type="" if one_type == "*" else one_type,
    )
    return Way(route.name, path, sources, route.to)


def _kind(target: Target, *, comes: bool) -> Kind:
    if target.standing.state in GIVEN_NOTHING:
        return "still"
    return "moving" if comes and target.rate else "idle"


def _curve(from_: int, of: int, to: int, among: int) -> str:
    begin, end = (
        HEIGHT * (place + 0.5) / count for place, count in ((from_, of), (to, among))
    )
    half = WIDTH // 2
    return f"M0 {begin:.1f}C{half} {begin:.1f} {half} {end:.1f} {WIDTH} {end:.1f}"
