"""
Kinds of senders: how their requests are verified and read.

A provider is a module with a class derived from `Provider`, registered in `KINDS`; or,
where configuration alone can describe it, a short file in `presets/`.  Bodies as it
sends them are in `samples/<name>/`.  The provider is chosen by the source's
configuration, never guessed from headers: three known senders use
`X-Webhook-Signature` with different meanings.  `tests/providers/test_contract.py`
holds every provider to the contract.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from typing import Any

from receiver.errors import SettingsError
from receiver.providers.base import Provider
from receiver.settings import Source
from receiver.settings.fields import Problems, build

__all__ = [
    "KINDS",
    "LazySources",
    "Provider",
    "judge",
    "kind_of",
    "names",
    "preset",
    "provider_of",
    "source_of",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a provider's code is; its module is loaded when a source names it."""

    module: str
    factory: str
    settings: str = ""

    def settings_class(self) -> type[Source]:
        """The class of sources of this kind: with fields of their own, or plain."""
        if not self.settings:
            return Source
        found: type[Source] = getattr(import_module(self.module), self.settings)
        return found

    def make(self, source: Source) -> Provider:
        factory: type[Provider] = getattr(import_module(self.module), self.factory)
        return factory(source)


KINDS: Mapping[str, Kind] = {
    "sora2": Kind("receiver.providers.sora2", "Sora2", "Sora2Source"),
    "sophon": Kind("receiver.providers.sophon", "Sophon"),
    "kie": Kind("receiver.providers.kie", "Kie", "KieSource"),
    "standard": Kind("receiver.providers.standard", "Standard", "StandardSource"),
    "hmac": Kind("receiver.providers.hmac", "Hmac", "HmacSource"),
    "fal": Kind("receiver.providers.fal", "Fal", "FalSource"),
}


@cache
def names() -> tuple[str, ...]:
    """Every provider there is, presets included."""
    files = resources.files(__name__).joinpath("presets").iterdir()
    presets = (f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))
    return (*KINDS, *sorted(presets))


@cache
def preset(name: str) -> Mapping[str, Any] | None:
    """What a preset sets, with its `base`; None where the name is no preset's."""
    if name in KINDS or name not in names():
        return None
    file = resources.files(__name__).joinpath("presets", f"{name}.toml")
    return tomllib.loads(file.read_text("utf-8"))


def kind_of(name: str) -> Kind:
    """
    The code behind a provider's name.

    Raises:
        KeyError: there is no such provider.
    """
    found = preset(name)
    return KINDS[found["base"] if found is not None else name]


def provider_of(source: Source) -> Provider:
    """The sender of one source."""
    return kind_of(source.provider).make(source)


@cache
def source_of(name: str, provider: str) -> Source:
    """
    A source of this kind with nothing but what a preset fills in.

    Raises:
        KeyError: there is no such provider.
        SettingsError: the preset is wrong, or asks for more.
    """
    cls, filled = LazySources()[provider]
    problems = Problems(f"presets/{provider}.toml")
    table = {**filled, "provider": provider}
    source = build(cls, table, f"sources.{name}", problems, name=name)
    if source is None:
        raise SettingsError(problems.found)
    return source


def judge(source: Source) -> Iterable[tuple[str, str, str]]:
    """What the provider finds wrong with a source: (field, message, hint) each."""
    return provider_of(source).problems()


class LazySources(Mapping[str, tuple[type[Source], Mapping[str, Any]]]):
    """
    For each provider the class of its sources, and what a preset fills in.

    Modules and presets are loaded only when a configuration names them.
    """

    def __getitem__(self, name: str) -> tuple[type[Source], Mapping[str, Any]]:
        filled = dict(preset(name) or {})
        filled.pop("base", None)
        return kind_of(name).settings_class(), filled

    def __iter__(self) -> Iterator[str]:
        return iter(names())

    def __len__(self) -> int:
        return len(names())
