"""The parts of a condition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.expressions import ExpressionError, compile_condition
from receiver.operands import operands


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        (" a && b ", ["a", "b"]),
        ("a && b || c && d", ["a && b", "c && d"]),
        ("(a || b) && c", ["(a || b)", "c"]),
        ("(a && b)", ["(a && b)"]),
        ("f(a && b) || [c || d][0]", ["f(a && b)", "[c || d][0]"]),
        ("a == '||' && b == \"&&\"", ["a == '||'", 'b == "&&"']),
        (r"a == 'it\'s && so' && b", [r"a == 'it\'s && so'", "b"]),
        (r"a == r'\' && b", [r"a == r'\'", "b"]),
        ("a == '''x' && ''' && b", ["a == '''x' && '''", "b"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("data.?a.orValue(1) == 1 && b", ["data.?a.orValue(1) == 1", "b"]),
    ],
)
def test_a_condition_falls_into_what_it_joins_at_its_top(text, parts):
    assert operands(text) == parts


atoms = st.sampled_from(
    ["true", "event.final", 'event.type == "a && b"', "data.x > 1", "!(true || false)"]
)
conditions = st.recursive(
    atoms,
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    ),
    max_leaves=6,
)


@given(
    parts=st.lists(conditions, min_size=2, max_size=4), by=st.sampled_from(["&&", "||"])
)
def test_every_part_is_a_condition_of_its_own(parts, by):
    assert operands(f" {by} ".join(parts)) == parts


@given(text=st.text(alphabet="ab&|?:'\"()[]{}\\r .", max_size=40))
def test_any_text_falls_into_parts(text):
    found = operands(text)

    assert found
    try:
        compile_condition(text)
    except ExpressionError:
        return
    for part in found:
        compile_condition(part)
