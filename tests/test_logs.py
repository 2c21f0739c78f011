"""One line per thing that happens: for machines, for people, without secrets."""

import json
from collections.abc import Iterator

import pytest
import structlog

from receiver import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the configuration as it was found."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_line_for_machines_is_one_json_object(capsys):
    logs.configure("info", "json")

    logs.get().info("event.received", subject='é "\n\x1b', count=3, none=None)

    err = capsys.readouterr().err
    found = json.loads(err)
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert found["event"] == "event.received"
    assert found["level"] == "info"
    assert found["subject"] == 'é "\n\x1b'
    assert (found["count"], found["none"]) == (3, None)
    assert found["timestamp"].endswith("Z")


@pytest.mark.parametrize("style", ["json", "console"])
def test_declared_secrets_are_stars(capsys, style):
    logs.configure("info", style)

    logs.get().info("x", **dict.fromkeys(logs.MASKED, "hidden"))

    err = capsys.readouterr().err
    assert "hidden" not in err
    assert err.count("***") == len(logs.MASKED)


def test_lines_for_people_cannot_drive_their_terminal(capsys):
    logs.configure("info", "console")

    logs.get().info("x", subject="a\x1b[2J\x9b\x07\u202e", detail="two\r\nlines")

    err = capsys.readouterr().err
    assert not any(c in err for c in "\x1b\x9b\x07\u202e\r")
    assert err.count("\n") == 1


def test_auto_is_json_where_there_is_no_terminal(capsys):
    logs.configure("info", "auto")

    logs.get().info("x")

    assert json.loads(capsys.readouterr().err)["event"] == "x"


def test_what_is_below_the_level_is_not_written(capsys):
    logs.configure("warning", "json")

    logs.get().info("quiet")
    logs.get().warning("loud")

    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "loud"


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_is_written_with_where_it_came_from(capsys, style):
    logs.configure("info", style)

    try:
        raise ValueError("odd")
    except ValueError:
        logs.get().exception("delivery.fault", destination="app")

    err = capsys.readouterr().err
    assert "ValueError: odd" in err
    assert "test_logs.py" in err


def test_what_is_not_json_is_written_as_text(capsys):
    logs.configure("info", "json")

    logs.get().info("x", error=ValueError("odd"))

    assert json.loads(capsys.readouterr().err)["error"] == "odd"
