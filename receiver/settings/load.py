"""
From files and the environment to checked settings.

    parse TOML -> replace ${NAME} -> build dataclasses -> check what refers to what

Every problem is reported at once, in one `SettingsError`.
"""

import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from ipaddress import IPv6Network, ip_network
from pathlib import Path
from typing import Any

from receiver import expressions, internal
from receiver.errors import Problem, SettingsError
from receiver.settings.environment import Environment, interpolate, references
from receiver.settings.fields import Problems, build, suggest
from receiver.settings.joins import checked_joins
from receiver.settings.model import (
    RESERVED,
    DestinationSettings,
    Known,
    Route,
    Server,
    Settings,
    Source,
    StoreSettings,
    guessable,
    unmeetable,
)

DEFAULT_FILE = "receiver.toml"
BUILT_IN = "the built-in configuration"
LONGEST_STORE_PATH = 95

MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as a socket for both kinds shows them; they are compared as IPv4."""


def load(path: Path | None, real_environ: Mapping[str, str], known: Known) -> Settings:
    """
    Read and check the configuration.

    `path` None means `receiver.toml` here if there is one, else the built-in default,
    driven by the environment alone.

    Raises:
        SettingsError: with every problem there is.
    """
    document, env, problems = _read(path, real_environ)
    with _not_too_deep(problems):
        document = interpolate(document, env, "", problems)
    settings = _build(document, problems, known)
    settings = replace(settings, store=_placed(settings.store, problems))
    if problems.found and problems.file == BUILT_IN:
        hint = "set it in .env or the environment, or start with: receiver init"
        raise SettingsError([replace(p, hint=hint) for p in problems.found])
    if problems.found:
        raise SettingsError(problems.found)
    return settings


def load_store(path: Path | None, real_environ: Mapping[str, str]) -> StoreSettings:
    """
    Where the store is, whatever else may be wrong with the configuration.

    Raises:
        SettingsError: that cannot be told.
    """
    document, env, problems = _read(path, real_environ)
    with _not_too_deep(problems):
        table = interpolate(document.get("store", {}), env, "store", problems)
    store = build(StoreSettings, table, "store", problems) or StoreSettings()
    if not problems.found:
        store = _placed(store, problems)
    if problems.found:
        raise SettingsError(problems.found)
    return store


def _read(
    path: Path | None, real: Mapping[str, str]
) -> tuple[dict[str, Any], Environment, Problems]:
    file = path or Path(DEFAULT_FILE)
    env = _environment(real, file.parent / ".env")
    built_in = path is None and not file.exists()
    problems = Problems(BUILT_IN if built_in else str(file), folder=file.parent)
    with _not_too_deep(problems):
        return _default_document(env) if built_in else _parse(file), env, problems


@contextmanager
def _not_too_deep(problems: Problems) -> Generator[None, None, None]:
    try:
        yield
    except RecursionError:
        problem = Problem(problems.file, "", "nested too deeply")
        raise SettingsError([problem]) from None


def _environment(real: Mapping[str, str], dotenv: Path) -> Environment:
    try:
        return Environment(real, dotenv)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        problem = Problem(str(dotenv), "", f"cannot be read: {why}")
        raise SettingsError([problem]) from None


def _placed(store: StoreSettings, problems: Problems) -> StoreSettings:
    """The store's URL with its path made whole; never shown, it may hold a password."""
    scheme, _, written = store.url.partition(":///")
    if scheme != "sqlite" or not written:
        hint = 'write "sqlite:///receiver.db", or "sqlite:////var/lib/receiver.db"'
        problems.add("store.url", "is not a store that is known here", hint)
        return store
    path = problems.folder / written
    if not path.parent.is_dir():
        problems.add("store.url", f"the folder {path.parent} does not exist")
    elif path.is_dir():
        problems.add("store.url", f"{path} is a folder", "name a file in it")
    elif len(str(path.absolute())) > LONGEST_STORE_PATH:
        message = f"the path has more than {LONGEST_STORE_PATH} characters"
        problems.add("store.url", message, "a Unix socket has to fit beside it")
    return replace(store, url=f"sqlite:///{path}")


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        hint = "write one with: receiver init" * isinstance(error, FileNotFoundError)
        message = f"cannot be read: {error.strerror}"
        raise SettingsError([Problem(str(file), "", message, hint)]) from None
    except ValueError as error:  # TOML's, Unicode's, or a number of 5,000 digits
        raise SettingsError([Problem(str(file), "", f"not TOML: {error}")]) from None


