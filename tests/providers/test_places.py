"""Places: found where they say, never a surprise, and wrong ones told at once."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.expressions import ExpressionError
from receiver.models import Request
from receiver.providers.body import parse
from receiver.providers.places import Place, Seen, place

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
REQUEST = Request(
    {"x-event": "push", "x-empty": ""}, {"task_id": "t 1", "job.id": "no"}, b"", NOW
)
DATA: Any = {
    "id": "a-1",
    "n": 7,
    "ok": True,
    "none": None,
    "empty": "",
    "0": "zero",
    "under_score-dash": "found",
    "data": {"object": {"id": "obj"}},
    "items": [{"id": "i0", "tags": ["x", "y"]}, {"id": "i1"}, {"no": 1}, "text"],
    "urls": ["https://a/1", "https://a/2"],
    "grid": [[1, 2], [3]],
}


def at(written: str, data: Any = DATA) -> list[Any]:
    return list(place(written).find(Seen(data, REQUEST)))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("id", ["a-1"]),
        ("data.object.id", ["obj"]),
        ("under_score-dash", ["found"]),
        ("0", ["zero"]),
        ("n", [7]),
        ("ok", [True]),
        ("items[0].id", ["i0"]),
        ("items[9].id", []),
        ("items[].id", ["i0", "i1"]),
        ("items[].tags[]", ["x", "y"]),
        ("items[].tags[1]", ["y"]),
        ("urls", [["https://a/1", "https://a/2"]]),
        ("urls[]", ["https://a/1", "https://a/2"]),
        ("grid[][]", [1, 2, 3]),
        ("grid[1][0]", [3]),
        ("missing", []),
        ("none", []),
        ("empty", []),
        ("id.deeper", []),
        ("id[]", []),
        ("id[0]", []),
        ("[0]", []),
        ("header:X-Event", ["push"]),
        ("header:x-empty", []),
        ("header:x-other", []),
        ("query:task_id", ["t 1"]),
        ("query:other", []),
        ("'a text: {id}'", ["a text: {id}"]),
        ('"it\'s"', ["it's"]),
        ("''", [""]),
        ("{id}:{n}", ["a-1:7"]),
        ("job.{ok}", ["job.true"]),
        ("{header:x-event}/{query:task_id}.{items[1].id}", ["push/t 1.i1"]),
        ("{id}:{missing}", []),
        ("{id}:{data}", []),
        ('"job." + data.id', ["job.a-1"]),
        ("data.urls.filter(u, u.endsWith('2'))", [["https://a/2"]]),
        ('request.headers["x-event"] + request.query["task_id"]', ["pusht 1"]),
        ("data.missing", []),
        ("data.n + 1", [8]),
        ("has(data.missing) ? data.missing : data.n", [7]),
        ("data.n / 0", []),
        ("data.none", []),
        ("[data.none, data.n][0]", []),
        ('{"a": [data.n]}', [{"a": [7]}]),
    ],
)
def test_a_place_is_looked_at_where_it_says(written, found):
    assert at(written) == found


def test_a_body_that_is_a_list_has_places_too():
    assert at("[0].id", [{"id": "first"}]) == ["first"]
    assert at("[].id", [{"id": "first"}, {"id": "second"}]) == ["first", "second"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "line 1"),
        ("a..b", "line 1, column 3"),
        ("items[x", "line 1"),
        ("results[*].url", "line 1, column 9"),
        ("id:status", "line 1, column 3"),
        ("{id}:{", "line 1"),
        ("status + 1", "undeclared reference to 'status'"),
        ("event.type", ""),
        ("event.type + 'x'", "there is no event yet"),
        ("data.a == event . id", "there is no event yet"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_is_no_place_is_told_with_where_it_is_wrong(written, message):
    if written == "event.type":  # a path, as good as any other
        assert at(written, {"event": {"type": "t"}}) == ["t"]
        return

    with pytest.raises(ExpressionError, match=message):
        place(written)


def test_the_word_event_may_be_in_a_body_and_in_texts():
    assert at("data.event.id + 'event.x'", {"event": {"id": "e"}}) == ["eevent.x"]


@pytest.mark.parametrize(
    "written",
    [
        "data.object.id",
        "items[].id",
        "header:x-event",
        "query:task_id",
        "'text'",
        "{id}:{n}",
    ],
)
def test_only_expressions_need_cel(written):
    seen = Seen(DATA, REQUEST)

    found = place(written).find(seen)

    assert found
    assert seen._context is None


def test_a_body_as_deep_as_can_be_parsed_can_be_looked_into():
    for depth in (100, 900):
        data = parse(b'{"a":' * depth + b"1" + b"}" * depth)

        assert at(".".join(["a"] * depth), data) == [1]
        assert at("data.b", data) == []
        assert at("has(data.a) ? 'yes' : 'no'", data) in (["yes"], [])


def test_a_huge_body_is_looked_at_once():
    data = {"items": [{"tags": [{"u": "x"}] * 100} for _ in range(1000)]}

    assert len(at("items[].tags[].u", data)) == 100_000


names = st.text(alphabet="abAB01_-", min_size=1, max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]), max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner),
    max_leaves=15,
)
steps = st.one_of(
    names.map(lambda name: f".{name}"),
    st.integers(0, 3).map(lambda i: f"[{i}]"),
    st.just("[]"),
)
paths = st.lists(steps, min_size=1, max_size=5).map(lambda s: "".join(s).lstrip("."))
simple = paths | names.map(lambda n: f"header:{n}") | names.map(lambda n: f"query:{n}")
templates = st.lists(simple.map(lambda s: f"{{{s}}}"), min_size=1, max_size=3)
expressions = st.sampled_from(
    ["data", "data.a", "data[0]", "data.a + 1", "data.map(x, x)", "data.b.c.d", "-data"]
)


@given(
    written=simple | templates.map(":".join) | expressions,
    data=json_values,
    headers=st.dictionaries(names, st.text()),
)
def test_any_place_in_any_body_gives_values_or_nothing(written, data, headers):
    seen = Seen(data, Request(headers, headers, b"", NOW))

    one = place(written)

    assert all(value is not None and value != "" for value in one.find(seen))
    assert isinstance(one.text(seen), str | None)


@given(written=st.text(max_size=40))
def test_any_text_is_a_place_or_is_refused(written):
    found: Place | None = None
    with suppress(ExpressionError):
        found = place(written)

    if found is not None:
        assert isinstance(found.text(Seen(DATA, REQUEST)), str | None)


@given(data=json_values)
def test_a_path_finds_what_python_finds(data):
    body = {"a": {"b": [data]}}
    there = data is not None and data != ""

    found = at("a.b[0]", body)

    assert json.dumps(found) == json.dumps([data] if there else [])
