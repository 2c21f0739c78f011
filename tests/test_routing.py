"""Routes: independent of their order, each destination once, no needless work."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.expressions import ExpressionError, context
from receiver.routing import Context, Router, decide
from receiver.settings import Route

CONDITIONS = (None, "data.n > 1", "data.n < 1", "data.missing == 1", "data.n")
EVENT = {"type": "batch.completed"}

routes = st.builds(
    Route,
    name=st.text(max_size=5),
    source=st.sampled_from(["sora2", "kie", "*"]),
    types=st.lists(
        st.sampled_from(["*", "batch.*", "batch.completed", "task.*", "?atch.failed"]),
        min_size=1,
        max_size=3,
    ).map(tuple),
    when=st.sampled_from(CONDITIONS),
    to=st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple),
)


def route(name: str = "r", *, to: tuple[str, ...] = ("a",), **fields: Any) -> Route:
    return Route(name=name, source=fields.pop("source", "sora2"), to=to, **fields)


def data(value: Any = None) -> Context:
    return lambda names: context(EVENT, {"n": 2} if value is None else value, {}, names)


@given(st.lists(routes, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_routes_decides_nothing_but_the_order_of_the_list(
    some: list[Route], chance: Any
):
    shuffled = list(some)
    chance.shuffle(shuffled)

    one = decide(Router(some).opinions("sora2", "batch.completed", data()))
    other = decide(Router(shuffled).opinions("sora2", "batch.completed", data()))

    assert set(one.destinations) == set(other.destinations)
    assert sorted(one.routes) == sorted(other.routes)


@given(st.lists(routes, max_size=6))
def test_a_destination_is_named_once_and_only_by_routes_that_matched(
    some: list[Route],
):
    opinions = Router(some).opinions("sora2", "batch.completed", data())

    found = decide(opinions)

    assert len(set(found.destinations)) == len(found.destinations)
    matched = [o.route for o in opinions if o.verdict == "matched"]
    assert set(found.destinations) == {name for r in matched for name in r.to}
    assert found.routes == tuple((o.route.name, o.verdict) for o in opinions)
    assert [o.route for o in opinions] == [r for r in some if r.source != "kie"]


@given(st.lists(routes, max_size=6), st.sampled_from(["batch.completed", "task.done"]))
def test_the_context_is_built_once_and_only_when_a_condition_needs_it(
    some: list[Route], event_type: str
):
    built: list[frozenset[str]] = []

    def build(names: frozenset[str]) -> Any:
        built.append(names)
        return data()(names)

    opinions = Router(some).opinions("sora2", event_type, build)

    needed = any(o.verdict != "type" and o.route.when for o in opinions)
    assert len(built) == (1 if needed else 0)


def test_a_condition_that_fails_is_no_match_and_says_why():
    some = [route("bad", when="data.missing == 1"), route("good", to=("b",))]

    bad, good = Router(some).opinions("sora2", "x", data())

    assert (bad.verdict, good.verdict) == ("failed", "matched")
    assert "missing" in bad.detail
    assert decide([bad, good]).destinations == ("b",)


def test_a_context_that_cannot_be_built_fails_the_conditions_only():
    def broken(names: frozenset[str]) -> Any:
        raise ExpressionError("cannot be built")

    some = [route("when", when="data.n > 1"), route("plain", to=("b",))]

    found = decide(Router(some).opinions("sora2", "x", broken))

    assert found.routes == (("when", "failed"), ("plain", "matched"))


@pytest.mark.parametrize(
    ("glob", "event_type", "matches"),
    [
        ("*", "", True),
        ("batch.*", "batch.completed", True),
        ("batch.*", "batch", False),
        ("batch.*", "Batch.completed", False),
        ("batch.?", "batch.1", True),
        ("[ab]*", "batch", True),
        ("batch.completed", "batch.completed.more", False),
        ("*", "a\nb", True),
    ],
)
def test_types_are_globs_that_mind_the_case(glob: str, event_type: str, matches: bool):
    [opinion] = Router([route(types=(glob,))]).opinions("sora2", event_type, data())

    assert (opinion.verdict == "matched") == matches


def test_a_condition_that_does_not_compile_is_refused():
    with pytest.raises(ExpressionError):
        Router([route(when="data.")])
