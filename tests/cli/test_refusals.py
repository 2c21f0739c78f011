"""Signed requests that were refused lately, as status and the doctor name them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from receiver.cli.refusals import LOOKED_AT, refusals
from receiver.models import Rejection

NOW = datetime(2026, 1, 24, 10, tzinfo=UTC)

REFUSED = Rejection(
    "rej_2",
    "sora2",
    "signature_mismatch",
    "no secret fits",
    NOW - timedelta(minutes=4),
    {},
    {},
    b"{}",
    2,
)


def test_refusals_are_counted_and_the_newest_is_named():
    earlier = replace(REFUSED, id="rej_1", received_at=NOW - timedelta(hours=3))

    [line] = refusals([REFUSED, earlier], NOW)

    assert line == (
        "2 signed requests to sora2 refused in the last day (signature_mismatch), the "
        "newest 4 min ago: receiver verify --rejection rej_2"
    )


def test_what_is_old_unsigned_or_accepted_by_now_wakes_nobody():
    found = [
        replace(REFUSED, received_at=NOW - timedelta(days=2)),
        replace(REFUSED, carried="unsigned"),
        replace(REFUSED, event_id="evt_1"),
    ]

    assert refusals(found, NOW) == []


def test_where_there_are_more_than_were_looked_at_that_is_said():
    [line] = refusals([REFUSED] * LOOKED_AT, NOW)

    assert line.startswith("100 signed requests or more to sora2 refused")
