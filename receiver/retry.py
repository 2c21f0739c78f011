"""When to try again, or that we are done (pure)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from receiver.models import Delivery, Outcome, Pause, Status, Step
from receiver.settings import RetryPolicy

JITTER = 0.2
"""A wait is lengthened by up to this share of itself, so that retries spread out."""

LONGEST_WAIT = timedelta(days=1)


def next_step(
    policy: RetryPolicy,
    delivery: Delivery,
    outcome: Outcome,
    *,
    now: datetime,
    paused: timedelta,
    jitter: float,
) -> Step:
    """
    What follows an attempt that ended `now`.

    `paused` is how long the destination was paused since the round began; it does not
    count as age.  `jitter` is a random number from 0 to 1.
    """
    if outcome.ok:
        return Step(Status.DELIVERED, now)
    if outcome.pause:  # not this delivery's fault: it waits until somebody resumes
        return Step(Status.PENDING, now, outcome.pause)
    if outcome.permanent:
        return Step(Status.DEAD, now, "trying again cannot help")
    made = delivery.round_attempts + 1
    if made >= policy.max_attempts:
        return Step(Status.DEAD, now, f"given up after {made} attempts")
    if now - delivery.round_started_at - paused >= policy.max_age:
        return Step(Status.DEAD, now, f"given up after {policy.max_age}")
    wait = min(policy.waits[min(made, len(policy.waits)) - 1], LONGEST_WAIT)
    if outcome.retry_after_s is not None:
        asked = max(0.0, outcome.retry_after_s)  # 0 also for what is not a number
        asked_s = min(asked, LONGEST_WAIT.total_seconds())
        wait = max(
            wait, timedelta(seconds=asked_s)
        )  # it may ask for more, not for less
    return Step(Status.PENDING, now + min(wait * (1 + JITTER * jitter), LONGEST_WAIT))


def longest_waits(policy: RetryPolicy) -> Sequence[timedelta]:
    """How long it can be at most until the attempt after the first, the second, ..."""
    return [min(wait * (1 + JITTER), LONGEST_WAIT) for wait in policy.waits]


def paused_for(pauses: Sequence[Pause], since: datetime, now: datetime) -> timedelta:
    """How long of the time since then the destination was paused."""
    total = timedelta()
    for pause in pauses:
        overlap = (pause.ended_at or now) - max(pause.started_at, since)
        total += max(timedelta(), overlap)
    return total


def retry_after_s(status: int, value: str, now: datetime) -> float | None:
    """`Retry-After` on a 429 or 503, as seconds from now (RFC 9110, 10.2.3)."""
    value = value.strip()
    if status not in (429, 503) or not value:
        return None
    if value.isdecimal():
        return min(float(value), 1e9)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None  # neither seconds nor a date with a zone