def _default_document(env: Environment) -> dict[str, Any]:
    text = resources.files("receiver").joinpath("default.toml").read_text()
    document = tomllib.loads(text)
    wanted = {
        name: table
        for name, table in document["destinations"].items()
        if any(_is_set(env, variable) for variable in references(table))
    }
    document["destinations"] = wanted
    for route in document["routes"]:
        route["to"] = [name for name in route["to"] if name in wanted]
    document["routes"] = [route for route in document["routes"] if route["to"]]
    return document


def _is_set(env: Environment, name: str) -> bool:
    try:
        return env.get(name) is not None
    except (OSError, ValueError):
        return True  # meant to be, and reported where it is used


def _build(document: dict[str, Any], problems: Problems, known: Known) -> Settings:
    parts = {"server", "store", "sources", "destinations", "routes", "joins"}
    for name in sorted(set(document) - parts):
        problems.add(name, "unknown table", suggest(name, parts))
    server = build(Server, document.get("server", {}), "server", problems)
    if server is not None:
        _check_networks(server.trusted_proxies, "server.trusted_proxies", problems)
        for field, message, hint in server.problems():
            problems.add(f"server.{field}", message, hint)
    store = build(StoreSettings, document.get("store", {}), "store", problems)
    for field, message, hint in store.problems() if store is not None else ():
        problems.add(f"store.{field}", message, hint)
    sources = _sources(document.get("sources", {}), problems, known)
    destinations = _destinations(document.get("destinations", {}), problems, known)
    routes = _routes(document, problems)
    named = [name for name, _ in _named(document.get("sources", {}))]
    joins = checked_joins(document.get("joins", {}), named, problems)
    return Settings(
        problems.file,
        server or Server(),
        store or StoreSettings(),
        sources,
        destinations,
        routes,
        joins,
    )


def _tables(tables: Any, key: str, problems: Problems) -> list[tuple[str, Any]]:
    if not isinstance(tables, dict):
        problems.add(key, "expected tables", f"write [{key}.NAME]")
    return _named(tables)


def _named(tables: Any) -> list[tuple[str, Any]]:
    return list(tables.items()) if isinstance(tables, dict) else []


def _sources(tables: Any, problems: Problems, known: Known) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    paths: dict[str, str] = {}
    for name, table in _tables(tables, "sources", problems):
        key = f"sources.{name}"
        source = _source(name, table, problems, known)
        if source is None:
            continue
        _check_source(source, key, problems, known)
        if source.path in paths:
            message = f"{source.path} is taken by sources.{paths[source.path]}"
            problems.add(f"{key}.path", message, "every source needs a path of its own")
        paths[source.path] = name
        sources[name] = source
    if not sources and not problems.found:
        problems.add("sources", "there is no source", "write [sources.NAME]")
    return sources


def _source(name: str, table: Any, problems: Problems, known: Known) -> Source | None:
    """A source of its provider's own class, on top of what a preset fills in."""
    key = f"sources.{name}"
    provider = table.get("provider") if isinstance(table, Mapping) else None
    cls, filled = Source, {}
    if isinstance(provider, str) and provider in known.sources:
        cls, preset = known.sources[provider]
        filled = dict(preset)
    elif provider:
        hint = suggest(str(provider), known.sources)
        problems.add(f"{key}.provider", f'unknown provider "{provider}"', hint)
    wanted = {**filled, **table} if isinstance(table, Mapping) else table
    source = build(cls, wanted, key, problems, name=name)
    return source and replace(source, path=source.path or f"/webhooks/{name}")


