"""The drawing of the flow, and the chart of durations: values in, paths out."""

import re
from typing import Any

import pytest

from receiver.ledger import Standing
from receiver.models import HeldBack, Pause
from receiver.settings import Route
from receiver.stores import Queue
from receiver.web.dashboard.charts import HEIGHT, charts
from receiver.web.dashboard.flow import (
    MOST_DESTINATIONS,
    MOST_ROUTES,
    MOST_SOURCES,
    Flow,
    flow_of,
)
from receiver.web.dashboard.rendering import a_rate
from receiver.web.trends import Sample
from tests.making import NOW

LINE = re.compile(r"M0 ([\d.]+)C50 \1 50 ([\d.]+) 100 \2")


def standing(name: str, **more: Any) -> Standing:
    return Standing(Queue(name, 0, None), None, **{"orphaned": False, **more})


def drawn(
    sources: list[str],
    routes: list[Route],
    standings: list[Standing],
    **rates: dict[str, float],
) -> Flow:
    first = Sample(0, 0, 0, 0, 0, ())
    last = Sample(60, 0, 0, 0, 0, (), **rates)
    return flow_of(sources, routes, standings, [first, last], {})


def places(lines: Any) -> list[tuple[float, float]]:
    found = [LINE.fullmatch(line.path) for line in lines]
    return [(float(one[1]), float(one[2])) for one in found if one]


def test_lines_begin_and_end_in_the_middle_of_boxes_that_are_spread_evenly():
    routes = [
        Route(name="one", source="a", to=("x", "y")),
        Route(name="every", source="*", to=("y",)),
    ]

    flow = drawn(["a", "b"], routes, [standing("x"), standing("y")])

    assert places(flow.lines_in) == [(250, 250), (250, 750), (750, 750)]
    assert places(flow.lines_out) == [(250, 250), (250, 750), (750, 750)]


def test_one_of_each_is_a_straight_line():
    flow = drawn(["a"], [Route(name="r", source="a", to=("x",))], [standing("x")])

    assert places(flow.lines_in) == places(flow.lines_out) == [(500, 500)]


def test_alerts_are_drawn_only_where_a_route_is_for_them():
    every = Route(name="every", source="*", to=("x",))
    alerts = Route(name="alerts", source="receiver", to=("x",))

    without = drawn(["a"], [every], [standing("x")])
    with_ = drawn(["a"], [every, alerts], [standing("x")])

    assert [one.name for one in without.senders] == ["a"]
    assert [one.name for one in with_.senders] == ["a", "receiver"]
    assert [list(way.sources) for way in with_.ways] == [["a"], ["receiver"]]
    assert [one.rate for one in with_.senders] == [0, None]


def test_alerts_move_where_something_was_delivered():
    alerts = Route(name="alerts", source="receiver", to=("x", "y"))

    flow = drawn(
        [], [alerts], [standing("x"), standing("y")], to_destinations={"x": 1.0}
    )

    assert [line.kind for line in flow.lines_in] == ["idle"]
    assert [line.kind for line in flow.lines_out] == ["moving", "idle"]


def test_a_line_moves_where_something_came_and_something_was_delivered():
    routes = [
        Route(name="live", source="a", to=("x", "y")),
        Route(name="silent", source="b", to=("x",)),
    ]

    flow = drawn(
        ["a", "b"],
        routes,
        [standing("x"), standing("y")],
        of_sources={"a": 6.0},
        to_destinations={"x": 6.0},
    )

    assert [line.kind for line in flow.lines_in] == ["moving", "idle"]
    assert [line.kind for line in flow.lines_out] == ["moving", "idle", "idle"]
    assert [one.rate for one in flow.senders] == [6, 0]
    assert [one.rate for one in flow.targets] == [6, 0]


@pytest.mark.parametrize(
    "still",
    [
        {"orphaned": True},
        {"pause": Pause("x", NOW, None, "holiday")},
        {"held_back": HeldBack("breaker", "it does not answer", NOW)},
    ],
    ids=["orphaned", "paused", "breaker"],
)
def test_a_destination_that_is_given_nothing_has_a_still_line(still: dict[str, Any]):
    one = Standing(
        Queue("x", 3, None),
        still.get("pause"),
        orphaned=still.get("orphaned", False),
        held_back=still.get("held_back"),
    )

    flow = drawn(["a"], [Route(name="r", source="a", to=("x",))], [one])

    assert [line.kind for line in flow.lines_out] == ["still"]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_what_nobody_could_follow_is_not_drawn(column: int):
    def made(more: list[int]) -> Flow:
        sources = [f"s{i}" for i in range(MOST_SOURCES + more[0])]
        names = [f"d{i}" for i in range(MOST_DESTINATIONS + more[2])]
        routes = [
            Route(name=f"r{i}", source="*", to=tuple(names))
            for i in range(MOST_ROUTES + more[1])
        ]
        return drawn(sources, routes, [standing(name) for name in names])

    largest = made([0, 0, 0])
    larger = made([int(i == column) for i in range(3)])

    assert not largest.is_too_large
    assert len(list(largest.lines_in)) == MOST_SOURCES * MOST_ROUTES
    assert larger.is_too_large


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0/min"),
        (0.04, "under 0.1/min"),
        (0.66, "0.7/min"),
        (1, "1/min"),
        (9.96, "10/min"),
        (1234.5, "1,234/min"),
    ],
)
def test_a_rate_is_said_in_few_figures(value: float, said: str):
    assert a_rate(value) == said


# -- how long it took


def lasted(at: float, *counts: float) -> Sample:
    """Delivered within 10 ms, 1 s, 100 s."""
    return Sample(at, 0, 0, 0, 0, tuple(zip((0.01, 1.0, 100.0), counts, strict=True)))


def heights(path: str) -> list[float]:
    return [float(one) for one in re.findall(r"v-([\d.]+)", path)]


def test_durations_have_a_bar_for_every_minute_in_which_something_was_delivered():
    samples = [
        lasted(0, 0, 0, 0),
        lasted(30, 0, 0, 0),
        lasted(60, 10, 10, 10),
        lasted(90, 10, 10, 10),
        lasted(120, 10, 10, 10),
        lasted(150, 10, 15, 20),
    ]

    chart = charts(samples)[-1]

    half, most = heights(chart.path), heights(chart.outline)
    assert len(half) == len(most) == 2
    assert half[0] == most[0] < half[1] < most[1] < HEIGHT
    assert chart.said == "half within 10 ms, 95 % within 1 min 40 s"


def test_a_chart_of_durations_begins_with_the_first_delivery():
    chart = charts([lasted(0, 0, 0, 0), lasted(5, 1, 1, 1)])[-1]
    none = charts([lasted(0, 0, 0, 0), lasted(5, 0, 0, 0)])[-1]

    assert len(heights(chart.path)) == 1
    assert none.path == none.outline == ""
    assert none.said == "nothing was delivered in the last 1 min"


def test_an_hour_of_durations_fits_its_chart():
    samples = [lasted(30 * i, i, i, i) for i in range(122)]

    path = charts(samples)[-1].path

    assert len(heights(path)) == 60
    assert min(float(x) for x in re.findall(r"M([-\d.]+)", path)) >= 0
