"""What is made of a status API's answers, without any network."""

import json
from typing import Any

import pytest

from receiver.models import Reading, Request, State
from receiver.providers import names
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.providers.status import (
    APIS,
    Found,
    KeyRefused,
    Made,
    Query,
    Reply,
    Unanswered,
    UnknownSubject,
    api_called,
)
from receiver.repeats import compare
from tests.apis import KEY, Sora2Api, batch, items, kie_task, veo_task
from tests.making import NOW, provider


def conversed(api: str, subject: str, *answers: Any) -> tuple[Found, list[Query]]:
    """What is found with these answers: JSON with status 200, or replies."""
    asked: list[Query] = []
    conversation = api_called(api).ask(subject)
    query = next(conversation)
    left = iter(answers)
    while True:
        asked.append(query)
        answer = next(left)
        reply = answer if isinstance(answer, Reply) else Reply(200, answer)
        try:
            query = conversation.send(reply)
        except StopIteration as end:
            assert next(left, None) is None, "it asked for less"
            return end.value, asked


def read(name: str, webhook: Made) -> Reading:
    asked = Request(webhook.headers, {}, webhook.body, NOW)
    return provider(name, "whsec_c2VjcmV0IGZvciB0ZXN0cyBvbmx5ISE=").read(
        asked, parse(webhook.body)
    )


def as_sent(name: str, kind: str) -> Reading:
    """What a real webhook of this kind is read as."""
    sample = samples(name, "bat_1", NOW)[kind]
    return read(name, Made(sample.body, sample.headers))


def found_in_sora2(detail: dict[str, Any], rows: list[dict[str, Any]]) -> Found:
    """What is found when the stand-in of the API has this batch."""
    api = Sora2Api({"bat_1": detail}, {"bat_1": rows})
    conversation = api_called("sora2").ask("bat_1")
    query = next(conversation)
    while True:
        tail = "&".join(f"{name}={value}" for name, value in query.parameters.items())
        reply = Reply(*api.answer(f"{query.path}?{tail}", {"x-api-key": KEY}))
        try:
            query = conversation.send(reply)
        except StopIteration as end:
            found: Found = end.value
            return found


# -- every API


def test_every_api_is_one_of_a_provider_that_names_it():
    named = {provider(name).status_api for name in names()} - {""}

    assert named == set(APIS)
    assert all(api_called(name).base.startswith("https://") for name in APIS)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("subject", ["", ".", "..", "x" * 201])
def test_what_cannot_be_part_of_an_address_is_unknown(api, subject):
    with pytest.raises(UnknownSubject):
        next(api_called(api).ask(subject))


@pytest.mark.parametrize(
    ("api", "subject"),
    [
        ("sora2", "a/../b?c"),
        ("sophon", "a/../b?c"),
        ("openai", "video_a/../b?c"),
        ("replicate", "a/../b?c"),
    ],
)
def test_a_subject_is_escaped_in_the_path(api, subject):
    query = next(api_called(api).ask(subject))

    assert query.path.endswith("a%2F..%2Fb%3Fc")


@pytest.mark.parametrize("api", ["sora2", "sophon", "replicate"])
def test_an_answer_about_something_else_is_none(api):
    with pytest.raises(Unanswered):
        conversed(api, "bat_1", {"id": "bat_2", "batch_id": "bat_2", "status": "x"})


@pytest.mark.parametrize("api", ["sora2", "sophon", "replicate"])
def test_a_404_of_the_api_is_not_one_of_a_web_server(api):
    with pytest.raises(UnknownSubject):
        conversed(api, "bat_1", Reply(404, {"error": "NOT_FOUND"}))
    with pytest.raises(Unanswered):
        conversed(api, "bat_1", Reply(404, None))
    with pytest.raises(Unanswered):
        conversed(api, "bat_1", ["no", "object"])