def _check_source(source: Source, key: str, problems: Problems, known: Known) -> None:
    if source.name == internal.SOURCE:
        problems.add(key, "is the name of receiver's own events", "choose another")
    if not source.path.startswith("/"):
        problems.add(f"{key}.path", "must begin with /")
    elif RESERVED.fullmatch(source.path):
        problems.add(f"{key}.path", f"{source.path} is used by receiver itself")
    _check_networks(source.allow_ips, f"{key}.allow_ips", problems)
    for field, message in unmeetable(source):
        problems.add(f"{key}.{field}", message, "no sender could send that")
    for field, message in guessable(source):
        problems.add(f"{key}.{field}", message, "anybody could send that")
    if source.provider in known.sources:
        for field, message, hint in known.judge(source):
            problems.add(f"{key}.{field}", message, hint)


def _check_networks(networks: tuple[str, ...], key: str, problems: Problems) -> None:
    for i, network in enumerate(networks):
        try:
            found = ip_network(network)
        except ValueError:
            hint = 'write it like "203.0.113.7", "203.0.113.0/24" or "2001:db8::/32"'
            problems.add(f"{key}[{i}]", f'"{network}" is no address or network', hint)
            continue
        if isinstance(found, IPv6Network) and found.subnet_of(MAPPED):
            message = f'"{network}" is an IPv4 address written as IPv6'
            problems.add(f"{key}[{i}]", message, 'write it like "203.0.113.7"')


def _destinations(
    tables: Any, problems: Problems, known: Known
) -> dict[str, DestinationSettings]:
    destinations: dict[str, DestinationSettings] = {}
    for name, table in _tables(tables, "destinations", problems):
        key = f"destinations.{name}"
        kind = table.get("type") if isinstance(table, Mapping) else None
        cls = known.destinations.get(str(kind))
        if cls is None:
            message = f'unknown type "{kind}"' if kind else "is required"
            hint = suggest(str(kind), known.destinations)
            problems.add(f"{key}.type", message, hint)
            continue
        built = build(cls, table, key, problems, name=name)
        if built is not None:
            for field, message, hint in built.all_problems():
                problems.add(f"{key}.{field}", message, hint)
            destinations[name] = built
    return destinations


def _routes(document: dict[str, Any], problems: Problems) -> tuple[Route, ...]:
    tables = document.get("routes", [])
    if not isinstance(tables, list):
        problems.add("routes", "expected a list of tables", "write [[routes]]")
        return ()
    routes: list[Route] = []
    for i, table in enumerate(tables):
        key = f"routes[{i}]"
        route = build(Route, table, key, problems)
        if route is None:
            continue
        route = replace(route, name=route.name or f"route-{i + 1}")
        _check_route(route, key, document, problems)
        if any(route.name == other.name for other in routes):
            problems.add(f"{key}.name", f'there is another route "{route.name}"')
        routes.append(route)
    return tuple(routes)


def _check_route(
    route: Route, key: str, document: dict[str, Any], problems: Problems
) -> None:
    sources = [name for name, _ in _named(document.get("sources", {}))]
    destinations = [name for name, _ in _named(document.get("destinations", {}))]
    if route.source not in ("*", internal.SOURCE, *sources):
        hint = suggest(route.source, sources)
        problems.add(f"{key}.source", f'no source "{route.source}"', hint)
    for i, name in enumerate(route.to):
        if name not in destinations:
            hint = suggest(name, destinations)
            problems.add(f"{key}.to[{i}]", f'no destination "{name}"', hint)
    if not route.to:
        problems.add(f"{key}.to", "is empty", "name at least one destination")
    if route.when is not None:
        try:
            expressions.compile_condition(route.when)
        except expressions.ExpressionError as error:
            problems.add(f"{key}.when", str(error), error.hint)
