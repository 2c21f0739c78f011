"""The table of providers: what each declares, and what its samples are read as."""

from pathlib import Path
from typing import Any

from receiver.models import Request, State
from receiver.providers import Provider, names, preset, provider_of, source_of
from receiver.providers.body import parse
from receiver.providers.mapped import MappedSource
from receiver.providers.samples import samples
from receiver.schemes import Scheme
from tests.making import NOW

DOCS = Path(__file__).parents[2] / "docs"


def providers_table() -> str:
    """A row for each: how it signs, what is signed, the key, and its states."""
    rows = [
        "| provider | signature | what is signed | key | states |",
        "|---|---|---|---|---|",
    ]
    for name in names():
        sender = provider_of(source_of("here", name))
        cells = (
            _signatures(name, sender),
            _signed(name, sender),
            _key(sender),
            _states(sender),
        )
        rows.append(f"| {link(name)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def link(name: str) -> str:
    """To the page of a provider, or to its heading on the page it shares."""
    if (DOCS / f"{name}.md").exists():
        return f"[`{name}`]({name}.md)"
    base = (preset(name) or {}).get("base")
    page = "standard.md" if base == "standard" else "presets.md"
    return f"[`{name}`]({page}#{name})"


def _signatures(name: str, sender: Provider) -> str:
    if name == "hmac":
        return "as you say"
    return "<br>".join(dict.fromkeys(map(_written, sender.schemes))) or "none"


def _written(scheme: Scheme) -> str:
    kind = (
        scheme.algorithm
        if scheme.algorithm == "ed25519"
        else f"HMAC {scheme.algorithm}"
    )
    return f"`{scheme.header}: {scheme.prefix}<{scheme.encoding}>`, {kind}"


def _signed(name: str, sender: Provider) -> str:
    if name == "hmac":
        return "as you say"
    signed = dict.fromkeys(f"`{scheme.signed}`" for scheme in sender.schemes)
    return ", ".join(text.replace("\n", "\\n") for text in signed) or "nothing"


def _key(sender: Provider) -> str:
    source: Any = sender.source
    if isinstance(source, MappedSource):
        if source.key is None:
            return "subject, type and a hash of the body"
        written = [source.key] if isinstance(source.key, str) else source.key
        return ", else ".join(f"`{one}`" for one in written)
    first = next(iter(_readings(sender)))
    return f"like `{first.key}`"


def _readings(sender: Provider) -> list[Any]:
    return [
        sender.read(Request(one.headers, {}, one.body, NOW), parse(one.body))
        for one in samples(sender.name, "ID", NOW).values()
    ]


def _states(sender: Provider) -> str:
    """The types of the samples, by what they mean."""
    by_state: dict[State, list[str]] = {}
    for reading in _readings(sender):
        kinds = by_state.setdefault(reading.state, [])
        if reading.type not in kinds:
            kinds.append(reading.type)
    return "<br>".join(
        f"{state}: {' '.join(f'`{kind}`' for kind in by_state[state])}"
        for state in State
        if state in by_state
    )
