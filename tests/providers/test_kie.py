"""What is particular to kie.ai: an unsigned body, and families that share little."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from receiver.providers.verification import verify
from receiver.repeats import compare
from tests import making

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET = "the one secret"
KIE = making.provider("kie", SECRET)
COLLECTED = Path(__file__).parents[1] / "samples"


def read(body: Any, **more: Any) -> Reading:
    raw = json.dumps(body).encode()
    provider = making.provider("kie", SECRET, **more)
    return provider.read(Request({}, {}, raw, NOW), body)


def refusal(body: Any, **more: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(body, **more)
    assert caught.value.status == 400
    return caught.value


def sample(name: str) -> Any:
    return json.loads(samples("kie", "t", NOW)[name].body)


def task(**data: Any) -> dict[str, Any]:
    return {"code": 200, "data": {"taskId": "t", **data}}


# -- the id


PLACES = {
    "data.taskId": {"data": {"taskId": "t"}},
    "data.task_id": {"data": {"task_id": "t"}},
    "taskId": {"taskId": "t", "data": None},
    "task_id": {"task_id": "t"},
    "two": {"taskId": "t", "data": {"task_id": "t"}},
    "null": {"taskId": None, "data": {"taskId": "", "task_id": "t"}},
}


@pytest.mark.parametrize("body", PLACES.values(), ids=PLACES)
def test_the_signed_id_is_found_in_any_of_its_places(body):
    sent = outgoing(KIE, json.dumps(body).encode(), NOW)

    verify(KIE, Request(sent.headers, {}, sent.body, NOW))

    assert read(body).subject == "t"


def test_a_signature_for_one_task_brings_no_event_of_another_in():
    sent = outgoing(KIE, json.dumps(task(state="success")).encode(), NOW)
    places = [("taskId",), ("task_id",), ("data", "taskId"), ("data", "task_id")]
    for theirs in places:
        for ours in places:
            body: dict[str, Any] = {"data": {}}
            for place, value in ((theirs, "another"), (ours, "t")):
                inner = body if len(place) == 1 else body["data"]
                inner[place[-1]] = value
            asked = Request(sent.headers, {}, json.dumps(body).encode(), NOW)
            verify(KIE, asked)  # it is right for one of them

            if theirs == ours:
                assert read(body).subject == "t"
            else:
                assert refusal(body).code == "task_id_mismatch"


def test_another_task_than_the_signed_one_is_refused():
    sent = outgoing(KIE, json.dumps(task()).encode(), NOW)
    body = json.dumps({"data": {"taskId": "another"}}).encode()

    with pytest.raises(Rejected, match="no configured secret"):
        verify(KIE, Request(sent.headers, {}, body, NOW))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "id_missing"),
        (b"[]", "id_missing"),
        (b'{"taskId":1}', "id_missing"),
        (b'{"taskId":""}', "id_missing"),
        (b'{"taskId":"t","taskId":"t"}', "id_missing"),
        (b'{"taskId":"%s"}' % (b"t" * 201), "id_missing"),
        (b'{"taskId":"t","x":"%s"}' % (b"x" * 262_144), "body_too_large"),
    ],
)
def test_a_body_without_a_usable_id_is_refused_before_anything_else(body, code):
    sent = outgoing(KIE, b'{"taskId":"t"}', NOW)

    with pytest.raises(Rejected) as caught:
        verify(KIE, Request(sent.headers, {}, body, NOW))

    assert caught.value.code == code


@pytest.mark.parametrize(
    "body", [{}, {"taskId": 1}, {"taskId": ["t"]}, {"taskId": "t" * 201}, [], None]
)
def test_a_body_let_in_by_a_token_needs_a_usable_id_too(body):
    assert refusal(body).code == "malformed_body"


# -- states


@pytest.mark.parametrize(
    ("words", "state", "kind"),
    [
        (("wait", "waiting", "pending"), State.PENDING, "task.progress"),
        (("queueing", "queuing"), State.PENDING, "task.progress"),
        (("generating", "running"), State.RUNNING, "task.progress"),
        (("success",), State.SUCCEEDED, "task.succeeded"),
        (("fail", "FAIL"), State.FAILED, "task.failed"),
        (("invented", 1), State.UNKNOWN, "task.progress"),
    ],
)
def test_every_word_for_a_state_is_known(words, state, kind):
    for word in words:
        reading = read(task(state=word))

        assert (reading.state, reading.type) == (state, kind)
        assert reading.final == (state in (State.SUCCEEDED, State.FAILED))


@pytest.mark.parametrize(
    ("code", "part", "state"),
    [
        (200, None, State.SUCCEEDED),
        ("200", "complete", State.SUCCEEDED),
        (200, "task_completed", State.SUCCEEDED),
        (200, "text", State.RUNNING),
        (200, "first", State.RUNNING),
        (200, "error", State.SUCCEEDED),
        (400, "complete", State.FAILED),
        (501, None, State.FAILED),
        (500, "text", State.FAILED),
        (None, None, State.UNKNOWN),
        ("broken", None, State.UNKNOWN),
        (True, None, State.UNKNOWN),
    ],
)
def test_without_a_state_the_code_judges(code, part, state):
    body = {"code": code, "data": {"task_id": "t", "callbackType": part}}

    assert read(body).state is state


def test_a_code_of_failure_beats_a_word_that_is_not_known():
    assert read({**task(state="invented"), "code": 501}).state is State.FAILED


def test_progress_is_no_success_only_because_its_code_is_200():
    assert read(task(progress=45)).state is State.RUNNING
    assert read(task(progress=100, resultUrls="https://example.com/a")).final


# -- keys


def test_a_task_ends_once_and_another_end_is_a_conflict():
    first, second = read(sample("task.succeeded")), read(sample("task.failed"))
    other = read(task(state="success", resultJson={"u": "https://example.com/b"}))

    assert first.key == second.key == other.key == "t:end"
    assert compare(first.facts, second, first.result_urls) == "conflict"
    assert compare(first.facts, other, first.result_urls) == "conflict"
    assert compare(first.facts, first, first.result_urls) == "repeat"


def test_the_4k_version_is_an_event_of_its_own():
    names = ("veo-4k.succeeded", "veo-4k.failed")
    unnamed = task(info={"imageUrls": [], "resultUrls": ["https://example.com/a"]})

    keys = {read(body).key for body in (*map(sample, names), unnamed)}

    assert keys == {"t:4k"}
    assert read(sample("veo.succeeded")).key == "t:end"


def test_stages_and_different_progress_are_events_of_their_own():
    stages = [read(sample(name)).key for name in ("suno.text", "suno.first")]
    halves = {read(task(state="generating", progress=p)).key for p in (1, 2, 2)}

    assert stages == ["t:text", "t:first"]
    assert len(halves) == 2


# -- results


RESULTS = {
    "text": task(resultJson='{"resultUrls":["https://example.com/a"]}'),
    "object": task(resultJson={"resultUrls": ["https://example.com/a"]}),
    "text of a text": task(resultJson=json.dumps('["https://example.com/a"]')),
    "list": task(info={"resultUrls": ["https://example.com/a"]}),
    "list in a text": task(info={"resultUrls": '["https://example.com/a"]'}),
    "plain": task(resultUrls=["https://example.com/a"]),
    "one": task(video_url="https://example.com/a"),
    "aleph": {"taskId": "t", "data": {"result_video_url": "https://example.com/a"}},
    "request": task(
        video_url="https://example.com/a",
        param={"callBackUrl": "https://ours.test/"},
        promptJson='{"imageUrls":["https://ours.test/"]}',
    ),
    "upstream": task(
        info={
            "resultUrls": ["https://example.com/a"],
            "originUrls": ["http://x.kie.ai"],
        }
    ),
}


@pytest.mark.parametrize("body", RESULTS.values(), ids=RESULTS)
def test_results_are_found_wherever_a_family_has_them(body):
    assert read(body).result_urls == ("https://example.com/a",)


def test_of_several_tracks_the_audio_comes_first_and_what_it_was_made_from_not_at_all():
    assert read(sample("suno.complete")).result_urls == (
        *("https://example.com/1.mp3", "https://example.com/2.mp3"),
        *("https://example.com/1.jpeg", "https://example.com/2.jpeg"),
    )


@pytest.mark.parametrize("result", [None, "", "{}", {}, [], "null", 7])
def test_a_success_without_results_is_a_success(result):
    reading = read(task(state="success", resultJson=result))

    assert (reading.state, reading.result_urls) == (State.SUCCEEDED, ())
    assert reading.expires_at is None


def test_results_expire_after_a_day_and_runways_after_two_weeks():
    day, weeks = timedelta(hours=24), timedelta(days=14)

    assert read(sample("task.succeeded")).expires_at == NOW + day
    assert read(sample("suno.complete")).expires_at == NOW + day
    assert read(sample("runway.succeeded")).expires_at == NOW + weeks
    assert read(RESULTS["aleph"]).expires_at == NOW + weeks


@pytest.mark.parametrize(
    ("data", "spent"),
    [
        ({"consumeCredits": 100}, 100),
        ({"creditsConsumed": 61.5}, 61.5),
        ({"consumeCredits": "100"}, None),
        ({"consumeCredits": True}, None),
        ({"consumeCredits": float("inf")}, None),
        ({"consumeCredits": 10**400}, None),
    ],
)
def test_what_it_cost_is_a_fact_under_either_name(data, spent):
    assert read(task(state="success", **data)).facts.get("credits") == spent


def test_the_time_is_when_it_was_done():
    done = int(NOW.timestamp() * 1000)

    assert read(task(state="success", completeTime=done)).occurred_at == NOW
    assert read(task(state="running", updateTime=done)).occurred_at == NOW
    assert read(task(state="fail", completeTime=0)).occurred_at is None


@pytest.mark.parametrize("name", ["sora2-success", "sora2-fail", "veo-success"])
def test_what_kie_documents_can_be_read(name):
    body = json.loads((COLLECTED / f"kie-{name}.json").read_text())

    reading = read(body)

    assert reading.state is (State.FAILED if "fail" in name else State.SUCCEEDED)
    assert len(reading.result_urls) == ("success" in name)


# -- hosts


EVIL = "https://evil.test/a"
SMUGGLED: Mapping[str, Any] = {
    "result": task(resultJson=json.dumps({"resultUrls": [EVIL]})),
    "second": task(resultUrls=["https://example.com/a", EVIL]),
    "upstream": task(info={"originUrls": [EVIL]}),
    "unknown name": task(anything={"deep": [[{"x": EVIL}]]}),
    "outside data": {**task(), "url": EVIL},
    "user name": task(video_url="https://example.com@evil.test/"),
    "backslash": task(video_url="https://evil.test\\@example.com/"),
    "relative": task(video_url="//evil.test/a"),
    "other scheme": task(video_url="ftp://evil.test/a"),
    "upper case": task(video_url="HTTPS://EVIL.TEST/a"),
    "white space": task(video_url="\n https://evil.test/a"),
    "text of a text": task(resultJson=json.dumps(json.dumps([EVIL]))),
}


@pytest.mark.parametrize("body", SMUGGLED.values(), ids=SMUGGLED)
def test_a_link_to_a_host_that_is_not_known_is_refused(body):
    assert refusal(body).code == "result_host_unknown"
    assert read(body, hosts=("*",)).subject == "t"


def test_the_refusal_names_the_host_and_the_setting_but_not_the_link():
    body = task(video_url="https://evil.test/a?signature=secret")

    message = refusal(body).message

    assert "evil.test" in message
    assert "hosts" in message
    assert "secret" not in message


def test_the_hosts_are_those_of_the_source():
    body = task(video_url="https://files.mine.test/a")

    assert read(body, hosts=("*.mine.test",)).result_urls
    assert refusal(sample("task.succeeded"), hosts=("*.mine.test",))


@pytest.mark.parametrize(
    "text",
    ['{"a":["https://evil.test/"],"a":[]}', '{"a":"https://evil.test/"', "[\ud800"],
)
def test_results_that_are_not_json_are_refused_as_nobody_can_check_them(text):
    refused = refusal(task(state="success", resultJson=text))

    assert refused.code == "malformed_body"
    assert "resultJson" in refused.message


def test_a_body_of_any_depth_is_looked_through():
    deep: Any = EVIL
    for _ in range(50_000):
        deep = [deep]

    with pytest.raises(Rejected, match=r"evil\.test"):
        KIE.read(Request({}, {}, b"", NOW), task(x=deep))


# -- configuring


def test_hosts_must_be_hosts():
    provider = making.provider("kie", SECRET, hosts=("https://a.test", "a.test"))
    empty = making.provider("kie", SECRET, hosts=())

    assert [field for field, _, _ in provider.problems()] == ["hosts[0]"]
    assert [field for field, _, _ in empty.problems()] == ["hosts"]


def test_it_warns_where_only_a_signature_that_covers_no_links_protects_them():
    signed = making.provider("kie", SECRET, hosts=("*",))
    secured = making.provider("kie", SECRET, hosts=("*",), token="x")

    assert [field for field, _ in signed.warnings()] == ["hosts"]
    assert not list(secured.warnings())
    assert not list(KIE.warnings())


def test_half_a_surrogate_pair_in_a_text_of_json_is_no_reason_to_refuse():
    texts = {"resultUrls": ["https://example.com/a"], "prompt": "cut \ud83d"}
    result = json.dumps(texts, ensure_ascii=False)

    reading = read(task(state="success", resultJson=result))

    assert reading.result_urls == ("https://example.com/a",)


def test_half_a_surrogate_pair_does_not_end_a_host():
    result = json.dumps(["https://example.com\ud83d.evil.example"], ensure_ascii=False)

    refused = refusal(task(state="success", resultJson=result))

    assert refused.code == "result_host_unknown"