REAL = [
    ("sora2", "batch.completed", [batch(), {"items": items(10, failed=1)}, {}], 0),
    ("sora2", "batch.refunded", [batch(), {"items": items(10, failed=1)}, {}], 1),
    ("sora2", "as-sent", [batch(), {"items": []}, {"entries": []}], 0),
    (
        "sora2",
        "batch.failed",
        [
            batch(
                status="failed",
                succeeded_count=0,
                failed_count=0,
                credits_reserved=0,
                credits_settled=0,
                credits_refunded=0,
            ),
            {"items": []},
        ],
        0,
    ),
    (
        "sora2",
        "batch.created",
        [batch(status="queued", credits_settled=0, credits_refunded=0)],
        0,
    ),
    ("sora2", "batch.running", [batch(status="processing")], 0),
    ("kie", "task.succeeded", [{"code": 200, "data": kie_task()}], 0),
    (
        "kie",
        "task.failed",
        [{"code": 200, "data": kie_task(state="fail", resultJson=None)}],
        0,
    ),
    (
        "kie",
        "veo.succeeded",
        [{"code": 422, "data": None}, {"code": 200, "data": veo_task()}],
        0,
    ),
    (
        "kie",
        "veo.failed",
        [
            {"code": 422},
            {"code": 200, "data": veo_task(successFlag=3, errorCode=400, response={})},
        ],
        0,
    ),
    (
        "kie",
        "veo-4k.succeeded",
        [
            {"code": 422},
            {
                "code": 200,
                "data": veo_task(
                    fallbackFlag=None,
                    response={
                        "resultUrls": ["http://example.com/video1.mp4"],
                        "imageUrls": ["http://example.com/image.png"],
                        "mediaIds": ["m"],
                    },
                ),
            },
        ],
        0,
    ),
    *[
        (
            "sophon",
            f"job.{word}",
            [{"id": "bat_1", "status": word, "metadata": {"order": "A-17"}}],
            0,
        )
        for word in ("completed", "failed", "canceled")
    ],
    (
        "replicate",
        "prediction.succeeded",
        [{"id": "bat_1", "status": "succeeded", "output": None, "data_removed": True}],
        0,
    ),
    ("replicate", "prediction.failed", [{"id": "bat_1", "status": "failed"}], 0),
]


@pytest.mark.parametrize(
    ("name", "kind", "answers", "which"), REAL, ids=[f"{r[0]} {r[1]}" for r in REAL]
)
def test_what_is_made_is_the_event_the_real_webhook_would_have_been(
    name, kind, answers, which
):
    found, _ = conversed(name, "bat_1", *answers)

    ours, real = read(name, found.webhooks[which]), as_sent(name, kind)

    assert (ours.key, ours.type, ours.subject) == (real.key, real.type, real.subject)
    assert (ours.state, ours.final) == (real.state, real.final)
    assert compare(ours.facts, real, ours.result_urls) != "conflict"
    assert compare(real.facts, ours, real.result_urls) != "conflict"


@pytest.mark.parametrize(
    ("subject", "word"),
    [
        ("video_1", "completed"),
        ("video_1", "failed"),
        ("batch_1", "completed"),
        ("batch_1", "expired"),
        ("batch_1", "cancelled"),
    ],
)
def test_an_object_of_openai_that_ended_makes_its_webhook(subject, word):
    kind = subject.partition("_")[0]
    answer = {"id": subject, "status": word, "created_at": 1758941400}

    found, asked = conversed("openai", subject, answer)

    real = {"id": "evt_1", "type": f"{kind}.{word}", "data": {"id": subject}}
    there = Made(json.dumps(real).encode(), {"webhook-id": "wh_1"})
    ours = read("openai", found.webhooks[0])
    assert asked[0].path == f"/{'videos' if kind == 'video' else 'batches'}/{subject}"
    assert ours.key == read("openai", there).key
    assert ours.type == f"{kind}.{word}"
    assert ours.final
    assert ours.occurred_at is not None


@pytest.mark.parametrize(
    ("api", "subject", "answers"),
    [
        ("kie", "t", [{"code": 200, "data": kie_task(taskId="t", state="queuing")}]),
        (
            "kie",
            "veo_task_1",
            [{"code": 200, "data": veo_task(taskId="veo_task_1", successFlag=0)}],
        ),
        ("sophon", "j", [{"id": "j", "status": "encoding"}]),
        ("openai", "video_1", [{"id": "video_1", "status": "in_progress"}]),
        ("replicate", "p", [{"id": "p", "status": "processing"}]),
        ("sora2", "bat_1", [batch(status="a new word")]),
    ],
)
def test_of_what_goes_on_no_webhook_is_made_up(api, subject, answers):
    found, _ = conversed(api, subject, *answers)

    assert not found.final
    assert found.webhooks == ()
    assert found.word


