"""What is particular to presets, and that each is nothing but what a user may write."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import stripe

from receiver import clock
from receiver.errors import Rejected
from receiver.models import Reading, Request, State
from receiver.providers import KINDS, LazySources, judge, names, preset, source_of
from receiver.providers.samples import samples
from receiver.providers.senders import Senders
from receiver.providers.sending import outgoing
from receiver.providers.verification import verify
from receiver.settings import Known, load
from tests.making import configured, event, provider

PRESETS = [name for name in names() if name not in KINDS]
SUBJECT = "sub_1"
FOLDER = resources.files("receiver.providers").joinpath("presets")

every_preset = pytest.mark.parametrize("name", PRESETS)


def read(
    name: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> Reading:
    asked = Request(headers or {}, {}, json.dumps(body).encode(), clock.now())
    return configured(name, allow_unsigned=True).read(asked, body)


def readings(name: str) -> dict[str, Reading]:
    return {
        sample.name: read(name, json.loads(sample.body), dict(sample.headers))
        for sample in samples(name, SUBJECT, clock.now()).values()
    }


@every_preset
def test_a_preset_is_a_base_with_keys_that_a_user_may_write(name):
    found = preset(name)
    assert found is not None

    plain = source_of("here", found["base"])

    assert KINDS[found["base"]].settings
    for key in found.keys() - {"base"}:
        written = configured(found["base"], allow_unsigned=True, **{key: found[key]})
        assert getattr(written.source, key) != getattr(plain, key), "says nothing"


@every_preset
def test_a_preset_is_short_and_says_where_its_facts_are_from(name):
    text = FOLDER.joinpath(f"{name}.toml").read_text()

    assert re.match(r"(#.*\n)*#.*https://", text)
    assert len(text.splitlines()) < 40


@every_preset
def test_the_samples_of_a_preset_are_named_after_their_types(name):
    for sample, reading in readings(name).items():
        assert reading.type == sample


@every_preset
def test_the_samples_of_a_preset_show_success_and_failure(name):
    states = {reading.state for reading in readings(name).values()}

    assert State.SUCCEEDED in states
    assert State.FAILED in states or name == "github"


@every_preset
def test_words_that_are_not_known_are_no_reason_to_refuse(name):
    for sample in samples(name, SUBJECT, clock.now()).values():
        body = json.loads(sample.body)
        words = {"type", "status", "state", "task_status", "event_type"}
        changed = {k: "new.word" if k in words else v for k, v in body.items()}

        reading = read(name, changed, dict(sample.headers))

        assert reading.subject == SUBJECT


def test_every_key_of_a_preset_can_be_replaced(tmp_path: Path):
    file = tmp_path / "receiver.toml"
    file.write_text(
        "[sources.s]\nprovider = 'stripe'\nsecrets = ['x']\n"
        "key = '{type}:{id}'\nstates = { '*.done' = 'succeeded' }\ntolerance = '1h'\n"
    )

    settings = load(file, {}, Known(LazySources(), judge, {}))

    source: Any = settings.sources["s"]
    untouched: Any = source_of("s", "stripe")
    assert source.key == "{type}:{id}"
    assert source.states == {"*.done": "succeeded"}
    assert source.signatures == untouched.signatures


def test_a_wrong_place_is_found_with_its_key_and_position(tmp_path: Path):
    file = tmp_path / "receiver.toml"
    toml = "[sources.s]\nprovider = 'luma'\ntoken = 'x'\nsubject = ['id', 'a..b']\n"
    file.write_text(toml)

    with pytest.raises(Exception, match="line 1, column 3") as caught:
        load(file, {}, Known(LazySources(), judge, {}))

    assert "sources.s.subject[1]" in str(caught.value)


def test_what_we_send_as_stripe_its_own_library_takes():
    sender = provider("stripe", "whsec_x")
    for sample in samples("stripe", SUBJECT, clock.now()).values():
        sent = outgoing(sender, sample.body, clock.now())

        event = stripe.Webhook.construct_event(
            sent.body, sent.headers["stripe-signature"], "whsec_x"
        )

        assert event.type == sample.name


def test_stripe_may_sign_with_several_secrets_at_once():
    sent = outgoing(provider("stripe", "new"), b"{}", clock.now())
    value = sent.headers["stripe-signature"] + ",v1=" + "0" * 64 + ",v0=abc"
    request = Request({"stripe-signature": value}, {}, b"{}", clock.now())

    verify(provider("stripe", "old", "new"), request)

    with pytest.raises(Rejected, match="no configured secret"):
        verify(provider("stripe", "old"), request)


def test_a_thin_event_of_stripe_is_about_its_related_object():
    body = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": "v1.billing.meter.no_meter_found",
        "created": "2026-01-24T10:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter"},
    }

    reading = read("stripe", body)

    assert (reading.subject, reading.key) == ("mtr_1", "evt_1")
    assert reading.occurred_at is not None


def test_an_event_of_github_is_named_with_its_action():
    headers = {"x-github-event": "pull_request", "x-github-delivery": "guid"}
    body = {"action": "opened", "repository": {"full_name": "a/b"}}

    reading = read("github", body, headers)

    assert (reading.type, reading.key) == ("pull_request.opened", "guid")
    assert reading.state is State.UNKNOWN
    assert not reading.final
    with pytest.raises(Rejected, match=r"key: header:X-GitHub-Delivery"):
        read("github", body, {"x-github-event": "push"})


@pytest.mark.parametrize("header", ["heygen-signature", "signature"])
def test_heygen_signs_in_either_of_two_headers(header):
    heygen = provider("heygen", "whsec_as_it_is")
    sent = outgoing(heygen, b"{}", clock.now()).headers["heygen-signature"]

    verify(heygen, Request({header: sent}, {}, b"{}", clock.now()))
    with pytest.raises(Rejected):
        verify(heygen, Request({header: sent}, {}, b"[]", clock.now()))


def test_heygen_of_the_first_version_has_no_id_but_the_video():
    body = {"event_type": "avatar_video.success", "event_data": {"video_id": "v"}}

    assert read("heygen", body).key == "v:avatar_video.success"
    assert read("heygen", body, {"heygen-event-id": "e"}).key == "e"


@pytest.mark.parametrize(
    ("body", "state", "links"),
    [
        ({"status": "succeeded", "url": "https://v"}, State.SUCCEEDED, ("https://v",)),
        (
            {"status": "success", "results": [{"url": "https://v"}], "url": ""},
            State.SUCCEEDED,
            ("https://v",),
        ),
        ({"status": "failed", "results": None, "url": None}, State.FAILED, ()),
        ({"status": "error", "results": [], "error": None}, State.FAILED, ()),
        ({"status": "running", "progress": 5}, State.RUNNING, ()),
        ({}, State.UNKNOWN, ()),
    ],
)
def test_grsai_uses_several_vocabularies(body, state, links):
    reading = read("grsai", {"id": "14-5e6f", **body})

    assert (reading.state, reading.result_urls) == (state, links)
    assert (reading.expires_at is not None) is bool(links)


async def test_events_of_a_source_that_is_gone_keep_their_links():
    body = {"id": "a", "status": "succeeded", "url": "https://v"}

    read = await Senders(()).read(event(body, source="old", provider="grsai"))

    assert read.result_urls == ("https://v",)
    assert read.expires_at is not None


def test_each_progress_of_grsai_is_an_event():
    def key(**body: Any) -> str:
        return read("grsai", {"id": "a", **body}).key

    assert key(status="running", progress=45) == "a:running:45"
    assert key(status="running", progress=60) == "a:running:60"
    assert key(status="succeeded") == "a:succeeded"


@pytest.mark.parametrize("state", ["succeeded", "running", "failed"])
def test_known_bodies_of_grsai_are_read(state):
    file = Path(__file__).parents[1] / f"samples/grsai-{state}.json"

    reading = read("grsai", json.loads(file.read_text()))

    assert (reading.subject, reading.state) == ("14-5e6f…", state)
    assert len(reading.result_urls) == (state == "succeeded")


def test_each_copy_that_shotstack_serves_is_about_its_render():
    body = {"type": "serve", "id": "copy", "render": "r", "status": "ready"}

    reading = read("shotstack", {**body, "url": "https://c"})

    assert (reading.subject, reading.key) == ("r", "copy:serve:ready")
    assert reading.state is State.SUCCEEDED


def test_pollo_may_write_its_time_in_milliseconds():
    now = clock.now()
    found = preset("pollo")
    assert found is not None
    [signature] = found["signatures"]
    in_ms = {**signature, "timestamp_format": "unix_ms"}
    sender = configured("pollo", secrets=["c2VjcmV0"], signatures=[in_ms])

    sent = outgoing(sender, b"{}", now)

    verify(provider("pollo", "c2VjcmV0"), Request(sent.headers, {}, b"{}", now))


def test_assemblyai_is_known_by_the_header_that_was_chosen():
    guarded = configured("assemblyai", require_headers={"X-Hook-Key": "k"})

    assert not list(guarded.problems())
    assert guarded.refused_status == 503
