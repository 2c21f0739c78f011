"""
When the next attempt may begin at a destination, and how many at a time (pure).

    rate       evenly spread, so that a queue however long leaves as a stream
    hold       the destination asked everybody to come back later
    breaker    what does not answer is asked seldom, by one attempt at a time

Times are monotonic seconds and are given; nothing here reads a clock.  All of it is in
memory: after a restart the first failures open the breaker again.
"""

from receiver.models import Outcome, Rate, Result
from receiver.settings import BreakerPolicy

SLACK_S = 0.1
"""
An attempt may be so much early, which makes up for one that was late: after a rest
what is due in this time begins at once.
"""

LONGEST_HOLD_S = 3600.0
JITTER = 0.2
"""The breaker's wait is lengthened by up to this share of itself."""

_UNREACHABLE = frozenset({Result.TIMEOUT, Result.CONNECT, Result.DNS, Result.TLS})
_OVERLOADED = frozenset({408, 425, 429})
_UNSENT = frozenset({Result.BAD_CONFIG, Result.BLOCKED})
_DOUBLINGS = 30


def speaks_against(outcome: Outcome) -> bool:
    """Whether an outcome says that the destination, not the delivery, has trouble."""
    if outcome.result is Result.HTTP_STATUS and outcome.status_code is not None:
        return outcome.status_code >= 500 or outcome.status_code in _OVERLOADED
    return outcome.result in _UNREACHABLE


def says_nothing(outcome: Outcome) -> bool:
    """Whether the destination was never asked, so that nothing is known of it."""
    return outcome.result in _UNSENT


class Throttle:
    """
    Spreads attempts: in any time at most `rate` times that time and `SLACK_S`, and one.
    """

    def __init__(self, rate: Rate | None) -> None:
        self._gap = 1 / rate.per_second if rate else 0.0
        self._next = float("-inf")
        self.held_until = float("-inf")

    @property
    def ready_at(self) -> float:
        """When the next attempt may begin."""
        return max(self._next - SLACK_S, self.held_until)

    def soon(self, now: float, horizon_s: float, most: int) -> int:
        """How many attempts may begin within the horizon, up to `most`."""
        until = now + horizon_s
        if self.ready_at > until:
            return 0
        if not self._gap:
            return most
        first = max(self._next, now, self.held_until)
        return min(most, 1 + max(0, int((until + SLACK_S - first) / self._gap)))

    def began(self, now: float) -> None:
        if self._gap:
            self._next = max(self._next, now) + self._gap

    def hold(self, now: float, seconds: float) -> None:
        """Nothing more begins for so long, `LONGEST_HOLD_S` at most."""
        until = now + min(max(0.0, seconds), LONGEST_HOLD_S)
        self.held_until = max(self.held_until, until)


class Breaker:
    """
    Closed: attempts are made, up to `concurrency` at a time.  Open: none, until the
    wait is over; then one, which closes it or opens it for longer.

    After it closed one attempt is made at a time, and one more with each that succeeds.
    """

    def __init__(self, policy: BreakerPolicy, concurrency: int) -> None:
        self._policy = policy
        self._concurrency = concurrency
        self._at_a_time = concurrency
        self._failures = 0
        self._openings = 0
        self._opened_at = float("-inf")
        self.open = False
        self.probe_at = float("-inf")

    def limit(self, now: float) -> int:
        """How many attempts may run at a time."""
        if self.open:
            return 1 if now >= self.probe_at else 0
        return self._at_a_time

    def probe_now(self, now: float) -> None:
        """Somebody asks for an attempt although it is open."""
        self.probe_at = min(self.probe_at, now)

    def succeeded(self) -> bool:
        """An attempt was answered; whether that closed it."""
        self._failures = 0
        if self.open:
            self.open = False
            self._at_a_time = 1
            return True
        if self._at_a_time < self._concurrency:
            self._at_a_time += 1
        else:
            self._openings = 0
        return False

    def failed(self, now: float, *, begun_at: float, jitter: float) -> bool:
        """
        An attempt was not answered; whether that opened it, or keeps it open longer.

        Those begun before it opened say nothing new.  `jitter` is from 0 to 1.
        """
        if self.open and begun_at < self._opened_at:
            return False
        self._failures += 1
        if self._openings:  # it has not quite recovered
            self._at_a_time = max(1, self._at_a_time // 2)
        if not self.open and not 0 < self._policy.failures <= self._failures:
            return False
        self.open = True
        self._opened_at = now
        self.probe_at = now + self._wait_s() * (1 + JITTER * jitter)
        self._openings += 1
        return True

    def _wait_s(self) -> float:
        first = self._policy.wait.total_seconds()
        longest = max(first, self._policy.longest_wait.total_seconds())
        return min(first * 2.0 ** min(self._openings, _DOUBLINGS), longest)
