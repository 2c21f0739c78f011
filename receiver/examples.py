"""One body of each of receiver's own events, to look at and to try things out with."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from receiver import internal
from receiver.clock import iso
from receiver.models import State


def samples(now: datetime) -> Mapping[str, internal.Body]:
    """One body of each type, to look at."""
    event = {"event_type": "batch.completed", "event_subject": "bat_abc123def456"}
    event_id, batch = "evt_0123456789abcdef", "bat_abc123def456"
    since = now - timedelta(hours=6)
    bodies = (
        internal.delivery_dead(
            "crm",
            count=3,
            event_id=event_id,
            outcome="answered 500 Internal Server Error",
            **event,
        ),
        internal.destination_paused("crm", reason="answered 410 Gone: correct `url`"),
        internal.destination_resumed("crm", paused_at=since),
        internal.event_conflict(
            event_id,
            event_source="sora2",
            differences=[("settled", 90, 80), ("refunded", 10, 20)],
            **event,
        ),
        internal.event_supplemented(
            event_id,
            event_source="sora2",
            facts=["refunded"],
            result_urls=["https://example.com/10.mp4?signature=abc"],
            **event,
        ),
        internal.event_unconfirmed(
            event_id,
            event_source="kie",
            event_type="task.succeeded",
            event_subject="e989621f54392584b05867f87b160672",
            reason="a link to results is not one of the API's",
            count=1,
            delivered=False,
        ),
        internal.route_failing(
            "failures", error="no such key: ledger", count=12, event_id=event_id
        ),
        internal.source_rejecting(
            "sora2",
            code="signature_mismatch",
            reason="no configured secret gives this signature",
            count=40,
        ),
        internal.source_quiet("sora2", since=since, after=timedelta(hours=4)),
        internal.links_expiring(
            event_id,
            destination="crm",
            expires_at=now + timedelta(hours=1),
            **event,
        ),
        internal.batch_stalled(batch, source="sora2", state=State.RUNNING, since=since),
        internal.batch_ledger_mismatch(
            batch,
            source="sora2",
            problem="10 of 100 credits were neither charged nor given back",
            reserved=100,
            settled=80,
            refunded=10,
        ),
        *(_join_sample(end, now) for end in ("completed", "timed_out", "failed")),
    )
    return {str(body["type"]): body for body in bodies}


def _join_sample(end: str, now: datetime) -> internal.Body:
    there = 2 if end == "completed" else 1
    parts = [
        {
            "event_id": f"evt_0123456789abcde{i}",
            "source": "kie",
            "type": "task.success" if end != "failed" else "task.fail",
            "subject": f"task_{i}",
            "state": "succeeded" if end != "failed" else "failed",
            "failed": end == "failed",
            "occurred_at": iso(now),
            "received_at": iso(now),
            "result_urls": [f"https://example.com/{i}.mp4"] * (end != "failed"),
            "query": {"job": "film-1"},
            "data": {},
        }
        for i in range(there)
    ]
    return internal.join_ended(
        end,
        join="film",
        key="film-1",
        expected=2,
        begun_at=now - timedelta(minutes=5),
        failed=[end == "failed"] * there,
        parts=parts,
    )
