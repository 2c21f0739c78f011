"""
Which routes an event matches, and why (pure).

    source -> types -> when -> destinations

Routes are independent of each other: their order decides nothing but the order in
which destinations are listed.  `*` is every source but `receiver`: whoever wants alerts
says so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from receiver import expressions, internal
from receiver.expressions import Condition, ExpressionError
from receiver.models import Decision, Verdict
from receiver.settings import Route

REMEMBERED_TYPES = 1_000


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
        self._of_type: dict[tuple[str, str], list[tuple[_Rule, bool]]] = {}

    def opinions(
        self, source: str, event_type: str, context: Callable[[], Any]
    ) -> list[Opinion]:
        """
        What each of the source's routes says.

        `context` is called at most once, and only if a `when` has to be evaluated.
        """
        opinions: list[Opinion] = []
        built = cache(context)
        for rule, right_type in self._rules_of(source, event_type):
            route, condition = rule.route, rule.condition
            if not right_type:
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

    def _rules_of(self, source: str, event_type: str) -> list[tuple[_Rule, bool]]:
        """The source's rules, and whether each wants this type; remembered."""
        known = self._of_type.get((source, event_type))
        if known is None:
            known = [
                (rule, any(fnmatchcase(event_type, glob) for glob in rule.route.types))
                for rule in self._rules
                if rule.route.source == source
                or (rule.route.source == "*" and source != internal.SOURCE)
            ]
            if len(self._of_type) >= REMEMBERED_TYPES:  # types are the senders' words
                self._of_type.clear()
            self._of_type[source, event_type] = known
        return known


def decide(opinions: Iterable[Opinion]) -> Decision:
    """Where the event goes: every destination of every match, once, in order."""
    opinions = list(opinions)
    destinations = dict.fromkeys(
        name for o in opinions if o.verdict == "matched" for name in o.route.to
    )
    return Decision(
        tuple((o.route.name, o.verdict) for o in opinions), tuple(destinations)
    )
