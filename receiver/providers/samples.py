"""
Bodies as providers send them, one file each, to try things out with.

`samples/<provider>/<name>.json`, in which `{{subject}}`, `{{id}}`, `{{now}}` (ISO
8601), `{{now_s}}` and `{{now_ms}}` stand for what is different every time; and beside
it `<name>.headers`, one `name: value` a line, where the sender adds headers that say
what the body does not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources

from receiver.clock import iso, to_ms
from receiver.models import Headers

_ENDING = ".json"


@dataclass(frozen=True, slots=True)
class Sample:
    """A body, compact as senders write it, and the headers that belong to it."""

    name: str
    body: bytes
    headers: Headers = field(default_factory=dict[str, str])


def sample_names(provider: str) -> tuple[str, ...]:
    """The names of a provider's samples."""
    files = sorted(_texts(provider))
    return tuple(f.removesuffix(_ENDING) for f in files if f.endswith(_ENDING))


def samples(provider: str, subject: str, now: datetime) -> dict[str, Sample]:
    """Every sample of a provider by name, about this subject, sent now."""
    names = sample_names(provider)
    return {name: sample(provider, name, subject, now) for name in names}


def sample(provider: str, name: str, subject: str, now: datetime) -> Sample:
    """
    One of them.

    Raises:
        KeyError: there is none of this name.
    """
    texts = _texts(provider)
    body = json.loads(filled(texts[name + _ENDING], name, subject, now))
    compact = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    lines = filled(texts.get(f"{name}.headers", ""), name, subject, now)
    return Sample(name, compact.encode(), _headers(lines))


def filled(text: str, name: str, subject: str, now: datetime) -> str:
    """The text with what stands for something replaced by that."""
    values = {
        "subject": json.dumps(subject)[1:-1],
        "id": f"{json.dumps(subject)[1:-1]}-{name}",
        "now": iso(now),
        "now_s": str(to_ms(now) // 1000),
        "now_ms": str(to_ms(now)),
    }
    for word, value in values.items():
        text = text.replace("{{" + word + "}}", value)
    return text


@cache
def _texts(provider: str) -> Mapping[str, str]:
    folder = resources.files("receiver.providers").joinpath("samples", provider)
    if not folder.is_dir():
        return {}
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def _headers(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
