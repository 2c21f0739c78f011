"""Public keys: fetched, remembered, renewed, and never worse than they were."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import clock
from receiver.providers import Provider, fetching, keys
from receiver.providers.jwks import MOST_KEYS, keys_in, written
from receiver.providers.keys import PublicKeys
from receiver.stores import Store, open_store
from tests import making
from tests.providers.key_server import KeyServer, jwk, key_server

OLD, NEW = making.key_pair("old"), making.key_pair("new")
OLD_KEY, NEW_KEY = making.raw_key(OLD[1]), making.raw_key(NEW[1])


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server(OLD[0]) as found:
        yield found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    found = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield found
    await found.close()


@pytest.fixture
async def public_keys(store: Store) -> AsyncIterator[PublicKeys]:
    found = PublicKeys(store)
    found.start()
    yield found
    await found.close()


def fal(server: KeyServer) -> Provider:
    return making.provider("fal", keys_url=server.url)


async def renewed(public_keys: PublicKeys, provider: Provider) -> bool:
    return await public_keys.renewed(provider.keys_url, provider.published)


async def fetched(public_keys: PublicKeys, provider: Provider) -> None:
    """Have the first fetch done."""
    await public_keys.use([provider])
    assert await public_keys.renewed(provider.keys_url, ())


async def test_keys_are_fetched_as_soon_as_somebody_uses_them(server, public_keys):
    provider = fal(server)

    await fetched(public_keys, provider)

    assert provider.published == (OLD_KEY,)
    assert len(server.asked) == 1


async def test_sources_with_one_address_share_what_is_fetched(server, public_keys):
    first, second, pinned = fal(server), fal(server), making.provider("sora2", "x")
    await public_keys.use([first, second, pinned])

    assert await renewed(public_keys, first)

    assert first.published == second.published == (OLD_KEY,)
    assert pinned.published == ()
    assert len(server.asked) == 1


async def test_those_who_wait_share_one_fetch(server, public_keys):
    provider = fal(server)
    server.may_answer.clear()
    await public_keys.use([provider])
    waiting = [asyncio.create_task(renewed(public_keys, provider)) for _ in range(50)]
    await server.asked_times(1)

    server.may_answer.set()

    assert all(await asyncio.gather(*waiting))
    assert len(server.asked) == 1


async def test_a_set_that_came_takes_the_place_of_the_one_before(server, public_keys):
    provider = fal(server)
    await fetched(public_keys, provider)

    server.private = (NEW[0],)

    assert await renewed(public_keys, provider)
    assert provider.published == (NEW_KEY,)


async def test_what_anybody_can_send_causes_one_fetch_a_minute(
    server, public_keys, monkeypatch
):
    provider = fal(server)
    await fetched(public_keys, provider)

    for _ in range(20):
        assert not await renewed(public_keys, provider)
    asked = len(server.asked)
    monkeypatch.setattr(keys, "ASKED_EVERY_S", 0)
    assert not await renewed(public_keys, provider)

    assert (asked, len(server.asked)) == (2, 3)


async def test_who_was_refused_by_keys_that_were_replaced_meanwhile_asks_nobody(
    server, public_keys
):
    provider = fal(server)
    await fetched(public_keys, provider)

    assert await public_keys.renewed(provider.keys_url, (NEW_KEY,))

    assert len(server.asked) == 1


async def test_keys_are_fetched_again_before_they_are_too_old(
    server, public_keys, monkeypatch
):
    monkeypatch.setattr(keys, "FRESH_S", 0.01)
    provider = fal(server)

    await public_keys.use([provider])
    await server.asked_times(5)

    assert provider.published == (OLD_KEY,)


async def test_after_a_failure_it_is_tried_again(server, public_keys, monkeypatch):
    monkeypatch.setattr(keys, "RETRY_S", 0.01)
    server.status = 500
    provider = fal(server)
    await public_keys.use([provider])
    await server.asked_times(3)

    server.status = 200
    server.may_answer.clear()
    await server.asked_times(len(server.asked) + 1)
    server.may_answer.set()

    assert await public_keys.renewed(provider.keys_url, ())
    assert provider.published == (OLD_KEY,)


# -- over restarts


async def test_after_a_restart_the_keys_are_there_though_nobody_answers(
    server, public_keys, store
):
    await fetched(public_keys, fal(server))
    await remembered(store, server)
    await public_keys.close()
    server.status = 500
    asked = len(server.asked)
    after, provider = PublicKeys(store), fal(server)

    await after.use([provider])
    after.start()

    assert provider.published == (OLD_KEY,)
    assert not await renewed(after, provider)
    assert provider.published == (OLD_KEY,)
    assert len(server.asked) == asked + 1  # asked for, not because of the restart
    await after.close()


async def test_until_it_is_started_there_is_only_what_was_remembered(server, store):
    await store.remember(f"keys at {server.url}", written([OLD_KEY]), clock.now())
    looking, provider = PublicKeys(store), fal(server)

    await looking.use([provider])

    assert provider.published == (OLD_KEY,)
    assert not await renewed(looking, provider)
    assert server.asked == []


async def test_keys_that_are_old_at_a_restart_are_used_and_fetched_again(
    server, public_keys, store
):
    long_ago = clock.now() - timedelta(days=400)
    await store.remember(f"keys at {server.url}", written([OLD_KEY]), long_ago)
    server.private = (NEW[0],)
    server.may_answer.clear()
    provider = fal(server)

    await public_keys.use([provider])
    before = provider.published
    server.may_answer.set()

    assert before == (OLD_KEY,)
    assert await public_keys.renewed(provider.keys_url, before)
    assert provider.published == (NEW_KEY,)


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"keys": []}', "ü"])
async def test_what_was_remembered_and_is_damaged_is_fetched_anew(
    server, public_keys, store, text
):
    await store.remember(f"keys at {server.url}", text, clock.now())
    provider = fal(server)

    await fetched(public_keys, provider)

    assert provider.published == (OLD_KEY,)


async def remembered(store: Store, server: KeyServer) -> None:
    """Return when the keys are in the store: that is done after they are in use."""
    async with asyncio.timeout(60):
        while await store.remembered(f"keys at {server.url}") is None:
            await store.ping()  # takes its turn behind what is being written


# -- other settings


async def test_a_provider_made_anew_has_the_keys_at_once(server, public_keys):
    await fetched(public_keys, fal(server))
    provider = fal(server)

    await public_keys.use([provider])

    assert provider.published == (OLD_KEY,)
    assert len(server.asked) == 1


async def test_an_address_that_is_not_used_any_more_is_not_asked_any_more(
    server, public_keys, monkeypatch
):
    monkeypatch.setattr(keys, "FRESH_S", 0.01)
    provider = fal(server)
    await public_keys.use([provider])
    await server.asked_times(2)

    await public_keys.use([])
    asked = len(server.asked)
    answer = await renewed(public_keys, provider)

    assert answer is False
    assert asked == len(server.asked)
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("keys")]


async def test_two_reloads_at_once_leave_one_that_fetches(server, public_keys):
    await asyncio.gather(*(public_keys.use([fal(server)]) for _ in range(5)))

    tasks = [t for t in asyncio.all_tasks() if t.get_name() == "keys"]
    assert len(tasks) == 1


# -- key servers that are not what they should be


NOT_KEYS = {
    "empty": b"",
    "not JSON": b"<html>",
    "not UTF-8": b"\xff\xfe",
    "nested deeply": b"[" * 60_000,
    "a list": b"[]",
    "no keys": b'{"keys": []}',
    "keys that are none": b'{"keys": [1, null, "x", [], {}]}',
    "keys of another kind": json.dumps({"keys": [jwk(OLD[1], kty="RSA")]}).encode(),
    "keys of another curve": json.dumps({"keys": [jwk(OLD[1], crv="X25519")]}).encode(),
    "short keys": json.dumps({"keys": [jwk("AAAA")]}).encode(),
    "long keys": json.dumps({"keys": [jwk(OLD[1] + "AAAA")]}).encode(),
    "no x": json.dumps({"keys": [jwk(None)]}).encode(),
    "huge": b" " * 100_000 + json.dumps({"keys": [jwk(OLD[1])]}).encode(),
    "a name twice": b'{"keys": [], "keys": []}',
}


@pytest.mark.parametrize("answer", NOT_KEYS.values(), ids=NOT_KEYS)
async def test_an_answer_without_keys_changes_nothing(server, public_keys, answer):
    provider = fal(server)
    await fetched(public_keys, provider)

    server.answer = answer

    assert not await renewed(public_keys, provider)
    assert provider.published == (OLD_KEY,)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 404, 500])
async def test_only_a_plain_200_is_an_answer(server, public_keys, status):
    provider = fal(server)
    await fetched(public_keys, provider)

    server.private, server.status = (NEW[0],), status

    assert not await renewed(public_keys, provider)
    assert provider.published == (OLD_KEY,)


async def test_a_redirect_is_not_followed(server, public_keys):
    async with key_server(NEW[0]) as elsewhere:
        server.answer, server.status = b"", 302
        server.headers = {"location": elsewhere.url}
        provider = fal(server)
        await public_keys.use([provider])

        assert not await renewed(public_keys, provider)

        assert elsewhere.asked == []


async def test_what_is_compressed_is_not_unpacked(server, public_keys):
    server.answer = gzip.compress(written([OLD_KEY]).encode())
    server.headers = {"content-encoding": "gzip"}
    provider = fal(server)
    await public_keys.use([provider])

    assert not await renewed(public_keys, provider)
    assert server.asked[0].headers["accept-encoding"] == "identity"


async def test_who_does_not_answer_is_not_waited_for_long(
    server, public_keys, monkeypatch
):
    monkeypatch.setattr(fetching, "ANSWER_S", 0.05)
    server.may_answer.clear()
    provider = fal(server)
    await public_keys.use([provider])

    assert not await renewed(public_keys, provider)


async def test_an_answer_that_never_ends_is_not_waited_for(public_keys, monkeypatch):
    monkeypatch.setattr(fetching, "ANSWER_S", 0.2)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{")
        await reader.read()
        writer.close()

    dripping = await asyncio.start_server(drip, "127.0.0.1", 0)
    host, port = dripping.sockets[0].getsockname()
    provider = making.provider("fal", keys_url=f"http://{host}:{port}/")
    await public_keys.use([provider])

    assert not await renewed(public_keys, provider)
    dripping.close()


async def test_an_endless_answer_is_read_only_so_far(public_keys):
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 1 << 30:
                writer.write(b" " * 65_536)
                await writer.drain()
                sent += 65_536
        except ConnectionError:
            pass
        finally:
            writer.close()

    flooding = await asyncio.start_server(flood, "127.0.0.1", 0)
    host, port = flooding.sockets[0].getsockname()
    provider = making.provider("fal", keys_url=f"http://{host}:{port}/")
    await public_keys.use([provider])

    assert not await renewed(public_keys, provider)
    assert sent < 100 << 20
    flooding.close()


# -- sets of keys


def test_only_so_many_keys_of_a_set_are_taken_and_each_once():
    many = [bytes([n]) * 32 for n in range(100)]

    assert keys_in(written(many).encode()) == tuple(many[:MOST_KEYS])
    assert keys_in(written([OLD_KEY, OLD_KEY]).encode()) == (OLD_KEY,)


def test_keys_of_other_kinds_beside_ours_do_not_matter():
    listed = [jwk("x", kty="RSA"), None, jwk(OLD[1]), jwk("!"), jwk(NEW[1], kid=None)]

    assert keys_in(json.dumps({"keys": listed}).encode()) == (OLD_KEY, NEW_KEY)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_set_of_keys_or_a_refusal(document):
    try:
        found = keys_in(document)
    except ValueError as error:
        assert str(error)  # noqa: PT017 (either is right)
    else:
        assert all(len(key) == 32 for key in found)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, unique=True))
def test_a_set_that_is_written_can_be_read(several):
    assert keys_in(written(several).encode()) == tuple(several[:MOST_KEYS])
