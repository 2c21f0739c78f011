"""The events that receiver raises about itself."""

import inspect
import json
import shlex

import click
import pytest

from receiver import internal
from receiver.cli import root
from receiver.examples import samples
from receiver.internal import COMMON, INTERNAL_TYPES
from tests.making import NOW


@pytest.mark.parametrize("kind", INTERNAL_TYPES)
def test_a_body_has_the_documented_fields_and_no_others(kind):
    body = samples(NOW)[kind]

    assert body.keys() == COMMON.keys() | INTERNAL_TYPES[kind].fields.keys()
    assert json.loads(internal.encoded(body)) == body
    assert body["type"] == kind


@pytest.mark.parametrize("kind", INTERNAL_TYPES)
def test_the_command_of_an_event_is_one_that_exists(kind):
    words = shlex.split(samples(NOW)[kind]["command"])

    command: click.Command = root
    context = click.Context(root)
    while isinstance(command, click.Group):
        words = words[1:]
        found = command.get_command(context, words[0])
        assert found is not None
        command = found
    taken = {option for p in command.params for option in p.opts}
    assert [w for w in words if w.startswith("--") and w not in taken] == []


def test_a_name_cannot_add_a_command():
    body = internal.destination_paused("x; rm -rf ~ `id`", reason="r")

    assert shlex.split(body["command"]) == [
        *("receiver", "destinations", "resume", "x; rm -rf ~ `id`")
    ]


def test_each_type_has_a_function_of_its_name():
    made = {
        name.replace("_", ".", 1)
        for name, found in inspect.getmembers(internal, inspect.isfunction)
        if found.__module__ == internal.__name__ and not name.startswith("_")
    }

    ends = internal.JOINS if "join.ended" in made else set[str]()
    others = {"encoded", "reading", "samples", "join.ended"}
    assert made - others | ends == set(INTERNAL_TYPES)


@pytest.mark.parametrize("kind", INTERNAL_TYPES)
def test_a_body_can_be_read_as_an_event(kind):
    body = samples(NOW)[kind]

    reading = internal.reading(body, NOW)

    assert (reading.type, reading.subject) == (kind, body["subject"])
    assert reading.state is INTERNAL_TYPES[kind].state
    assert reading.key == f"{kind}:{body['subject']}:1769248927000"
    assert reading.final == (kind in internal.JOINS)


def test_half_a_surrogate_pair_does_not_keep_an_alert_from_being_stored():
    body = internal.destination_paused("x", reason="\ud800")

    assert internal.encoded(body).decode()
