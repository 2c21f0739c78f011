"""How much there is a minute, from counts since the start."""

import pytest

from receiver.metrics import Metrics
from receiver.web.trends import Sample, Trends, a_minute


def sample(at: float, **of_sources: float) -> Sample:
    return Sample(at, 0, 0, 0, 0, (), of_sources)


@pytest.mark.parametrize(
    ("samples", "rates"),
    [
        ([sample(0)], {}),
        ([sample(0, a=5), sample(30, a=8)], {"a": 3}),
        ([sample(0, a=5), sample(60, a=8, b=1)], {"a": 3, "b": 1}),
        ([sample(0, a=0), sample(30, a=9), sample(120, a=12)], {"a": 2}),
        ([sample(0), sample(30, a=9), sample(60, a=9), sample(110, a=9)], {"a": 0}),
    ],
    ids=["nothing", "young", "new", "longer", "silent"],
)
def test_a_rate_is_the_growth_of_about_the_last_minute(
    samples: list[Sample], rates: dict[str, float]
):
    assert a_minute(samples, "of_sources") == rates


def test_counts_are_kept_by_name():
    metrics = Metrics()
    metrics.received.labels("sora2").inc(3)
    metrics.rejected.labels("sora2", "signature_mismatch").inc(2)
    metrics.rejected.labels("sora2", "malformed_body").inc()
    metrics.attempts.labels("app", "ok").inc(4)
    metrics.attempts.labels("app", "timeout").inc()

    [now] = Trends(metrics).samples()

    assert now.of_sources == {"sora2": 3}
    assert now.refused_by == {"sora2": 3}
    assert now.to_destinations == {"app": 4}
