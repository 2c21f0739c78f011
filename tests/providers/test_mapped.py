"""What places make of a body: keys, types, states, times, links and facts."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers.body import parse
from tests.making import configured
from tests.providers.test_places import expressions, json_values, paths, templates

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)


def read(data: Any, headers: dict[str, str] | None = None, **table: Any) -> Reading:
    provider = configured("hmac", allow_unsigned=True, **table)
    assert not list(provider.problems())
    body = json.dumps(data).encode()
    return provider.read(Request(headers or {}, {}, body, NOW), data)


def refused(data: Any, **table: Any) -> str:
    with pytest.raises(Rejected) as caught:
        read(data, **table)
    assert (caught.value.status, caught.value.code) == (400, "malformed_body")
    return caught.value.message


def test_of_several_places_the_first_that_is_there_counts():
    table: dict[str, Any] = {"subject": ["task.id", "task_id", "''"]}

    assert read({"task": {"id": "a"}, "task_id": "b"}, **table).subject == "a"
    assert read({"task": {"id": None}, "task_id": "b"}, **table).subject == "b"
    assert read({"task": {"id": ["a"]}, "task_id": 7}, **table).subject == "7"
    assert read({}, **table).subject == ""


def test_what_is_missing_is_named_with_its_setting_and_its_place():
    assert refused({}, key="{id}:{status}") == (
        "key: {id}:{status} is not there as a text or a number"
    )
    assert refused({}, type=["kind", "header:x-kind"]) == (
        "type: neither kind nor header:x-kind is there as a text or a number"
    )
    assert refused({"a": [1]}, subject="a").startswith("subject: a is not there")
    assert refused({}, key="''").startswith("key: '' is not there")


def test_without_a_key_only_the_same_bytes_are_the_same_event():
    one = read({"id": "a", "type": "t", "status": "succeeded", "n": 1})
    again = read({"id": "a", "type": "t", "status": "succeeded", "n": 1})
    other = read({"id": "a", "type": "t", "status": "succeeded", "n": 2})

    assert one.key == again.key
    assert one.key.startswith("a:t:")
    assert other.key != one.key


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("done", State.SUCCEEDED),
        ("task.completed", State.SUCCEEDED),
        ("task.stopped.completed", State.CANCELLED),
        ("error", State.FAILED),
        ("running", State.RUNNING),
        (200, State.SUCCEEDED),
        (True, State.SUCCEEDED),
        ("Done", State.UNKNOWN),
        ("done" * 100, State.UNKNOWN),
        ("", State.UNKNOWN),
        (None, State.UNKNOWN),
        ({"done": 1}, State.UNKNOWN),
    ],
)
def test_words_become_states(word, state):
    states = {
        "done": "succeeded",
        "task.stopped.*": "cancelled",
        "*.completed": "succeeded",
        "error": "failed",
        "200": "succeeded",
        "true": "succeeded",
    }

    reading = read({"id": "a", "w": word}, state="w", states=states)

    assert reading.state is state
    assert reading.final is (state not in (State.UNKNOWN, State.RUNNING))
    assert reading.facts["state"] == state


def test_which_states_are_final_can_be_said():
    failed = read({"id": "a", "status": "failed"}, final=["succeeded"])
    succeeded = read({"id": "a", "status": "succeeded"}, final=["succeeded"])

    assert not failed.final
    assert succeeded.final


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-24T10:00:00Z", datetime(2026, 1, 24, 10, tzinfo=UTC)),
        ("2026-01-24T11:00:00+01:00", datetime(2026, 1, 24, 10, tzinfo=UTC)),
        ("2026-01-24 10:00:00", datetime(2026, 1, 24, 10, tzinfo=UTC)),
        (1769248800, datetime(2026, 1, 24, 10, tzinfo=UTC)),
        (1769248800.5, datetime(2026, 1, 24, 10, 0, 0, 500_000, tzinfo=UTC)),
        (1769248800_000, datetime(2026, 1, 24, 10, tzinfo=UTC)),
        ("1769248800", datetime(2026, 1, 24, 10, tzinfo=UTC)),
        ("1769248800000", datetime(2026, 1, 24, 10, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("yesterday", None),
        ("9" * 5000, None),
        (10**300, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (-1, None),
        ([], None),
    ],
)
def test_times_are_read_in_the_forms_senders_use(value, moment):
    assert read({"id": "a", "at": value}, occurred_at="at").occurred_at == moment


def test_a_time_may_come_out_of_an_expression():
    found = read(
        {"id": "a", "day": "2026-01-24"},
        occurred_at='timestamp(data.day + "T10:00:00Z")',
    )

    assert found.occurred_at == datetime(2026, 1, 24, 10, tzinfo=UTC)


def test_links_are_collected_from_all_places_each_once():
    data = {
        "id": "a",
        "results": [{"url": "https://a/1"}, {"url": "ftp://a"}, {}],
        "url": "https://a/2",
        "more": ["https://a/1", "https://a/3", 5],
    }

    reading = read(data, result_urls=["results[].url", "url", "more", "missing"])

    assert reading.result_urls == ("https://a/1", "https://a/2", "https://a/3")
    assert reading.expires_at is None


def test_links_expire_counted_from_when_it_happened():
    data = {"id": "a", "url": "https://a/1", "at": "2026-01-24T10:00:00Z"}
    table: dict[str, Any] = {"result_urls": "url", "expires_after": "2h"}

    at = read(data, occurred_at="at", **table).expires_at
    received = read(data, **table).expires_at

    assert at == datetime(2026, 1, 24, 12, tzinfo=UTC)
    assert received == NOW + timedelta(hours=2)
    assert read({"id": "a"}, **table).expires_at is None


def test_facts_are_plain_values():
    data = {
        "id": "a",
        "n": 5,
        "big": 2**60,
        "half": 0.5,
        "nan": float("nan"),
        "text": "x" * 9000,
        "list": [1],
        "yes": True,
    }
    wanted = {name: name for name in data} | {"either": ["list", "n"]}

    facts = read(data, facts=wanted).facts

    assert facts == {
        "type": "webhook.received",
        "state": "unknown",
        "id": "a",
        "n": 5,
        "big": str(2**60),
        "half": 0.5,
        "text": "x" * 500,
        "yes": True,
        "either": 5,
    }


def test_wrong_places_are_problems_with_their_key():
    provider = configured(
        "hmac",
        allow_unsigned=True,
        key="a..b",
        subject=["id", "results[*].id"],
        facts={"progress": "1 +"},
        result_urls=["url"],
    )

    problems = {field: (message, hint) for field, message, hint in provider.problems()}

    assert problems.keys() == {"key", "subject[1]", "facts.progress"}
    assert "line 1, column 3" in problems["key"][0]
    assert "header:NAME" in problems["key"][1]


@given(
    data=json_values,
    places=st.lists(
        paths | templates.map(":".join) | expressions, min_size=6, max_size=6
    ),
)
def test_any_places_in_any_body_give_a_reading_or_a_refusal(data, places):
    names = ("key", "type", "subject", "state", "occurred_at", "result_urls")
    table = dict(zip(names, places, strict=True))
    provider = configured("hmac", **table, facts={"one": places[0]}, expires_after="1h")

    try:
        reading = provider.read(Request({}, {}, b"", NOW), data)
    except Rejected as rejected:
        assert rejected.status == 400  # noqa: PT017 (either is right)
    else:
        assert reading.key
        assert reading.type
        assert json.loads(json.dumps(reading.facts, allow_nan=False))


def test_a_body_as_large_as_may_be_is_read_at_once():
    body = json.dumps({"id": "a", "urls": [f"https://a/{i}" for i in range(100_000)]})

    reading = read(parse(body.encode()), result_urls="urls[]")

    assert len(reading.result_urls) == 100_000


def test_texts_that_differ_behind_a_nul_make_different_keys():
    sender = configured("hmac", token="t", key="data.a + ':' + data.b")
    bodies = (rb'{"a":"x","b":"y\u0000 1"}', rb'{"a":"x","b":"y\u0000 2"}')

    keys = {sender.read(Request({}, {}, b, NOW), parse(b)).key for b in bodies}

    assert len(keys) == 2


def test_a_key_keeps_apart_what_it_is_made_of():
    table: dict[str, Any] = {"key": "v1:{user}:{document}-{version}"}
    table |= {"type": "{user}:{document}"}
    bodies = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a", "b-1"), ("a-1", "b")]

    readings = [
        read({"user": user, "document": document, "version": 1}, **table)
        for user, document in bodies
    ]

    assert len({reading.key for reading in readings}) == len(bodies)
    assert readings[0].type == "a:b:c"


def test_a_key_of_parts_that_are_not_apart_is_a_problem():
    sender = configured("hmac", token="t", key="{a}{b}", type="{a}{b}")

    [(field, message, _)] = sender.problems()

    assert field == "key"
    assert message == "there is nothing between two places"
