"""Configurations that are read, or refused."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from receiver.destinations import LazyTypes
from receiver.errors import Problem, SettingsError
from receiver.providers import LazySources, judge
from receiver.settings import Known, Settings, load

KNOWN = Known(LazySources(), judge, LazyTypes())
SOURCE = '[sources.s]\nprovider = "sora2"\nsecrets = ["secret"]\n'
SINK = '[destinations.d]\ntype = "http"\nurl = "https://example.com/x"\n'
ROUTE = '[[routes]]\nsource = "s"\nto = ["d"]\n'
WHOLE = SOURCE + SINK + ROUTE


def loaded(
    folder: Path, toml: str, environ: Mapping[str, str] | None = None
) -> Settings:
    file = folder / "receiver.toml"
    file.write_text(toml)
    return load(file, environ or {}, KNOWN)


def problems(
    folder: Path, toml: str, environ: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as refused:
        loaded(folder, toml, environ)
    found = refused.value.problems
    assert found
    for problem in found:
        assert str(problem) in str(refused.value)
    return found
