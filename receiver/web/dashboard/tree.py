"""JSON as rows of a tree that people open and close (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEEPEST = 12
MOST = 2_000
"""Values in all; a page is not the place for more."""

LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Node:
    """A value: its name, its text, and for objects and arrays what is in them."""

    name: str
    text: str
    kind: str
    inner: list["Node"] = field(default_factory=list["Node"])


def tree(data: Any) -> Node:
    """As much of a JSON value as can be looked at; `…` stands for what is left out."""
    return _node("", data, 0, [MOST])


def _node(name: str, value: Any, depth: int, left: list[int]) -> Node:
    left[0] -= 1
    if isinstance(value, Mapping):
        pairs = [(str(key), inner) for key, inner in value.items()]
        text = f"{{{len(pairs)}}}"
    elif isinstance(value, list):
        pairs = [(str(i), inner) for i, inner in enumerate(value)]
        text = f"[{len(pairs)}]"
    else:
        return Node(name, _text(value), type(value).__name__)
    if depth == DEEPEST:
        return Node(name, f"{text} …", "more")
    return Node(name, text, "table", list(_inner(pairs, depth, left)))


def _inner(
    pairs: Iterable[tuple[str, Any]], depth: int, left: list[int]
) -> Iterable[Node]:
    for name, value in pairs:
        if left[0] <= 0:
            yield Node("…", "the raw body has the rest", "more")
            return
        yield _node(name, value, depth + 1, left)


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
