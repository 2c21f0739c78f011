"""Subjects and their steps for tests of stores."""

from collections.abc import Sequence
from typing import Any

from receiver import lifecycle
from receiver.models import State
from receiver.subjects import Credits, Subject, SubjectChange, SubjectStep
from tests.stores.making import NOW, seconds

MEMORY = lifecycle.dump(lifecycle.registered(NOW))


def change(
    name: str = "bat_1",
    event_id: str = "evt_0000000000000001",
    *,
    steps: Sequence[SubjectStep] = (),
    **more: Any,
) -> SubjectChange:
    check_at = more.pop("check_at", None)
    given: dict[str, Any] = {
        "id": event_id.replace("evt", "sub"),
        "source": "sora2",
        "subject": name,
        "provider": "sora2",
        "kind": "batch",
        "state": State.RUNNING,
        "final": False,
        "begun_at": NOW,
        "heard_at": NOW,
        "ended_at": None,
        "events": 1,
        "troubles": (),
        "request_id": None,
        "credits": Credits(),
        "facts": {},
        **more,
    }
    subject = Subject(**given)
    return SubjectChange(subject, MEMORY, check_at, steps)


def step(event_id: str, *, final: bool = False) -> SubjectStep:
    return SubjectStep(
        event_id,
        "batch.completed",
        State.PARTIAL,
        final,
        NOW - seconds(1),
        NOW,
        "webhook",
    )
