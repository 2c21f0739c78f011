"""What the verdict of a crash test sees, and what it lets pass."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.crashtest.verdict import Kept, Verdict, judge

STEPS = [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
IDS = {step: f"evt_{i}" for i, step in enumerate(STEPS)}


def sent(subject: str, number: int, **changes: Any) -> dict[str, Any]:
    told = {"status": 200, "word": "accepted", "forged": False}
    note = {"subject": subject, "number": number, "id": IDS[subject, number]}
    return {**note, **told, **changes}


def got(to: str, subject: str, number: int, **changes: Any) -> dict[str, Any]:
    note = {"to": to, "subject": subject, "number": number, "attempt": "1"}
    return {**note, "id": IDS[subject, number], "said": 200, **changes}


SENT = [sent(*step) for step in STEPS]
RECEIVED = [got(to, *step) for step in STEPS for to in ("ordered", "unordered")]
KEPT = Kept(
    events=[(IDS[step], f"{step[0]}:{step[1]}") for step in STEPS],
    difference=0,
    unsettled={"pending": 0, "dead": 0, "cancelled": 0},
    exit_code=0,
)
FORGED = sent("b", 1, status=401, word="signature_mismatch", id=None, forged=True)


def broken(verdict: Verdict) -> dict[str, list[str]]:
    return {one.promise: list(one.broken) for one in verdict.promises if not one.kept}


def test_what_was_accepted_stored_and_delivered_is_good():
    verdict = judge([*SENT, FORGED], RECEIVED, KEPT)

    assert verdict.good
    assert broken(verdict) == {}
    assert verdict.counts["accepted"] == verdict.counts["stored"] == 4
    assert verdict.counts["forged"] == 1


def test_what_a_kill_may_do_is_good():
    """Answers that never came, deliveries made again, refusals and resets."""
    again = sent("a", 2, word="duplicate")
    unanswered = [note for note in SENT if note["subject"] != "b"]
    received = [
        *RECEIVED[:2],
        got("ordered", "a", 1, attempt="2"),
        *RECEIVED[2:4],
        got("ordered", "a", 2, said=503),
        got("ordered", "a", 2, said=0),
        *RECEIVED[4:],
        got("unordered", "a", 1),
    ]

    verdict = judge([*unanswered, again], received, KEPT)

    assert broken(verdict) == {}
    assert verdict.counts["stored, but never answered"] == 1
    assert verdict.counts["taken more than once"] == 2
    assert verdict.counts["answered duplicate"] == 1


def test_an_accepted_event_that_is_not_stored_is_lost():
    kept = replace(KEPT, events=KEPT.events[:-1])

    found = broken(judge(SENT, RECEIVED, kept))

    assert found["what was answered 2xx is stored"] == ["evt_3 (a:3)"]


@pytest.mark.parametrize(
    ("more_sent", "more_stored"),
    [([sent("a", 1, id="evt_9")], []), ([], [("evt_9", "a:1")])],
    ids=["answered", "stored"],
)
def test_an_event_with_two_ids_was_accepted_twice(more_sent: Any, more_stored: Any):
    kept = replace(KEPT, events=[*KEPT.events, *more_stored])

    found = broken(judge([*SENT, *more_sent], RECEIVED, kept))

    assert "a:1" in found["an event is accepted once"][0]


@pytest.mark.parametrize("to", ["ordered", "unordered"])
def test_an_event_that_never_arrived_is_missed_where_it_did_not(to: str):
    refused = got(to, "b", 1, said=503)
    received = [
        refused if (note["to"], note["subject"]) == (to, "b") else note
        for note in RECEIVED
    ]

    found = broken(judge(SENT, received, KEPT))

    missing = "every event arrived, at each destination"
    assert found == {missing: [f"evt_1 (b:1) at {to}"]}


def test_an_event_that_arrives_under_another_id_is_noticed():
    stranger = got("unordered", "a", 1, id="evt_9")

    found = broken(judge(SENT, [*RECEIVED, stranger], KEPT))

    assert list(found) == ["it arrived under the event's own id"]


@pytest.mark.parametrize(
    "received",
    [
        [*RECEIVED, got("ordered", "a", 2)],
        [*RECEIVED, got("ordered", "a", 2, said=503)],
        [got("ordered", "a", 2), *RECEIVED],
        [got("ordered", "a", 1, said=503), got("ordered", "a", 2), *RECEIVED],
    ],
    ids=["an earlier one again", "tried again", "too early", "past a refused one"],
)
def test_a_subject_out_of_order_is_noticed(received: Any):
    found = broken(judge(SENT, received, KEPT))

    assert list(found) == ["each subject arrived in order"]
    assert found["each subject arrived in order"][0].startswith("a:2 ")


def test_no_order_is_expected_where_none_was_promised():
    again = got("unordered", "a", 1)

    assert judge(SENT, [*RECEIVED, again], KEPT).good


@pytest.mark.parametrize(
    "note",
    [
        {**FORGED, "status": 200, "word": "accepted", "id": "evt_1"},
        sent("a", 2, status=400, word="malformed_body"),
    ],
    ids=["forged and accepted", "right and refused"],
)
def test_who_is_refused_wrongly_or_not_at_all_is_noticed(note: Any):
    found = broken(judge([*SENT, note], RECEIVED, KEPT))

    assert list(found) == ["what is forged is refused, and nothing else"]


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"difference": 1}, "the ledger adds up"),
        ({"unsettled": {"pending": 2}}, "nothing is left over"),
        ({"unsettled": {"dead": 1}}, "nothing is left over"),
        ({"exit_code": 1}, "it stops when it is asked to"),
        ({"exit_code": None}, "it stops when it is asked to"),
    ],
)
def test_what_the_receiver_itself_shows_is_not_passed_over(change: Any, promise: str):
    assert list(broken(judge(SENT, RECEIVED, replace(KEPT, **change)))) == [promise]
