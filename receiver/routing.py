"""
Which routes an event matches, and why (pure).

    source -> types -> when -> destinations

Routes are independent of each other: their order decides nothing but the order in
which destinations are listed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from receiver import expressions
from receiver.expressions import Condition, ExpressionError
from receiver.models import Decision, Verdict
from receiver.settings import Route


@dataclass(frozen=True, slots=True)
class _Rule:
    route: Route
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one route says of an event; `detail` is why a `when` failed."""

    route: Route
    verdict: Verdict
    detail: str = ""


class Router:
    """The routes, compiled."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._rules = [
            _Rule(
                route, expressions.compile_condition(route.when) if route.when else None
            )
            for route in routes
        ]

    def opinions(
        self, source: str, event_type: str, context: Callable[[], Any]
    ) -> list[Opinion]:
        """
        What each of the source's routes says.

        `context` is called at most once, and only if a `when` has to be evaluated.
        """
        opinions: list[Opinion] = []
        built = cache(context)
        for rule in self._rules:
            route, condition = rule.route, rule.condition
            if route.source not in (source, "*"):
                continue
            if not any(fnmatchcase(event_type, glob) for glob in route.types):
                opinions.append(Opinion(route, "type"))
            elif condition is None:
                opinions.append(Opinion(route, "matched"))
            else:
                try:
                    holds = condition.holds(built())
                    verdict: Verdict = "matched" if holds else "when"
                    opinions.append(Opinion(route, verdict))
                except ExpressionError as error:
                    opinions.append(Opinion(route, "failed", str(error)))
        return opinions


def decide(opinions: Iterable[Opinion]) -> Decision:
    """Where the event goes: every destination of every match, once, in order."""
    opinions = list(opinions)
    destinations = dict.fromkeys(
        name for o in opinions if o.verdict == "matched" for name in o.route.to
    )
    return Decision(
        tuple((o.route.name, o.verdict) for o in opinions), tuple(destinations)
    )
