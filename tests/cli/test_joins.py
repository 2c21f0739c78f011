"""What `receiver check` says of joins."""

from tests.serving import config

JOIN = """
[joins.film]
when = "'job' in request.query"
key = "request.query.job"
count = 2
timeout = "20m"

[joins.pair]
key = "data.request_id"
complete = "parts.size() == 2"
fail_fast = true
"""
ROUTE = """
[[routes]]
name = "films"
source = "receiver"
types = ["join.*"]
to = ["app"]
"""
NOTE = "no route wants join.completed"


async def test_check_shows_joins(alone):
    target = {"app": 'type = "http"\nurl = "http://127.0.0.1:9/"'}
    toml = config(destinations=target, routes=JOIN + ROUTE)
    (alone.folder / "receiver.toml").write_text(toml)

    out, _ = await alone.run("check")
    found = await alone.json("check")

    assert "request.query.job" in out
    assert "2 parts" in out
    assert "parts.size() == 2" in out
    assert "20m" in out
    assert NOTE not in out
    assert found["joins"]["film"] == {
        "source": "*",
        "types": ["*"],
        "when": "'job' in request.query",
        "key": "request.query.job",
        "count": 2,
        "complete": None,
        "timeout_s": 1200.0,
        "fail_fast": False,
    }
    assert found["joins"]["pair"]["fail_fast"] is True


async def test_check_notes_a_join_of_which_nobody_is_told(alone):
    (alone.folder / "receiver.toml").write_text(config(routes=JOIN))

    found = await alone.json("check")

    assert [note["key"] for note in found["notes"] if NOTE in note["message"]] == [
        "joins.film",
        "joins.pair",
    ]
