"""What a repeat with another body is, next to the event that it repeats (pure)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from receiver.models import Reading, Scalar


def compare(
    facts: Mapping[str, Scalar], reading: Reading, urls: tuple[str, ...]
) -> Literal["conflict", "supplement", "repeat"]:
    """What a repeat with another body is, next to the facts and links of the first."""
    common = facts.keys() & reading.facts.keys()
    if any(facts[name] != reading.facts[name] for name in common):
        return "conflict"
    return "supplement" if any(news(facts, reading, urls)) else "repeat"


def news(
    facts: Mapping[str, Scalar], reading: Reading, urls: tuple[str, ...]
) -> tuple[Mapping[str, Scalar], Sequence[str]]:
    """The facts and the links of a repeat that the first had not."""
    more = {k: value for k, value in reading.facts.items() if k not in facts}
    return more, [url for url in dict.fromkeys(reading.result_urls) if url not in urls]
