"""What is told of a destination's attempts: counters, a wide log line each, and alerts."""

from collections.abc import Sequence
from datetime import datetime

from prometheus_client import Counter

from receiver import clock, internal, logs
from receiver.alerts import Alerts
from receiver.metrics import Metrics
from receiver.models import Attempt, Claim, HeldBack, Result, Status, Step


class Teller:
    """One destination's."""

    def __init__(self, destination: str, metrics: Metrics, alerts: Alerts) -> None:
        self._name = destination
        self._metrics = metrics
        self._alerts = alerts
        self._log = logs.get().bind()
        self._attempts: dict[Result, Counter] = {}
        self._delivered_after = metrics.delivered_after.labels(destination)

    def attempted(
        self, claim: Claim, attempt: Attempt, step: Step, now: datetime
    ) -> None:
        """An attempt ended `now`, and this follows."""
        outcome = attempt.outcome
        self._counter(outcome.result).inc()
        if step.status is Status.DELIVERED:
            waited = (now - claim.delivery.created_at).total_seconds()
            self._delivered_after.observe(max(0.0, waited))
        elif step.status is Status.DEAD:
            said = outcome.detail or outcome.result
            self._alerts.delivery_dead(claim.event, self._name, said)
        log = self._log.info if outcome.ok else self._log.warning
        log(
            "delivery.attempted",
            id=claim.delivery.id,
            event_id=claim.event.id,
            type=claim.event.type,
            subject=claim.event.subject,
            destination=self._name,
            attempt=attempt.number,
            trigger=attempt.trigger,
            result=outcome.result,
            code=outcome.status_code,
            detail=outcome.detail,
            status=step.status,
            reason=step.reason,
            next_at=clock.iso(step.due_at) if step.status is Status.PENDING else None,
            ms=round(attempt.duration_ms, 1),
        )

    def paused(self, reason: str, claims: Sequence[Claim]) -> None:
        """It was paused by what came of these; alerts of alerts are not told."""
        self._log.error("destination.paused", destination=self._name, reason=reason)
        if any(claim.event.source != internal.SOURCE for claim in claims):
            self._alerts.destination_paused(self._name, reason)

    def breaker_closed(self) -> None:
        self._log.info("breaker.closed", destination=self._name)

    def breaker_opened(self, held: HeldBack | None) -> None:
        self._log.warning(
            "breaker.opened",
            destination=self._name,
            reason=held.why if held else "",
            next_at=clock.iso(held.until) if held else None,
        )

    def brought_forward(self, count: int) -> None:
        """Deliveries are due now that waited for a time by a clock that was ahead."""
        self._log.warning(
            "deliveries.brought_forward", destination=self._name, count=count
        )

    def fault(self, error: BaseException, claims: Sequence[Claim]) -> None:
        """An attempt, or what follows it, ended with a fault of ours."""
        self._log.error(
            "lane.fault",
            id=claims[0].delivery.id,
            error=str(error),
            count=len(claims),
        )

    def _counter(self, result: Result) -> Counter:
        """Kept, for finding one by its labels costs more than counting."""
        found = self._attempts.get(result)
        if found is None:
            found = self._metrics.attempts.labels(self._name, result)
            self._attempts[result] = found
        return found
