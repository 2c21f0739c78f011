"""Templates of users' own: what they see, and what an event's values cannot do."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.templating import EVENT_NAMES, names, problem, render
from receiver.models import State
from tests.making import NOW, event

FORMS = pytest.mark.parametrize("form", Form)


def told(source: str, body: Any = None, form: Form = Form.TEXT, **changes: Any) -> str:
    sent = event(json.dumps({} if body is None else body), **changes)
    assert problem(source, form) == ""
    return render(source, form, names(sent, {"name": "ops", "type": "slack"}))


def failed(source: str, body: Any = None, form: Form = Form.TEXT) -> str:
    with pytest.raises(TemplateFailed) as caught:
        told(source, body, form)
    return str(caught.value)


# -- what a template sees


def test_a_template_sees_all_that_a_condition_sees():
    text = told(
        "{% for name in ['id', 'key', 'source', 'type', 'state', 'final'] %}"
        "{{ event[name] }} {% endfor %}"
        "{{ event.occurred_at }} {{ event.result_urls | join(' ') }} {{ data.a }} "
        "{{ request.headers['content-type'] }} {{ request.query.tenant }} "
        "{{ destination.name }} {{ destination.type }}",
        {"a": 1},
        query={"tenant": "acme"},
        result_urls=("https://x.example/v", "javascript:alert(1)"),
    )

    assert text == (
        "evt_0000000000000001 k sora2 batch.completed partial true "
        "2026-01-24 10:02:07 UTC https://x.example/v 1 "
        "application/json acme ops slack"
    )


def test_every_name_of_an_event_is_there():
    sent = event(expires_at=NOW)

    text = "".join(f"{{{{ event.{name} }}}}" for name in EVENT_NAMES)

    assert problem(text, Form.TEXT) == ""
    assert names(sent, {})["event"].keys() == set(EVENT_NAMES)


def test_the_built_in_message_can_be_built_upon():
    body = {"items": [{"item_id": "a", "status": "failed", "error": "too slow"}]}

    text = told(
        "{{ message.title }}: {{ message.failures[0].error }} ({{ message.severity }})",
        body,
    )

    assert text == "Batch bat_1 finished with failures: too slow (warning)"


def test_a_field_may_have_the_name_of_a_method():
    body = {"items": [{"keys": "a"}, {"keys": "b"}], "values": 3, "get": {"pop": 4}}

    text = told(
        "{% for i in data.items %}{{ i.keys }}{% endfor %}"
        "{{ data.values }}{{ data.get.pop }}",
        body,
    )

    assert text == "ab34"


def test_values_print_as_json_has_them():
    body = {"t": True, "n": None, "f": 1.5, "o": {"a": [1, "é"]}}

    assert told("{{ data.t }}|{{ data.n }}|{{ data.f }}|{{ data.o }}", body) == (
        'true||1.5|{"a": [1, "é"]}'
    )


@pytest.mark.parametrize("body", [None, [], "text", 7, {"summary": None}])
def test_a_missing_field_is_named_in_the_text(body):
    text = told("{{ data.summary.total }}", body)

    assert text in ("[summary is missing]", "[total is missing]")


def test_a_missing_field_is_false_and_empty_and_can_have_another_word():
    text = told(
        "{% if data.a %}yes{% endif %}{% for x in data.b.c %}{{ x }}{% endfor %}"
        "{{ data.d.e | default('none') }}"
    )

    assert text == "none"


# -- what is wrong with one


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("ok\n{{ data.x }", "line 2: unexpected '}'"),
        ("{% for x in data.y %}\n{{ x }}", "line 2: Unexpected end of template."),
        ("\n\n{{ data.x | nofilter }}", "line 3: No filter named 'nofilter'."),
        ("a\n{{ evnt.id }}", 'line 2: there is no "evnt" (did you mean "event"?)'),
        ("{{ event.kind2 }}", 'line 1: there is no "event.kind2"'),
        ("{{ request.body }}", 'line 1: there is no "request.body"'),
        ("{% include 'x' %}", "line 1: there are no other templates"),
        ("{% from 'x' import y %}", "line 1: there are no other templates"),
        ("{{ " + "(" * 3000, "is nested too deeply"),
        ("{% for a in data %}" * 30 + "{% endfor %}" * 30, "is nested too deeply"),
    ],
)
def test_a_template_that_cannot_work_is_a_problem_with_its_line(source, wrong):
    assert problem(source, Form.TEXT).startswith(wrong)


def test_a_name_the_template_makes_itself_is_known():
    source = (
        "{% set event_count = 3 %}{% macro m(a) %}{{ a }}{% endmacro %}"
        "{% for x in data.items %}{{ loop.index }}{{ m(x) }}{% endfor %}"
        "{{ event_count }}{{ range(2) | list | length }}"
    )

    assert problem(source, Form.TEXT) == ""


def test_reading_a_template_works_nothing_out():
    assert (
        problem("{{ 10 ** (10 ** 10) }}{{ 'x' | center(10 ** 10) }}", Form.TEXT) == ""
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ event.id }}\n{{ data.total + 1 }}", "line 2: "),
        ("{{ data.n > 5 }}", "line 1: "),
        ("{{ data.s.missing() }}", "line 1: "),
        ("{{ 1 / 0 }}", "line 1: division by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it calls itself"),
        ("{% if data.n %}news{% endif %}\n ", "it says nothing"),
        ("{% for i in range(99999) %}{{ 'x' * 100 }}{% endfor %}", "longer than 256"),
        ("{% for i in range(100001) %}{% endfor %}", "line 1: Range too big"),
    ],
)
def test_a_template_that_fails_on_an_event_says_where_and_why(source, why):
    assert why in failed(source, {"n": None, "s": "text"})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ data.__init__.__globals__ }}",
        "{{ message.noting.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ '{0.__class__.__mro__}'.format(data) }}",
    ],
)
def test_nothing_of_the_program_can_be_reached(source):
    sent = event({"a": 1})
    try:
        text = render(source, Form.TEXT, names(sent, {"name": "ops"}))
    except TemplateFailed:
        return

    assert re.fullmatch(r"\[.* is missing\]", text)


@pytest.mark.parametrize(
    "source",
    ["{{ data.update({'a': 2}) }}", "{{ data.pop('a') }}", "{{ data.l.append(1) }}"],
)
def test_an_event_cannot_be_changed(source):
    assert "is unsafe" in failed(source, {"a": 1, "l": []})


# -- what a value cannot do

HOSTILE = [
    "<!channel> <@U1> <https://evil.example|ok> &",
    '"><script>alert(1)</script>',
    '", "x": "y',
    "\\",
    "{{ 7 * 7 }} {% for i in range(9) %}",
    "a\x00\x1b[31m\u202eb\ud800",
    "'`*_~|",
    "</td>\r\n.\r\nBcc: x",
]
WAYS = [
    "{{ data.x }}",
    "{{ data.x | e }}",
    "{% set y %}{{ data.x }}{% endset %}{{ y }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(data.x) }}",
    "{{ [data.x, 'b'] | join(',') }}",
    "{{ 'a' ~ data.x }}",
    "{{ '%s' | format(data.x) }}",
    "{{ {'k': data.x, data.x: 1} }}",
    "{{ data[data.x] }}",
    "{{ [data[data.x], data.x] | join }}",
    "{% filter trim %}{{ data.x }}{% endfilter %}",
    "{{ data | tojson }}",
    "{{ data.x | striptags }}",
    "{% autoescape false %}{{ data.x }}{% endautoescape %}",
]


def harmless_text(text: str) -> bool:
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_only_text_in_slacks_markup(way, value):
    text = told(way, {"x": value}, Form.MRKDWN)

    assert not set(text) & set("<>")
    assert not re.search(r"&(?!amp;|lt;|gt;|#)", text)
    assert harmless_text(text)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)
        self.found += [name for name, _ in attrs]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_only_text_in_html(way, value):
    page = told(f"<p>{way}</p>", {"x": value}, Form.HTML)

    tags = Tags()
    tags.feed(page)
    assert tags.found == ["p"]
    assert harmless_text(page)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_in_an_attribute_stays_in_it(value):
    page = told('<a title="{{ data.x }}">x</a>', {"x": value}, Form.HTML)

    tags = Tags()
    tags.feed(page)
    assert tags.found == ["a", "title"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_only_text_in_blocks(value):
    text = told(
        '[{"quoted": "{{ data.x }}", "json": {{ data.x | tojson }}, '
        '"all": {{ data | tojson }}, "macro": "{% set y %}{{ data.x }}{% endset %}{{ y }}"}]',
        {"x": value},
        Form.BLOCKS,
    )

    [block] = json.loads(text)
    assert list(block) == ["quoted", "json", "all", "macro"]
    assert block["quoted"] == block["macro"]
    assert not set(json.dumps(block, ensure_ascii=False)) & set("<>")


@given(st.text())
def test_any_text_in_blocks_is_only_text(value):
    text = told('["{{ data.x }}", {{ data.x | tojson }}]', {"x": value}, Form.BLOCKS)

    found = json.loads(text)
    assert len(found) == 2
    assert not set("".join(found)) & set("<>")


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("way", WAYS)
def test_a_value_has_no_control_characters_in_a_text(way, value):
    assert harmless_text(told(way, {"x": value}))


def test_lines_of_a_value_stay_lines():
    assert told("{{ data.x }}", {"x": "a\r\nb\tc\rd"}) == "a\nb\tc d"


@FORMS
def test_what_the_author_writes_is_taken_as_it_is(form):
    assert told("<!here> <b>\n{{ event.id }}", form=form) == (
        "<!here> <b>\nevt_0000000000000001"
    )


@FORMS
@pytest.mark.parametrize(
    "value", ["javascript:alert(1)", "https://x/|y", 'https://x/"y', "https://x/>", 7]
)
def test_only_a_web_address_passes_as_one(form, value):
    assert told("[{{ data.x | address }}]", {"x": value}, form) == "[]"


def test_an_address_is_written_as_its_place_needs_it():
    body = {"x": "https://x.example/?a=1&b=2"}

    found = {form: told("{{ data.x | address }}", body, form) for form in Form}

    assert found == {
        Form.TEXT: "https://x.example/?a=1&b=2",
        Form.HTML: "https://x.example/?a=1&amp;b=2",
        Form.MRKDWN: "https://x.example/?a=1&amp;b=2",
        Form.BLOCKS: "https://x.example/?a=1&b=2",
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=15,
    ),
    st.text(),
    st.sampled_from(State),
    st.sampled_from(Form),
)
def test_any_event_can_be_told(body, subject, state, form):
    source = "{{ event.subject }} {{ data }} {{ data.a.b }} {{ message.title }}"

    text = told(source, body, form, subject=subject, state=state)

    assert text.encode()