# -- Sora2


def test_a_batch_of_sora2_has_all_its_items_and_what_was_refunded():
    rows = items(250, failed=2)

    found = found_in_sora2(
        batch(total_count=250, succeeded_count=248, failed_count=2), rows[::-1]
    )

    completed, refunded = (json.loads(webhook.body) for webhook in found.webhooks)
    assert found.final
    assert [item["index"] for item in completed["items"]] == list(range(250))
    assert completed["items"][0] == {
        "item_id": "item_000",
        "index": 0,
        "status": "succeeded",
        "video_url": "https://cdn.test/0.mp4",
    }
    assert completed["summary"]["failed"] == 2
    assert completed["timestamp"] == "2026-01-24T10:05:30Z"
    assert refunded["refund_reason"] == "failed_items"
    assert refunded["refund_details"] == [
        {"item_id": name, "credits": 10, "reason": "Model timeout"}
        for name in ("item_249", "item_248")
    ]


def test_a_batch_without_refunds_is_not_said_to_have_some():
    found = found_in_sora2(
        batch(status="succeeded", credits_refunded=0, failed_count=0), []
    )

    assert [json.loads(w.body)["event"] for w in found.webhooks] == ["batch.completed"]


def test_a_cancelled_batch_is_told_of_by_its_refund():
    found = found_in_sora2(
        batch(status="cancelled", credits_settled=0, credits_refunded=100), []
    )

    (refund,) = found.webhooks
    assert found.final
    assert read("sora2", refund).state is State.CANCELLED
    assert read("sora2", refund).key == "bat_1:batch.refunded:100"


def test_a_batch_of_which_every_item_failed_was_completed():
    """As the sender has it: `batch.failed` is one that could not be processed."""
    found = found_in_sora2(
        batch(status="failed", succeeded_count=0, failed_count=10, credits_settled=0),
        [],
    )

    reading = read("sora2", found.webhooks[0])
    assert (reading.type, reading.state) == ("batch.completed", State.FAILED)


def test_what_runs_is_told_of_without_counters_that_are_others_by_then():
    found, _ = conversed("sora2", "bat_1", batch(status="running", succeeded_count=3))

    first = read("sora2", found.webhooks[0])
    real = as_sent("sora2", "batch.running")
    assert compare(first.facts, real, first.result_urls) == "supplement"


def test_an_api_without_lists_still_says_how_a_batch_ended():
    nothing = Reply(404, None)

    found, _ = conversed("sora2", "bat_1", batch(), nothing, nothing)

    assert len(found.webhooks) == 2


# -- kie


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"code": 401, "msg": "unauthorized"}, KeyRefused),
        ({"code": 429, "msg": "slow down"}, Unanswered),
        ({"code": 455, "msg": "maintenance"}, Unanswered),
        ({"msg": "?"}, Unanswered),
        ({"code": 200, "data": kie_task(taskId="another")}, Unanswered),
    ],
)
def test_the_code_in_kies_body_is_what_counts(answer, error):
    with pytest.raises(error):
        conversed("kie", "bat_1", answer)


def test_a_task_that_none_of_kies_apis_knows_is_unknown():
    with pytest.raises(UnknownSubject):
        conversed("kie", "bat_1", {"code": 422}, {"code": 200, "data": None})


def test_an_id_that_looks_like_veos_is_asked_for_there_first():
    answer = {"code": 200, "data": veo_task(taskId="veo_task_1")}

    found, asked = conversed("kie", "veo_task_1", answer)

    assert found.final
    assert [query.path for query in asked] == ["/api/v1/veo/record-info"]


def test_what_neither_a_video_nor_a_batch_is_openai_is_not_asked_for():
    with pytest.raises(UnknownSubject):
        next(api_called("openai").ask("resp_1"))
