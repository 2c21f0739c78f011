"""Conditions: refused with a place when wrong, and never a surprise when evaluated."""

import json
import re
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.expressions import (
    NAMES,
    ExpressionError,
    compile_condition,
    compile_value,
    context,
    context_of,
    event_fields,
)
from receiver.models import Reading, State
from tests.making import event

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
    condition = compile_condition(text)
    return condition.holds(context(FIELDS, data, REQUEST, condition.names))


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


def test_a_condition_names_what_it_reads():
    plain = compile_condition("data.counts.failed > 0")
    two = compile_condition('event.type == "a" && request . query.tag == "b"')

    assert plain.names == {"data.counts"}
    assert two.names == {"event.type", "request.query"}


@pytest.mark.parametrize(
    "text",
    [
        "data != null",
        'data["a"] == 1',
        "data.a == 1 && data.exists (name, name == 'b')",
        "data.a == 1 && [data].size() == 1",
        "[data].exists(data, data.a == 1)",
        "data // a comment\n.a == 1",
    ],
)
def test_what_may_read_all_of_the_body_is_given_all_of_it(text: str):
    assert compile_condition(text).names == {"data"}


names = st.sampled_from(["a", "b", "c", "data"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner),
    max_leaves=4,
)


@given(st.dictionaries(names, values) | values)
@pytest.mark.parametrize(
    "text",
    [
        "data.a == 1",
        "has(data.a) && data.a.b == 'c'",
        "data . b in data.c || size(data.a) > 0",
        "has(data.data) && has(data.data.data) && data.data.a == data.b",
        "data.all(name, name == 'a') && data.a.exists(x, x == 'b')",
        "event.final && data.a || data.c.data == null",
    ],
)
def test_the_rest_of_the_body_decides_nothing(text: str, data: object):
    condition = compile_condition(text)

    def told(needed: Collection[str]) -> object:
        try:
            return condition.holds(context(FIELDS, data, REQUEST, needed))
        except ExpressionError as error:
            return str(error)

    assert told(condition.names) == told(NAMES)


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
parsed = st.recursive(
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


# -- values


def value(text: str, data: Any = None, **texts: str) -> Any:
    names = {f"vars.{name}": one for name, one in texts.items()}
    more = {"delivery.id": "dlv_1", "delivery.attempt": 3, **names}
    return compile_value(text, frozenset(names)).of(
        context(FIELDS, data, REQUEST, more=more)
    )


@pytest.mark.parametrize(
    ("text", "given", "plain"),
    [
        ("1", None, 1),
        ("1u", None, 1),
        ("1.5", None, 1.5),
        ("'é'", None, "é"),
        ("true", None, True),
        ("null", None, None),
        ("data", {"a": [1, None, {"b": "c"}]}, {"a": [1, None, {"b": "c"}]}),
        ("[data.a, null]", {"a": {"b": None}}, [{"b": None}, None]),
        ("event.received_at", None, "2026-01-24T10:00:00.000Z"),
        ("{'at': event.received_at}", None, {"at": "2026-01-24T10:00:00.000Z"}),
        ("duration('1h30m')", None, "5400s"),
        ("duration('0.5s')", None, "0.5s"),
        ("event.result_urls.map(u, {'url': u})[0]", None, {"url": "https://a/1"}),
        ("delivery.id + '/' + string(delivery.attempt)", None, "dlv_1/3"),
        ("data.?a.orValue('none')", {}, "none"),
        ("{'a': 1, ?'b': data.?b}", {}, {"a": 1}),
        ("'%s: %d'.format([event.type, 3])", None, "batch.completed: 3"),
        ("['a', 'b'].join(', ')", None, "a, b"),
        ("event.type.replace('.', '_').upperAscii()", None, "BATCH_COMPLETED"),
        ("'abcdé'.shortened(5)", None, "abcdé"),
        ("'abcdé'.shortened(4)", None, "abc…"),
        ("'abcdé'.shortened(1)", None, "…"),
        ("'abcdé'.shortened(0)", None, ""),
        ("'abcdé'.shortened(-1)", None, ""),
        ("'a/b ?%é~'.percentEncoded()", None, "a%2Fb%20%3F%25%C3%A9~"),
    ],
)
def test_a_value_is_what_json_can_hold(text: str, given: Any, plain: Any):
    found = value(text, given)

    assert found == plain
    assert json.loads(json.dumps(found)) == found


def test_a_value_may_use_the_names_it_is_given():
    assert value("'k=' + vars.key", key="secret") == "k=secret"


def test_a_value_may_not_use_other_names_and_the_hint_has_those_it_may():
    with pytest.raises(ExpressionError, match="line 1, column ") as refused:
        compile_value("vars.kee", frozenset({"vars.key"}))

    assert "delivery.attempt, vars.key" in refused.value.hint


def test_a_condition_may_not_use_the_names_of_a_delivery():
    with pytest.raises(ExpressionError, match="undeclared"):
        compile_condition("delivery.attempt > 1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("b'x'", "gave bytes, which JSON cannot hold"),
        ("type(1)", "gave a type, which JSON cannot hold"),
        ("0.0 / 0.0", "gave nan, which JSON cannot hold"),
        ("[1.0 / 0.0]", "gave inf, which JSON cannot hold"),
        ("{1: 'a'}", "gave a map with 1 as a name, which is no text"),
        ("data.?a", "end it with .orValue"),
        ("[data.?a]", "end it with .orValue"),
        ("data.a", 'Key not found in map : "a"'),
        ("[1 / data.zero]", "divide by zero"),
        ("event.expires_at", "event.expires_at"),
    ],
)
def test_what_json_cannot_hold_fails_with_a_reason(text: str, why: str):
    with pytest.raises(ExpressionError, match=re.escape(why)):
        value(text, {"zero": 0})


