"""Joins in the configuration: which events belong together, and when that is all."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from receiver import expressions
from receiver.settings.fields import Problems, build, suggest
from receiver.settings.model import MOST_PARTS, Join


def checked_joins(
    tables: Any, sources: Collection[str], problems: Problems
) -> dict[str, Join]:
    """`[joins.NAME]`, checked; what is wrong is reported."""
    if not isinstance(tables, Mapping):
        problems.add("joins", "expected tables", "write [joins.NAME]")
        return {}
    joins: dict[str, Join] = {}
    for name, table in tables.items():
        key = f"joins.{name}"
        join = build(Join, table, key, problems, name=name)
        if join is not None:
            _check(join, key, sources, problems)
            joins[name] = join
    return joins


def _check(join: Join, key: str, sources: Collection[str], problems: Problems) -> None:
    if join.source not in ("*", *sources):
        hint = suggest(join.source, sources)
        problems.add(f"{key}.source", f'no source "{join.source}"', hint)
    if (join.count is None) == (join.complete is None):
        hint = 'count = 2, or complete = "parts.size() == 2"'
        problems.add(key, "needs either count or complete", hint)
    if isinstance(join.count, int) and not 0 < join.count <= MOST_PARTS:
        problems.add(f"{key}.count", f"must be 1 to {MOST_PARTS}")
    _compile(expressions.compile_condition, join.when, f"{key}.when", problems)
    _compile(expressions.compile_value, join.key, f"{key}.key", problems)
    if isinstance(join.count, str):
        _compile(expressions.compile_value, join.count, f"{key}.count", problems)
    if join.complete is not None:
        over = expressions.compile_over_parts
        _compile(over, join.complete, f"{key}.complete", problems)


def _compile(
    compiler: Callable[[str], object], text: str, key: str, problems: Problems
) -> None:
    try:
        compiler(text)
    except expressions.ExpressionError as error:
        problems.add(key, str(error), error.hint)
