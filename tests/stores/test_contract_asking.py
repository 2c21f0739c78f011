"""What every store promises of subjects that are asked for."""

from datetime import datetime, timedelta

from receiver.models import State
from receiver.subjects import Credits, Subject, SubjectChange, SubjectFilter
from tests.stores.making import NOW, accepted, seconds
from tests.stores.subjects import MEMORY

LATER = NOW + timedelta(hours=1)


async def registered(store, *names: str, at: datetime = NOW) -> None:
    await store.register_subjects("sora2", "sora2", names, at)


async def to_ask(store, *, silent_since=LATER, now=LATER, limit=10) -> list[str]:
    found = await store.to_ask("sora2", silent_since=silent_since, now=now, limit=limit)
    return [one.subject for one in found]


async def noted(store, subject: str, *, counts=True, next_at=None) -> None:
    await store.asked(
        "sora2", subject, counts=counts, next_at=next_at, note="what came of it"
    )


async def ended(store, subject: str) -> None:
    [known] = await store.subjects(SubjectFilter(subject=subject), limit=1)
    change = Subject(
        id=known.id,
        source="sora2",
        subject=subject,
        provider="sora2",
        kind="batch",
        state=State.SUCCEEDED,
        final=True,
        begun_at=NOW,
        heard_at=NOW,
        ended_at=NOW,
        events=1,
        troubles=(),
        request_id=None,
        credits=Credits(),
        facts={},
    )
    await store.advance("tests", None, [SubjectChange(change, MEMORY, None, ())])


async def test_what_is_silent_is_to_be_asked_for_the_longest_silence_first(store):
    await accepted(store)  # so that the names are known
    await registered(store, "b", at=NOW + seconds(10))
    await registered(store, "a")
    await registered(store, "c", at=NOW + seconds(20))

    assert await to_ask(store, silent_since=NOW + seconds(10)) == ["a", "b"]
    assert await to_ask(store, limit=1) == ["a"]
    assert (
        list(await store.to_ask("another", silent_since=LATER, now=LATER, limit=1))
        == []
    )


async def test_what_was_asked_for_is_asked_for_again_when_it_is_due(store):
    await registered(store, "a")

    await noted(store, "a", next_at=NOW + seconds(30))

    assert await to_ask(store, now=NOW + seconds(29)) == []
    assert await to_ask(store, now=NOW + seconds(30)) == ["a"]
    [one] = await store.to_ask("sora2", silent_since=LATER, now=LATER, limit=1)
    assert (one.asked, one.heard_at) == (1, NOW)


async def test_a_question_without_an_answer_is_not_counted_but_waits(store):
    await registered(store, "a")

    await noted(store, "a", counts=False, next_at=NOW + seconds(30))

    assert await to_ask(store, now=NOW) == []
    [one] = await store.to_ask("sora2", silent_since=LATER, now=LATER, limit=1)
    assert one.asked == 0


async def test_what_is_given_up_is_not_asked_for_until_somebody_watches_it_anew(store):
    await registered(store, "a")
    await noted(store, "a", next_at=None)
    given_up = await to_ask(store)

    await store.ask_anew("sora2", ["a", "unheard of"])

    assert given_up == []
    assert await to_ask(store) == ["a"]


async def test_what_has_ended_is_never_asked_for(store):
    await registered(store, "a", "b")
    await noted(store, "b", next_at=NOW)

    await ended(store, "a")
    await ended(store, "b")
    await store.ask_anew("sora2", ["a", "b"])

    assert await to_ask(store) == []


async def test_who_looks_sees_what_came_of_asking(store, reader):
    await registered(store, "a")

    await noted(store, "a", next_at=NOW + seconds(30))

    [found] = await reader.subjects(SubjectFilter(subject="a"), limit=1)
    assert (found.asked, found.next_ask_at) == (1, NOW + seconds(30))
    assert found.ask_note == "what came of it"


async def test_of_an_unknown_subject_nothing_is_noted(store):
    await noted(store, "unheard of", next_at=NOW)

    assert await to_ask(store) == []


async def test_of_what_has_ended_no_next_question_is_told(store, reader):
    await registered(store, "a")
    await noted(store, "a", next_at=NOW + seconds(30))

    await ended(store, "a")

    [found] = await reader.subjects(SubjectFilter(subject="a"), limit=1)
    assert (found.final, found.asked, found.next_ask_at) == (True, 1, None)
