"""What is counted, in the form Prometheus reads."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver.metrics import Metrics
from tests.serving import config, serving
from tests.sinks import sink
from tests.web.wire import connected, event, post, request

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, sorted by name."""
    return {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_two_of_them_share_nothing():
    first, second = Metrics(), Metrics()

    first.accepted.labels("sora2").inc()

    assert samples(first.text())["receiver_accepted_total", "sora2"] == 1
    assert ("receiver_accepted_total", "sora2") not in samples(second.text())


def test_a_queue_has_a_length_and_an_age():
    metrics = Metrics()

    metrics.set_queue("app", 3, NOW - timedelta(seconds=90), NOW)
    metrics.set_queue("idle", 0, None, NOW)
    metrics.set_queue("early", 1, NOW + timedelta(hours=1), NOW)

    found = samples(metrics.text())
    assert found["receiver_pending_deliveries", "app"] == 3
    assert found["receiver_oldest_pending_seconds", "app"] == 90
    assert found["receiver_oldest_pending_seconds", "idle"] == 0
    assert found["receiver_oldest_pending_seconds", "early"] == 0


def test_commits_are_those_of_the_store_however_often_it_is_asked():
    metrics = Metrics()

    for commits in (0, 3, 3, 5):
        metrics.set_commits(commits)

    assert samples(metrics.text())["receiver_store_commits_total",] == 5


def test_names_of_any_kind_are_escaped():
    metrics = Metrics()

    metrics.accepted.labels('a"b\\c\nd').inc()

    assert samples(metrics.text())["receiver_accepted_total", 'a"b\\c\nd'] == 1


async def test_the_server_counts_what_happens(tmp_path):
    body = event("bat_1")
    async with sink() as target:
        app = {"app": f'type = "http"\nurl = "{target.url}"'}
        async with serving(tmp_path, config(destinations=app)) as server:
            await post(server.url, body)
            await post(server.url, body)
            await post(server.url, body, {})
            await post(server.url, b"{")
            await server.line("delivery.attempted")
            async with connected(server.url) as wire:
                await wire.send(request(method="GET", headers={}, path="/metrics"))
                answer = await wire.answer()

    found = samples(answer.body)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert found["receiver_received_total", "sora2"] == 4
    assert found["receiver_accepted_total", "sora2"] == 1
    assert found["receiver_duplicates_total", "sora2"] == 1
    assert found["receiver_rejected_total", "signature_missing", "sora2"] == 1
    assert found["receiver_rejected_total", "malformed_body", "sora2"] == 1
    assert found["receiver_attempts_total", "app", "ok"] == 1
    assert found["receiver_accept_to_delivered_seconds_count", "app"] == 1
    assert found["receiver_pending_deliveries", "app"] == 0
    assert found["receiver_destination_paused", "app"] == 0
    assert found["receiver_store_commits_total",] >= 3  # names, event, outcome


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)
def test_promtool_has_nothing_to_say_against_the_text():
    metrics = Metrics()
    metrics.received.labels("sora2").inc()
    metrics.rejected.labels("sora2", "signature_mismatch").inc()
    metrics.attempts.labels("app", "ok").inc()
    metrics.delivered_after.labels("app").observe(0.1)
    metrics.set_queue("app", 1, None, datetime(2026, 1, 24, tzinfo=UTC))

    judged = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics.text(),
        capture_output=True,
        check=False,
    )

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, b"", b"")
