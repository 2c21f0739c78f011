"""Every provider there is, to recognise whose request this is."""

from collections.abc import Iterator, Sequence
from typing import Any

from receiver.providers import LazySources, Provider, names, provider_of
from receiver.schemes import Scheme
from receiver.settings.fields import Problems, build


def every_provider(secrets: Sequence[str] = ()) -> Iterator[Provider]:
    """All that can be made from these secrets alone; some need settings of their own."""
    sources = LazySources()
    for name in names():
        cls, filled = sources[name]
        table: dict[str, Any] = {**filled, "provider": name, "secrets": list(secrets)}
        source = build(cls, table, "", Problems(""), name=name)
        if source is not None:
            yield provider_of(source)


def signers(header: str) -> list[tuple[Provider, Scheme]]:
    """Who signs in this header, and how."""
    return [
        (provider, scheme)
        for provider in every_provider()
        for scheme in provider.schemes
        if scheme.header == header
    ]
