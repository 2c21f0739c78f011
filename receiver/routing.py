"""
Which routes an event matches, and why (pure).

    source -> types -> when -> destinations

Routes are independent of each other: their order decides nothing but the order in
which destinations are listed.  `*` is every source but `receiver`: whoever wants alerts
says so.
"""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from receiver import expressions, internal
from receiver.expressions import Condition, ExpressionError
from receiver.models import Decision, Verdict
from receiver.settings import Route

REMEMBERED_TYPES = 1_000


class Opinion(NamedTuple):
    """What one route says of an event; `detail` is why a `when` failed."""

    route: Route
    verdict: Verdict
    detail: str = ""


class _Panel(NamedTuple):
    """
    Who is asked about one type of event of a source, and the names they read.

    Each says the opinion, if its condition holds or it has none.
    """

    asked: Sequence[tuple[Opinion, Condition | None]]
    names: frozenset[str]


Context = Callable[[frozenset[str]], Any]
"""Makes what conditions are evaluated against, with the names they read."""


class Router:
    """The routes, compiled."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._rules = [
            (route, expressions.compile_condition(route.when) if route.when else None)
            for route in routes
        ]
        self._panels: dict[tuple[str, str], _Panel] = {}

    def opinions(self, source: str, event_type: str, context: Context) -> list[Opinion]:
        """
        What each of the source's routes says.

        `context` is called at most once, and only if a `when` has to be evaluated.
        """
        asked, names = self._panel(source, event_type)
        opinions: list[Opinion] = []
        built: Any = None
        for opinion, condition in asked:
            if condition is None:
                opinions.append(opinion)
                continue
            try:
                built = context(names) if built is None else built
                holds = condition.holds(built)
                opinions.append(opinion if holds else Opinion(opinion.route, "when"))
            except ExpressionError as error:
                opinions.append(Opinion(opinion.route, "failed", str(error)))
        return opinions

    def _panel(self, source: str, event_type: str) -> _Panel:
        """Remembered, so that types are matched once."""
        known = self._panels.get((source, event_type))
        if known is None:
            known = self._make_panel(source, event_type)
            if len(self._panels) >= REMEMBERED_TYPES:  # types are the senders' words
                self._panels.clear()
            self._panels[source, event_type] = known
        return known

    def _make_panel(self, source: str, event_type: str) -> _Panel:
        asked: list[tuple[Opinion, Condition | None]] = []
        names: frozenset[str] = frozenset()
        for route, condition in self._rules:
            everywhere = route.source == "*" and source != internal.SOURCE
            if route.source != source and not everywhere:
                continue
            if not any(fnmatchcase(event_type, glob) for glob in route.types):
                asked.append((Opinion(route, "type"), None))
            else:
                asked.append((Opinion(route, "matched"), condition))
                names |= condition.names if condition else frozenset()
        return _Panel(asked, names)


def decide(opinions: Iterable[Opinion]) -> Decision:
    """Where the event goes: every destination of every match, once, in order."""
    routes: list[tuple[str, Verdict]] = []
    destinations: dict[str, None] = {}
    for route, verdict, _ in opinions:
        routes.append((route.name, verdict))
        if verdict == "matched":
            destinations.update(dict.fromkeys(route.to))
    return Decision(tuple(routes), tuple(destinations))
