"""watch: subjects that must exist, and what else has to be done for them."""

from pathlib import Path

import pytest

from receiver.stores import open_store
from tests.serving import command, config

KEY = 'api_key = "a key of these tests"'


@pytest.mark.parametrize(
    ("source", "name", "advice"),
    [
        ("", "sora2", 'set api_key = "${...}" in [sources.sora2]'),
        (KEY, "sora2", "or run receiver reconcile sora2"),
        ("", "own", "no status API of fal is known here"),
    ],
)
async def test_what_is_watched_and_never_asked_for_is_said_with_what_mends_it(
    tmp_path: Path, source: str, name: str, advice: str
):
    own = '[sources.own]\nprovider = "fal"\n'
    (tmp_path / "receiver.toml").write_text(config(source=source) + own)
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    await store.close()

    code, out, err = await command(tmp_path, "watch", name, "bat_1")

    assert (code, out.splitlines()) == (0, ["watching 1 subject, 1 of them new"])
    assert advice in err
    assert ("receiver reconcile" in err) is bool(source)
