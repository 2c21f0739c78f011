"""Destinations of type `http`, as a configuration has them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from receiver.destinations import LazyTypes
from receiver.destinations.http import Http
from receiver.destinations.http_settings import HttpSettings
from receiver.errors import Problem
from receiver.settings.fields import Problems, build

HOST = "http://crm.test"


def settings(**table: Any) -> HttpSettings:
    """Settings as a configuration has them, without problems."""
    found, problems = built(**table)
    assert problems == []
    assert found is not None
    return found


def built(**table: Any) -> tuple[HttpSettings | None, list[Problem]]:
    problems = Problems("receiver.toml")
    table = {"type": "http", "url": f"{HOST}/hooks", **table}
    found = build(LazyTypes()["http"], table, "here", problems, name="crm")
    if found is None:
        return None, problems.found
    assert isinstance(found, HttpSettings)
    for field, message, hint in found.problems():
        problems.add(field, message, hint)
    return found, problems.found


@asynccontextmanager
async def http(**table: Any) -> AsyncIterator[Http]:
    made = Http(settings(**table))
    try:
        yield made
    finally:
        await made.close()
