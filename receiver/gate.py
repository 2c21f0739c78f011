"""What a lane asks before it begins an attempt: the rate, holds and the breaker."""

from datetime import datetime, timedelta
from typing import Literal

from receiver.models import HeldBack, Outcome
from receiver.pace import Breaker, Throttle, says_nothing, speaks_against
from receiver.settings import DestinationSettings

Change = Literal["", "opened", "closed"]


class Gate:
    """One destination's.  Times are monotonic seconds."""

    def __init__(self, settings: DestinationSettings) -> None:
        self._throttle = Throttle(settings.max_rate)
        self._breaker = Breaker(settings.breaker, settings.concurrency)
        self._last_failure = ""

    @property
    def probing(self) -> bool:
        """Whether the breaker is open: at most one attempt, to see if it may close."""
        return self._breaker.open

    @property
    def ready_at(self) -> float:
        """When the next attempt may begin, if nothing happens before."""
        probe_at = self._breaker.probe_at if self.probing else float("-inf")
        return max(self._throttle.ready_at, probe_at)

    def limit(self, now: float) -> int:
        """How many attempts may run at a time; 0 while the breaker is open."""
        return self._breaker.limit(now)

    def soon(self, now: float, horizon_s: float, most: int) -> int:
        """How many attempts the rate allows within the horizon, up to `most`."""
        return self._throttle.soon(now, horizon_s, most)

    def may_begin(self, now: float, running: int) -> bool:
        return running < self.limit(now) and self._throttle.ready_at <= now

    def began(self, now: float) -> None:
        self._throttle.began(now)

    def probe_now(self, now: float) -> None:
        """Somebody wants an attempt although the breaker is open."""
        self._breaker.probe_now(now)

    def ended(
        self, outcome: Outcome, now: float, *, begun_at: float, jitter: float
    ) -> Change:
        """Take note of an outcome; what became of the breaker by that."""
        if outcome.status_code == 429 and outcome.retry_after_s is not None:
            self._throttle.hold(now, outcome.retry_after_s)
            return ""
        if says_nothing(outcome):
            return ""
        if not speaks_against(outcome):
            return "closed" if self._breaker.succeeded() else ""
        self._last_failure = outcome.detail or outcome.result
        failed = self._breaker.failed(now, begun_at=begun_at, jitter=jitter)
        return "opened" if failed else ""

    def held_back(self, now: float, wall: datetime) -> HeldBack | None:
        """Why next to nothing is attempted, if that is so; `wall` is the same moment."""
        if self.probing:
            until = max(now, self._breaker.probe_at)
            why = f"it does not answer: {self._last_failure}"
            return HeldBack("breaker", why, wall + timedelta(seconds=until - now))
        held_s = self._throttle.held_until - now
        if held_s > 0:
            why = "it asked for this with Retry-After"
            return HeldBack("retry_after", why, wall + timedelta(seconds=held_s))
        return None
