"""Trying a configuration on the providers' samples: what would fail, and why."""

from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatchcase
from functools import partial

from receiver import clock
from receiver.destinations import Preview, Previews, make
from receiver.errors import Rejected
from receiver.expressions import context_of
from receiver.internal import INTERNAL_TYPES, SOURCE
from receiver.models import Event, Reading, Request, event_of
from receiver.providers import provider_of
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.providers.senders import Senders
from receiver.routing import Router
from receiver.settings import Route, Settings, Source
from receiver.settings.fields import suggest
from receiver.trial import parcel
from receiver.web.api.access import weaknesses

SUBJECT = "sample"


def notes(settings: Settings) -> list[tuple[str, str]]:
    """
    What is allowed but risky, or looks wrong: (key path, sentence) each.

    Every condition is evaluated on every sample of the sources it is for.
    """
    found = list(Senders(settings.sources.values()).warnings())
    found += weaknesses(settings.server)
    for i, route in enumerate(settings.routes):
        if route.source == SOURCE:
            found += [(f"routes[{i}].types", w) for w in _no_alerts(route)]
        for source in settings.sources.values():
            if route.source in (source.name, "*"):
                found += [(f"routes[{i}].{k}", w) for k, w in _of(route, source)]
    found += [
        (
            f"joins.{name}",
            "no route wants join.completed: it is stored and goes nowhere",
        )
        for name in settings.joins
        if not any(_wants_joins(route) for route in settings.routes)
    ]
    return list(dict.fromkeys(found))


def _wants_joins(route: Route) -> bool:
    return route.source == SOURCE and any(
        fnmatchcase("join.completed", glob) for glob in route.types
    )


async def would_send(settings: Settings) -> list[tuple[str, str]]:
    """
    What destinations' expressions and templates make of the samples routed there.

    (key path, sentence) for each destination where one fails.  Nothing is sent.
    """
    found: list[tuple[str, str]] = []
    for name in dict.fromkeys(to for route in settings.routes for to in route.to):
        failed = [
            (event.type, preview.note)
            async for event, preview in _previews(settings, name)
            if preview.note
        ]
        if failed:
            kind, why = failed[0]
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            sentence = f"fails on a sample of the type {kind}{more}: {why}"
            found.append((f"destinations.{name}", sentence))
    return found


async def _previews(
    settings: Settings, name: str
) -> AsyncIterator[tuple[Event, Preview]]:
    """Every sample that may be routed to a destination, and what it would be sent."""
    destination = make(settings.destinations[name])
    try:
        if not isinstance(destination, Previews):
            return
        for event in _routed(settings, name):
            yield event, await destination.preview(parcel(name, event))
    finally:
        await destination.close()


def _routed(settings: Settings, name: str) -> Iterator[Event]:
    routes = [route for route in settings.routes if name in route.to]
    for source in settings.sources.values():
        for _, reading, request in _readings(source):
            for route in routes:
                mine = route.source in (source.name, "*")
                if mine and any(fnmatchcase(reading.type, t) for t in route.types):
                    yield _event(source, reading, request)
                    break


def _no_alerts(route: Route) -> Iterator[str]:
    for glob in route.types:
        if not any(fnmatchcase(one, glob) for one in INTERNAL_TYPES):
            hint = suggest(glob, INTERNAL_TYPES)
            yield f'no alert of receiver is of the type "{glob}" ({hint})'


def _of(route: Route, source: Source) -> Iterator[tuple[str, str]]:
    readings = list(_readings(source))
    types = {reading.type for _, reading, _ in readings}
    for glob in route.types:
        if types and not any(fnmatchcase(one, glob) for one in types):
            hint = suggest(glob, types)
            sentence = (
                f'no sample of {source.provider} is of the type "{glob}" ({hint})'
            )
            yield "types", sentence
    if route.when is None:
        return
    failed = list(_failures(route, source, readings))
    if failed:
        name, why = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        sentence = f"would fail, which is no match, on the sample {name}{more}: {why}"
        yield "when", f"{sentence} (guard it with has(...))"


def _failures(
    route: Route, source: Source, readings: list[tuple[str, Reading, Request]]
) -> Iterator[tuple[str, str]]:
    router = Router([route])
    for name, reading, request in readings:
        event = _event(source, reading, request)
        for opinion in router.opinions(
            source.name, reading.type, partial(context_of, event)
        ):
            if opinion.verdict == "failed":
                yield name, opinion.detail


def _event(source: Source, reading: Reading, request: Request) -> Event:
    return event_of(source.name, source.provider, request, reading, origin="preview")


def _readings(source: Source) -> Iterator[tuple[str, Reading, Request]]:
    """What the source's provider makes of each of its samples."""
    provider, now = provider_of(source), clock.now()
    for name, sample in samples(source.provider, SUBJECT, now).items():
        request = Request(sample.headers, {}, sample.body, now)
        try:
            yield name, provider.read(request, parse(sample.body)), request
        except Rejected:  # the source reads by places of its own
            continue
