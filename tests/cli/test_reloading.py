"""`receiver reload`, beside a real server."""

from tests.serving import command, serving


async def test_a_changed_configuration_is_taken_up_and_that_is_said(place):
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace("> 5000", "> 5"))

    out, _ = await place.run("reload")
    again = await place.json("reload")
    await place.accepted()
    seen = await place.target.wait_for(2)

    assert out == f"reloaded {toml}: 1 source, 2 destinations, 2 routes\n"
    assert again == {
        "file": str(toml),
        "reloaded": True,
        "needs_restart": False,
        "problems": [],
    }
    assert {one.path for one in seen} == {"/app", "/spare"}
    assert len(await place.server.lines("reload.done", 2)) == 2


async def test_what_needs_a_restart_is_said(place):
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace("port = 0", 'port = 0\ngrace = "3s"'))

    out, _ = await place.run("reload")

    assert "need a restart" in out


async def test_with_a_problem_in_the_file_the_server_is_not_asked(place):
    toml = place.folder / "receiver.toml"
    good = toml.read_text()
    toml.write_text(good.replace('to = ["app"]', 'to = ["nobody"]'))

    _, err = await place.run("reload", code=2)
    toml.write_text(good)
    await place.run("reload")
    await place.server.line("reload.done")

    assert "nobody" in err
    assert not [one for one in place.server.log if one["event"] == "reload.refused"]


async def test_what_the_server_refuses_is_said_and_the_old_stays(place):
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace("/app", "/${WHERE}"))

    code, _, err = await command(place.folder, "reload", environment={"WHERE": "new"})
    line = await place.server.line("reload.refused")
    await place.accepted()
    [seen] = await place.target.wait_for(1)

    assert code == 1
    assert "refused; the server goes on with what it had" in err
    assert line["problem"] in err
    assert seen.path == "/app"


async def test_without_a_server_or_with_another_file_nobody_is_told(place):
    other = place.folder / "other.toml"
    other.write_text((place.folder / "receiver.toml").read_text())

    _, another = await place.run("-c", "other.toml", "reload", code=1)
    await place.server.stop()
    _, nobody = await place.run("reload", code=1)

    assert f"receiver -c {place.folder}/receiver.toml reload" in another
    assert "no server runs on receiver.db: receiver serve" in nobody
    assert not [one for one in place.server.log if "reload" in one["event"]]


async def test_a_server_started_from_elsewhere_is_found(tmp_path, alone):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    toml = (alone.folder / "receiver.toml").read_text()
    async with serving(folder, toml) as running:
        out, _ = await alone.run("-c", str(folder / "receiver.toml"), "reload")
        await running.line("reload.done")

    assert out.startswith(f"reloaded {folder}/receiver.toml")
