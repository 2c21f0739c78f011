"""Judging the store's file and its server: pure, from made-up facts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from receiver.doctor import Verdict
from receiver.doctor.store import Owner, Seen, of_file, of_ledger, of_owner, of_queues
from receiver.errors import StoreBusy, StoreError, StoreUnusable
from receiver.ledger import Ledger, standings
from receiver.models import Pause
from receiver.stores import Queue, Totals

NOW = datetime(2026, 1, 24, 10, 0, tzinfo=UTC)
PATH = Path("/data/receiver.db")
STARTED = "2026-01-24T07:30:00.000Z"


@pytest.mark.parametrize(
    ("seen", "verdict", "told"),
    [
        (Seen(PATH, exists=False), Verdict.WARNING, "restore BACKUP"),
        (
            Seen(PATH, exists=True, damaged=True, error=StoreUnusable("malformed")),
            Verdict.PROBLEM,
            "sqlite3 /data/damaged/receiver.db .recover",
        ),
        (
            Seen(PATH, exists=True, damaged=True, wrong=("row 7 missing",)),
            Verdict.PROBLEM,
            "row 7 missing",
        ),
        (
            Seen(PATH, exists=True, error=StoreUnusable("of another program")),
            Verdict.PROBLEM,
            "check `url`",
        ),
        (
            Seen(PATH, exists=True, error=StoreBusy("the lock")),
            Verdict.PROBLEM,
            "fuser -v /data/receiver.db",
        ),
        (
            Seen(PATH, exists=True, error=StoreError("cannot be opened")),
            Verdict.PROBLEM,
            "as the user the server runs as",
        ),
        (Seen(PATH, exists=True), Verdict.WARNING, "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_what_to_do(seen, verdict, told):
    [found] = of_file(seen)

    assert found.verdict is verdict
    assert told in found.words + found.advice


def test_an_older_schema_and_a_large_log_are_warned_of():
    seen = Seen(PATH, exists=True, schema=1, newest_schema=4, log_bytes=10**9)

    whole, schema, log = of_file(seen)

    assert whole.verdict is Verdict.OK
    assert (schema.verdict, log.verdict) == (Verdict.WARNING, Verdict.WARNING)
    assert "receiver migrate" in schema.advice


@pytest.mark.parametrize(
    ("owner", "verdict", "words"),
    [
        (Owner(None, None), Verdict.WARNING, "none is running"),
        (Owner("17", None), Verdict.PROBLEM, "process 17 owns the store, but"),
        (Owner("17", {"pid": 17}), Verdict.UNKNOWN, "does not say its version"),
        (
            Owner("17", {"pid": 17, "version": "1.0", "started_at": STARTED}),
            Verdict.OK,
            "process 17, version 1.0, for 2.5 hours",
        ),
        (
            Owner("17", {"pid": 17, "version": "0.9", "started_at": "soon"}),
            Verdict.WARNING,
            "version 0.9; this command is of version 1.0",
        ),
    ],
)
def test_a_server_is_judged_by_what_it_says(owner, verdict, words):
    found = of_owner(owner, "1.0", NOW)

    assert found.verdict is verdict
    assert words in found.words


def test_a_ledger_that_does_not_add_up_is_a_problem():
    even = Totals(
        events=1, keys=1, fan_out=0, variants=0, rejections=0, routed_deliveries=0
    )
    odd = Totals(
        events=1, keys=2, fan_out=0, variants=0, rejections=0, routed_deliveries=0
    )

    assert of_ledger(Ledger((), even)).verdict is Verdict.OK
    assert of_ledger(Ledger((), odd)).verdict is Verdict.PROBLEM


def test_what_waits_for_long_is_told_unless_a_reason_is_known():
    long_ago = NOW - timedelta(hours=3)
    queues = [
        Queue("crm", 7, long_ago),
        Queue("ops", 2, long_ago),
        Queue("new", 1, NOW),
    ]
    pauses = [Pause("ops", long_ago, None, "by hand")]
    known = ["crm", "ops", "new"]

    [late] = of_queues(standings(queues, pauses, known), NOW)
    [fine] = of_queues(standings(queues[1:], pauses, known), NOW)

    assert late.verdict is Verdict.WARNING
    assert late.words == "7 wait for crm, one for 3.0 hours"
    assert fine.verdict is Verdict.OK
