"""[joins.NAME]: what is wrong with it is said where it is."""

from datetime import timedelta
from pathlib import Path

import pytest

from receiver.destinations import LazyTypes
from receiver.errors import SettingsError
from receiver.providers import LazySources, judge
from receiver.settings import Known, Settings, load

KNOWN = Known(LazySources(), judge, LazyTypes())
SOURCE = '[sources.kie]\nprovider = "kie"\nsecrets = ["secret"]\n'
GOOD = {"source": '"kie"', "key": '"request.query.job"', "count": "2"}


def loaded(folder: Path, **options: str | None) -> Settings:
    """With a join that is right but for these options; None: left out."""
    lines = [f"{k} = {v}" for k, v in {**GOOD, **options}.items() if v is not None]
    file = folder / "receiver.toml"
    file.write_text("\n".join([SOURCE, "[joins.film]", *lines]))
    return load(file, {}, KNOWN)


def test_a_join_needs_little(tmp_path: Path):
    join = loaded(tmp_path, source=None).joins["film"]

    assert (join.name, join.source, join.types) == ("film", "*", ("*",))
    assert (join.when, join.count, join.complete) == ("event.final", 2, None)
    assert (join.timeout, join.fail_fast) == (timedelta(hours=1), False)


@pytest.mark.parametrize(
    ("options", "count", "complete"),
    [
        ({"count": '"int(request.query.of)"'}, "int(request.query.of)", None),
        (
            {"count": None, "complete": '"parts.size() == 2"'},
            None,
            "parts.size() == 2",
        ),
    ],
)
def test_how_many_there_are_can_be_computed(
    tmp_path: Path, options: dict[str, str | None], count: str, complete: str
):
    join = loaded(tmp_path, **options).joins["film"]

    assert (join.count, join.complete) == (count, complete)


@pytest.mark.parametrize(
    ("options", "place", "message"),
    [
        ({"source": '"kei"'}, "joins.film.source", 'no source "kei"'),
        ({"source": '"receiver"'}, "joins.film.source", "no source"),
        ({"count": None}, "joins.film", "needs either count or complete"),
        ({"complete": '"true"'}, "joins.film", "needs either count or complete"),
        ({"count": "0"}, "joins.film.count", "must be 1 to 1000"),
        ({"count": "1001"}, "joins.film.count", "must be 1 to 1000"),
        ({"count": "true"}, "joins.film.count", "expected"),
        ({"count": '"request.("'}, "joins.film.count", ""),
        ({"key": None}, "joins.film.key", ""),
        ({"key": '"nothing.job"'}, "joins.film.key", "nothing"),
        ({"when": '"event.final &&"'}, "joins.film.when", ""),
        ({"when": "\"'text'\""}, "joins.film.when", "not true or false"),
        (
            {"count": None, "complete": '"event.final"'},
            "joins.film.complete",
            "event",
        ),
        (
            {"count": None, "complete": '"parts.size()"'},
            "joins.film.complete",
            "not true or false",
        ),
        ({"timeout": '"0s"'}, "joins.film.timeout", "at least"),
        ({"tiemout": '"1h"'}, "joins.film.tiemout", "unknown key"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(
    tmp_path: Path, options: dict[str, str | None], place: str, message: str
):
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, **options)

    [problem] = refused.value.problems
    assert problem.key == place
    assert message in problem.message


def test_joins_are_tables(tmp_path: Path):
    file = tmp_path / "receiver.toml"
    file.write_text("joins = 3\n" + SOURCE)

    with pytest.raises(SettingsError) as refused:
        load(file, {}, KNOWN)

    assert [problem.key for problem in refused.value.problems] == ["joins"]


def test_a_source_with_a_problem_of_its_own_is_there_for_a_join(tmp_path: Path):
    file = tmp_path / "receiver.toml"
    join = "\n".join(f"{name} = {value}" for name, value in GOOD.items())
    file.write_text(f'{SOURCE}stall_after = "soon"\n[joins.film]\n{join}\n')

    with pytest.raises(SettingsError) as refused:
        load(file, {}, KNOWN)

    assert [one.key for one in refused.value.problems] == ["sources.kie.stall_after"]
