"""The `command` destination: what its program is given, and what it never sees."""

import json
from pathlib import Path
from typing import Any

import pytest

from receiver.destinations import Parcel
from receiver.destinations.command import Command
from receiver.models import Secret
from tests import making
from tests.destinations.command.making import Make, parcel, program, settings

SECRET = "s3cret-of-the-bucket"


async def given(command: Command, sent: Parcel, folder: Path) -> dict[str, Any]:
    """What a program that copies its input to `given` was given."""
    assert (await command.send(sent)).ok
    found: dict[str, Any] = json.loads((folder / "given").read_text())
    return found


# -- what it is given


async def test_it_is_given_the_event_and_its_delivery(make: Make, tmp_path: Path):
    sent = making.parcel(
        making.event(
            {"credits": 90},
            result_urls=("https://results.example/1.mp4",),
            query={"tenant": "acme"},
        ),
        number=2,
    )

    document = await given(make("cat > given", folder=tmp_path), sent, tmp_path)

    assert document == {
        "event": {
            "id": "evt_0000000000000001",
            "source": "sora2",
            "provider": "sora2",
            "type": "batch.completed",
            "subject": "bat_1",
            "state": "partial",
            "final": True,
            "occurred_at": "2026-01-24T10:02:07.000Z",
            "received_at": "2026-01-24T10:02:07.000Z",
            "key": "k",
            "origin": "webhook",
            "result_urls": ["https://results.example/1.mp4"],
            "expires_at": None,
            "headers": {"content-type": "application/json"},
            "query": {"tenant": "acme"},
        },
        "delivery": {
            "id": "dlv_0000000000000001",
            "destination": "crm",
            "attempt": 2,
        },
        "data": {"credits": 90},
    }


async def test_the_body_is_passed_on_as_it_came(make: Make, tmp_path: Path):
    body = '{ "a": 1.10, "b": 123456789012345678901234567890, "c": 1e400, "d": "✓" }'

    await make("cat > given", folder=tmp_path).send(parcel(body))

    written = (tmp_path / "given").read_text()
    assert written.endswith(f', "data": {body}}}\n')


@pytest.mark.parametrize(
    "body", [b"", b"a=b", b"\xff", b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16")]
)
async def test_a_body_that_is_not_json_is_null(make: Make, tmp_path: Path, body: bytes):
    command = make("cat > given", folder=tmp_path)

    assert (await given(command, parcel(body), tmp_path))["data"] is None


async def test_a_body_of_four_mebibytes_is_given_whole(make: Make):
    body = '"' + "x" * (4 * 1024 * 1024 - 2) + '"'

    outcome = await make("tr -d -c x | wc -c").send(parcel(body))

    assert int(outcome.response) >= 4 * 1024 * 1024 - 2


async def test_a_program_need_not_read(make: Make):
    body = '"' + "x" * (4 * 1024 * 1024 - 2) + '"'

    assert (await make("exec <&-; exit 0").send(parcel(body))).ok


async def test_arguments_are_given_as_they_are_and_no_shell_reads_them(make: Make):
    arguments = ("", "$HOME; exit 1", "*", "`id`", "a b")

    outcome = await make(r'printf "<%s>" "$@"', *arguments).send(parcel())

    assert outcome.response == "<><$HOME; exit 1><*><`id`><a b>"


async def test_it_runs_in_the_configured_folder(make: Make, tmp_path: Path):
    (tmp_path / "there").mkdir()

    outcome = await make("pwd", folder=tmp_path / "there").send(parcel())

    assert outcome.response == str(tmp_path / "there")


# -- its environment


async def variables(**options: Any) -> dict[str, str]:
    """All the variables that a program has."""
    body = {"order": {"id": "o-7", "paid": True, "sum": 1.5, "of": [1]}, "none": None}
    sent = parcel(options.pop("body", body), subject=options.pop("subject", "bat_1"))
    command = Command(settings("env", "-0", **options))
    outcome = await command.send(sent)
    assert outcome.ok, outcome
    pairs = outcome.response.split("\0")
    found = dict(pair.split("=", 1) for pair in pairs if pair)
    found.pop("PYTEST_CURRENT_TEST", None)
    return found


KNOWN = {"HOME": "/srv", "LC_TIME": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


@pytest.mark.usefixtures("ours")
async def test_of_the_servers_environment_it_has_only_what_is_harmless():
    assert await variables() == KNOWN


@pytest.mark.usefixtures("ours")
async def test_the_servers_environment_is_passed_on_when_that_is_wanted():
    found = await variables(inherit_environment=True)

    assert found == {**KNOWN, "SORA2_SECRET": "hush"}


@pytest.mark.usefixtures("ours")
async def test_chosen_fields_are_variables():
    chosen = {
        "BATCH": "event.subject",
        "STATE": "event.state",
        "FINAL": "event.final",
        "AT": "event.received_at",
        "TRY": "delivery.attempt",
        "ORDER": "data.order.id",
        "SUM": "data.order.sum",
        "PAID": "data.order.paid",
        "OF": "data.order.of",
    }

    found = await variables(environment=chosen, variables={"BUCKET": Secret("b")})

    assert found == KNOWN | {
        "BATCH": "bat_1",
        "STATE": "partial",
        "FINAL": "true",
        "AT": "2026-01-24T10:02:07.000Z",
        "TRY": "1",
        "ORDER": "o-7",
        "SUM": "1.5",
        "PAID": "true",
        "OF": "[1]",
        "BUCKET": "b",
    }


@pytest.mark.usefixtures("ours")
async def test_a_field_that_is_missing_makes_no_variable_and_hides_one_of_ours():
    chosen = {"HOME": "data.none", "A": "data.no.such", "B": "data.order.id.further"}

    found = await variables(environment=chosen)

    assert found == {k: v for k, v in KNOWN.items() if k != "HOME"}


@pytest.mark.usefixtures("ours")
async def test_text_that_no_variable_can_hold_is_marked():
    found = await variables(
        environment={"A": "event.subject", "B": "data.b"},
        subject="a\0b",
        body='{"b": "\\ud800✓"}',
    )

    assert (found["A"], found["B"]) == ("a?b", "?✓")


async def test_an_event_that_makes_too_large_variables_is_not_tried_again(make: Make):
    command = make("exit 0", environment={"ALL": "data.all"})

    outcome = await command.send(parcel({"all": "x" * 200_000}))

    assert outcome.permanent
    assert "too large" in outcome.detail


# -- secrets


async def test_a_secret_that_a_program_shows_is_not_shown(make: Make):
    script = 'echo "key is $KEY" >&2; exit 1'

    outcome = await make(script, variables={"KEY": Secret(SECRET)}).send(parcel())

    assert outcome.response == "key is ***"
    assert outcome.detail == "exit status 1: key is ***"


async def test_no_part_of_a_secret_is_left_where_the_output_was_cut(make: Make):
    script = 'yes "$KEY" | tr -d "\\n" | head -c 1000003'

    outcome = await make(script, variables={"KEY": Secret(SECRET)}).send(parcel())

    said = outcome.response.removesuffix(SECRET[: 1_000_003 % len(SECRET)])
    assert "*" in said
    assert not set(said) & set(SECRET)


def test_what_it_is_called_with_is_not_shown(tmp_path: Path):
    made = settings(
        program(tmp_path, ""), "--key", SECRET, variables={"KEY": Secret(SECRET)}
    )

    assert SECRET not in repr(made)
    assert made.described() == f"run {tmp_path / 'program'}"
