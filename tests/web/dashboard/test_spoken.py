"""What was asked for and done by hand, in words."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import receiver.web.api
from receiver.web.dashboard import spoken

THEN = datetime(2026, 1, 24, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"where": {"type": "batch.*", "since": "2026-01-24T10:00:00.000Z"}},
            [
                ("type", "batch.*"),
                ("since", THEN),
                ("to", "where the routes send them"),
            ],
        ),
        (
            {"events": ["evt_1"], "to": ["app"], "as_new": True, "per_second": 0.5},
            [
                ("events", "evt_1"),
                ("to", "app"),
                ("as new", "yes: receivers see another id"),
                ("rate", "0.50 a second"),
            ],
        ),
        (
            {"events": ["evt_1"] * 6},
            [("events", "6 events"), ("to", "where the routes send them")],
        ),
        (
            {"where": {}, "to": ["app"], "first_at": "2026-01-24T10:00:00Z"},
            [("events", "all that are stored"), ("to", "app")],
        ),
        ({"move": 2, "to": "crm"}, [("moved", "2 deliveries"), ("to", "crm")]),
        ({"move": 1, "to": "crm"}, [("moved", "1 delivery"), ("to", "crm")]),
    ],
)
def test_a_replay_says_what_it_was_asked_for(asked, said):
    assert spoken.of_a_replay(asked) == said


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"count": 2, "asked": 3}, [("changed", "2"), ("asked for", "3")]),
        (
            {"destination": "app", "reason": "noon"},
            [("destination", "app"), ("reason", "noon")],
        ),
        (
            {"unfinished": True, "asked": {"ids": 4, "where": {"type": "x"}}},
            [
                ("unfinished", "it is not known what came of it"),
                ("ids", "4"),
                ("type", "x"),
            ],
        ),
        (
            {"unfinished": True, "asked": {"ids": 4}, "failed": "the disk is full"},
            [
                ("unfinished", "it is not known what came of it"),
                ("failed", "the disk is full"),
                ("ids", "4"),
            ],
        ),
        ({"events": [], "since": "2h"}, [("events", "none"), ("since", "2h")]),
        ({}, []),
    ],
)
def test_a_change_says_what_came_of_it(details, said):
    assert spoken.of_a_change(details) == said


def test_every_change_that_is_noted_has_words_of_its_own():
    folder = Path(receiver.web.api.__file__).parent
    noted = {
        name
        for module in folder.glob("*.py")
        for name in re.findall(r'@change\("([\w.]+)"\)', module.read_text())
    }

    assert len(noted) > 10
    assert {name for name in noted if spoken.done(name) == name} == set()
