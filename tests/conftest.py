"""Fixtures for all tests: hypothesis profiles, and nothing that hides the product."""

import os
from functools import partial

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile(
    "dev",
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("ci" if "CI" in os.environ else "dev")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that failed may have left a store open, whose threads would keep us."""
    if exitstatus:
        session.config.add_cleanup(partial(os._exit, int(exitstatus)))
