"""Trying a configuration on the providers' samples: what its conditions would say."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from receiver import clock
from receiver.errors import Rejected
from receiver.expressions import context, event_fields
from receiver.models import Reading, Request
from receiver.providers import provider_of
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.providers.senders import Senders
from receiver.routing import Router
from receiver.settings import Route, Settings, Source
from receiver.settings.fields import suggest

SUBJECT = "sample"


def notes(settings: Settings) -> list[tuple[str, str]]:
    """
    What is allowed but risky, or looks wrong: (key path, sentence) each.

    Every condition is evaluated on every sample of the sources it is for.
    """
    found = list(Senders(settings.sources.values()).warnings())
    for i, route in enumerate(settings.routes):
        for source in settings.sources.values():
            if route.source in (source.name, "*"):
                found += [(f"routes[{i}].{k}", w) for k, w in _of(route, source)]
    return list(dict.fromkeys(found))


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

        def build(reading: Reading = reading, request: Request = request) -> object:
            fields = event_fields(
                reading,
                id="",
                source=source.name,
                provider=source.provider,
                received_at=request.received_at,
                origin="webhook",
            )
            visible = {"headers": dict(request.headers), "query": {}}
            return context(fields, parse(request.body), visible)

        for opinion in router.opinions(source.name, reading.type, build):
            if opinion.verdict == "failed":
                yield name, opinion.detail


def _readings(source: Source) -> Iterator[tuple[str, Reading, Request]]:
    """What the source's provider makes of each of its samples."""
    provider, now = provider_of(source), clock.now()
    for name, sample in samples(source.provider, SUBJECT, now).items():
        request = Request(sample.headers, {}, sample.body, now)
        try:
            yield name, provider.read(request, parse(sample.body)), request
        except Rejected:  # the source reads by places of its own
            continue
