"""Why an event would go where it would: every route, and every part of its condition (pure)."""

from dataclasses import dataclass
from typing import Any

from receiver.expressions import ExpressionError, compile_condition, context_of
from receiver.models import Event
from receiver.operands import operands
from receiver.routing import Opinion, Router


@dataclass(frozen=True, slots=True)
class Explained:
    """A route's opinion; `operands` are the parts of its condition with their values."""

    opinion: Opinion
    operands: list[tuple[str, str]]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "route": self.opinion.route.name,
            "verdict": self.opinion.verdict,
            "when": self.opinion.route.when,
            "detail": self.opinion.detail,
            "operands": [{"text": text, "value": v} for text, v in self.operands],
        }


def explained(router: Router, event: Event) -> list[Explained]:
    """What today's routes say of an event that was read."""
    context = context_of(event)
    opinions = router.opinions(event.source, event.type, lambda _: context)
    return [Explained(opinion, _parts(opinion, context)) for opinion in opinions]


def _parts(opinion: Opinion, context: Any) -> list[tuple[str, str]]:
    """Nothing where the condition is just one part, or was not asked."""
    if opinion.verdict == "type" or opinion.route.when is None:
        return []
    found = operands(opinion.route.when)
    return [(part, _value(part, context)) for part in found] if len(found) > 1 else []


def _value(part: str, context: Any) -> str:
    try:
        return "true" if compile_condition(part).holds(context) else "false"
    except ExpressionError as error:
        return f"failed: {error}"
