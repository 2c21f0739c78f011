"""What the witnesses of a crash test write down can be read at any time."""

from pathlib import Path

from receiver.crashtest.plan import Journal, noted, notes


def test_notes_are_read_as_they_were_written(tmp_path: Path):
    path = tmp_path / "sent.jsonl"
    journal = Journal(path)
    journal.note(number=1)
    journal.note(number=2)
    journal.close()

    assert [note["number"] for note in noted(path)] == [1, 2]


def test_a_line_that_is_written_while_one_reads_ends_what_is_read():
    halves = [b'{"number": 1}\n', b'{"num', b'ber": 2}\n', b'{"number": 3}\n']

    assert [note["number"] for note in notes(halves)] == [1]
