"""Conditions: refused with a place when wrong, and never a surprise when evaluated."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.expressions import (
    ExpressionError,
    compile_condition,
    context,
    event_fields,
)
from receiver.models import Reading, State

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
READING = Reading(
    key="k",
    type="batch.completed",
    subject="batch_1",
    state=State.PARTIAL,
    final=True,
    occurred_at=NOW,
    result_urls=("https://a/1", "https://a/2"),
)
FIELDS = event_fields(
    READING, id="evt_1", source="sora2", provider="sora2", received_at=NOW, origin="w"
)
REQUEST: Mapping[str, Any] = {"headers": {"x-id": "7"}, "query": {"tag": "a"}}


def holds(text: str, data: Any = None) -> bool:
    return compile_condition(text).holds(context(FIELDS, data, REQUEST))


@pytest.mark.parametrize(
    "text",
    [
        "true",
        'event.type == "batch.completed"',
        'event.state in ["failed", "partial"]',
        "event.final",
        'event.subject.startsWith("batch_")',
        "size(event.result_urls) == 2",
        'event.result_urls.exists(url, url.endsWith("/2"))',
        'event.received_at >= timestamp("2026-01-24T10:00:00Z")',
        "event.occurred_at == event.received_at",
        'event.id + event.key + event.source + event.provider == "evt_1ksora2sora2"',
        'event.origin == "w"',
        'request.headers["x-id"] == "7"',
        'request.query.tag == "a"',
        "data.counts.failed > 0",
        "data.counts.failed > 0 // event.foo is only a comment",
        'has(data.counts) && !has(data.other) || "event.foo" == "x"',
        "data.list.all(one, one.n >= 1)",
        "data.rate < 0.5",
    ],
)
def test_what_people_write_is_understood(text: str):
    data = {"counts": {"failed": 3}, "list": [{"n": 1}, {"n": 2}], "rate": 0.25}

    assert holds(text, data)


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("event.type ==", "line 1, column 14", "it ends too early"),
        ("", "line 1, column 1", "it ends too early"),
        ("true &&\n  nope.x == 1", "line 2, column 7", "known: event."),
        ("evnt.type == 'a'", "line 1, column ", "known: event."),
        ("event.tpye == 'a'", "line 1, column ", "event.type"),
        ("true\n|| event.foo", "line 2, column ", "event.subject"),
        ("event.type == 1", "line 1, column 12", "at '== 1'"),
        ("event.type.size() > 'a'", "line 1, column 19", "at \"> 'a'"),
        ("99999999999999999999 == 1", "line 1, column 1", "at '9999"),
        ("request.body == ''", "line 1, column ", "request.headers"),
        ("event['type'] == ''", "line 1, column 1", "known: "),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(text: str, place: str, hint: str):
    with pytest.raises(ExpressionError, match=place) as refused:
        compile_condition(text)

    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1 + 1", "int"), ("event.type", "string"), ("[true]", "list"), ("{}", "map")],
)
def test_what_does_not_give_true_or_false_is_refused(text: str, kind: str):
    with pytest.raises(ExpressionError, match=f"gives {kind}.*, not true or false"):
        compile_condition(text)


@pytest.mark.parametrize("data", [1, "true", None, [True], {"a": 1}, 1.5, b"x"])
def test_what_turns_out_not_to_be_true_or_false_fails(data: Any):
    with pytest.raises(ExpressionError, match="not true or false"):
        holds("data", data)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data.missing == 1", {}),
        ("data.a.b.c == 1", {"a": 1}),
        ("data.a > 1", None),
        ("data[5] == 1", [1]),
        ("data.a == 1 / data.zero", {"a": 1, "zero": 0}),
        ("data.a > 1", {"a": "text"}),
        ("data.a > 1", {"a": 2**70}),
        ("data.a > 1", {"a": -(2**63) - 1}),
        ("data.a == 'x'", {"a": "\ud800"}),
        ("data.a + 1 > data.a", {"a": 2**63 - 1}),
        ("data.matches('(')", "text"),
        ("event.expires_at > event.received_at", {}),
        ("request.headers.missing == ''", {}),
        ("data.a > 1", {"a": object()}),
    ],
)
def test_what_fails_when_evaluated_is_an_expression_error(text: str, data: Any):
    with pytest.raises(ExpressionError) as failed:
        holds(text, data)

    assert str(failed.value)
    assert "\n" not in str(failed.value)


def test_an_expression_that_is_not_text_is_refused():
    with pytest.raises(ExpressionError, match="surrogate"):
        compile_condition("'\ud800' == 'a'")


@pytest.mark.parametrize("text", ["(" * 5_000 + "true" + ")" * 5_000, "[" * 100_000])
def test_an_expression_that_is_too_deep_is_refused(text: str):
    with pytest.raises(ExpressionError):
        compile_condition(text)


def test_data_nested_as_deeply_as_json_can_be_does_no_harm():
    data: Any = {"end": True}
    for _ in range(900):
        data = {"a": data}

    with pytest.raises(ExpressionError):
        holds("data.a > 1", data)
    assert holds("has(data.a)", data)
    assert not holds("data.a == 1", data)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]), max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from("ab") | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=20,
)
EXPRESSIONS = (
    "data.a > 1",
    "data.a.b == data.b",
    "data == data",
    "data.exists(x, x == 1)",
    "size(data) > 1",
    "data.a in data.b",
    "has(data.a) && data.a.startsWith('x')",
    "data.a + data.b == data.b",
    "string(data.a) == 'a'",
    "data",
)


@given(st.sampled_from(EXPRESSIONS), values)
def test_any_data_gives_true_false_or_an_expression_error(text: str, data: Any):
    found: bool | str
    try:
        found = holds(text, data)
    except ExpressionError as error:
        found = str(error)

    assert found in (True, False) or (isinstance(found, str) and found)


words = st.sampled_from(
    ["event", "data", "request", ".", "type", "(", ")", "==", "&&", "!", "1", "'", '"',
     "[", "]", "\n", "true", " ", "?", ":", "//", "{", "\\", "0x", "in", "r'"]
)  # fmt: skip


@given(st.text(max_size=30) | st.lists(words, max_size=15).map("".join))
def test_any_text_compiles_or_is_an_expression_error(text: str):
    try:
        found = compile_condition(text).text
    except ExpressionError as error:
        found = text if str(error) else "refused without a word"

    assert found == text