def test_nulls_can_be_given_without_end():
    # Each is a reference to None that must be counted: Python 3.11 ends without any.
    nulls = {"list": [None] * 1000, "a": None}
    text = "[data.list, data.a, {'b': data.a}, null]"
    value(text, nulls)
    before = sys.getrefcount(None)

    for _ in range(100):
        value(text, nulls)
        with pytest.raises(ExpressionError, match="gave null"):
            holds("data.a", nulls)

    assert sys.getrefcount(None) > before - 500


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(data=JSON)
def test_the_body_comes_back_as_it_was_but_for_nul(data: Any):
    body = json.dumps(data)
    more = {"delivery.id": "", "delivery.attempt": 1}

    found = compile_value("data").of(context_of(event(body), more=more))

    assert found == json.loads(body.replace("\\u0000", "\ufffd"))


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(r'"a prompt cut in two \ud83d"', id="half a surrogate pair"),
        pytest.param(r'{"\udc00": 1}', id="half a surrogate pair in a name"),
        pytest.param('"\\u0000"', id="nul"),
        pytest.param(str(2**70), id="a large number"),
        pytest.param("9" * 4000, id="a very large number"),
        pytest.param('[{"\\u0000":' * 400 + "1" + "}]" * 400, id="deep"),
    ],
)
def test_what_one_field_has_does_not_decide_about_another(odd: str):
    arrived = event(f'{{"odd": {odd}, "status": "failed"}}')

    assert compile_condition('data.status == "failed"').holds(context_of(arrived))


@pytest.mark.parametrize("name", ["data.name", "event.subject", "request.query.name"])
def test_a_nul_does_not_end_a_text(name: str):
    text = "admin\0 or not"
    arrived = event({"name": text}, subject=text, query={"name": text})

    assert compile_condition(f'{name} != "admin"').holds(context_of(arrived))


def test_a_number_beyond_64_bits_is_a_float():
    arrived = event({"id": 2**64})

    assert compile_condition("data.id > 1.8e19").holds(context_of(arrived))
