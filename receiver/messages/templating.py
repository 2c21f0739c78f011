"""
Texts of users' own: Jinja2, sandboxed, with every value made harmless where it lands.

What a template's author writes is taken as it is; what comes out of an event is only
ever text.  Which text that is depends on where the template's output goes (`Form`).
A field that an event does not have is said to be missing, in the text itself: a
message that arrives incomplete is better than none.

Rendering can take any amount of time and memory (a loop in a loop in a loop), so it is
done where it can be ended: see `receiver.messages.renderer`.
https://jinja.palletsprojects.com/en/stable/sandbox/
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from jinja2 import (
    Environment,
    Template,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    meta,
    nodes,
    pass_eval_context,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup
from markupsafe import escape as escape_html

from receiver.expressions import NAMES
from receiver.messages import compose
from receiver.messages.blocks import escape as escape_mrkdwn
from receiver.messages.forms import Form, TemplateFailed
from receiver.messages.message import Message
from receiver.messages.words import address, clean, legible, moment
from receiver.models import Event
from receiver.settings.fields import suggest

LARGEST_OUTPUT = 256 * 1024
"""Bytes; more than Slack takes or mail programs show."""

_TOO_DEEP = (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError)


EVENT_NAMES = tuple(
    name.removeprefix("event.") for name in NAMES if name.startswith("event.")
)
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "event": EVENT_NAMES,
    "request": ("headers", "query"),
    "destination": ("name", "type"),
    "message": tuple(field.name for field in fields(Message)),
}
"""The names a template may use, and what they have; `data` may have anything."""


def names(event: Event, destination: Mapping[str, str]) -> dict[str, Any]:
    """What a template sees of an event."""
    known = {name: getattr(event, name) for name in EVENT_NAMES}
    known["state"] = str(event.state)
    known["result_urls"] = [url for u in event.result_urls if (url := address(u))]
    return {
        "event": known,
        "data": event.data,
        "request": {"headers": dict(event.headers), "query": dict(event.query)},
        "destination": dict(destination),
        "message": compose(event),
    }


def problem(source: str, form: Form) -> str:
    """What is wrong with a template, and in which line; empty if nothing is."""
    environment = _environment(form)
    try:
        tree = environment.parse(source)
        _compiled(source, form)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {clean(error.message or 'wrong syntax', 300)}"
    except _TOO_DEEP:
        return "is nested too deeply"
    return next(_wrong_names(environment, tree), "")


def render(source: str, form: Form, visible: Mapping[str, Any]) -> str:
    """
    What the template says; may take for ever.

    Raises:
        TemplateFailed: it fails on this event, says nothing, or far too much.
    """
    pieces: list[str] = []
    room = LARGEST_OUTPUT
    try:
        for piece in _compiled(source, form).generate(visible):
            pieces.append(piece)
            room -= len(piece.encode("utf-8", "replace"))
            if room < 0:
                kib = LARGEST_OUTPUT // 1024
                raise TemplateFailed(f"its output is longer than {kib} KiB")
    except TemplateError as error:
        raise TemplateFailed(_explained(error)) from None
    except MemoryError:
        raise TemplateFailed("it takes more memory than it may") from None
    except RecursionError:
        raise TemplateFailed("it calls itself too often") from None
    except Exception as error:  # noqa: BLE001 (whatever its expressions can raise)
        raise TemplateFailed(_explained(error)) from None
    text = legible("".join(pieces))  # whatever was joined to what, and called safe
    if not text.strip():
        raise TemplateFailed("it says nothing about this event")
    return text


@lru_cache(maxsize=64)
def _compiled(source: str, form: Form) -> Template:
    return _environment(form).from_string(source)


@cache
def _environment(form: Form) -> "_Environment":
    environment = _Environment(
        undefined=_Missing,
        autoescape=True,
        finalize=_FINALIZE[form],
        # Nothing is worked out when a template is read: that could take for ever.
        optimized=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    harmless = _HARMLESS[form]
    environment.filters |= {
        "address": _ADDRESS[form],
        "e": harmless,
        "escape": harmless,
        "forceescape": lambda value: harmless(str(value)),
    }
    for name in ("xmlattr", "urlize"):  # make HTML of their own
        if form is not Form.HTML:
            del environment.filters[name]
    if form is not Form.HTML:  # there it is made for HTML
        environment.filters["tojson"] = (
            _json_for_slack if form is Form.BLOCKS else _json
        )
    return environment


class _Environment(ImmutableSandboxedEnvironment):
    """Where `data.items` is the field of that name, and not a method of dict."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Missing(Undefined):
    """A field that an event does not have: false, empty, and named in the text."""

    __slots__ = ()

    def __getattr__(self, name: str) -> "_Missing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, *_keys: Any, **_options: Any) -> "_Missing":  # type: ignore[override]  # (the base only ever raises)
        return self

    def __str__(self) -> str:
        name = clean(str(self._undefined_name), 60) if self._undefined_name else "it"
        return f"[{name.translate(_QUIET)} is missing]"


_QUIET = str.maketrans(dict.fromkeys("<>&\"'\\`|*_~", "?"))
"""A name may come out of the event, too: `data[event.subject]`."""


def _wrong_names(environment: Environment, tree: nodes.Template) -> Iterator[str]:
    """Names that no event has, in the order of the text; and files, which are none."""
    files = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
    for node in tree.find_all(files):
        yield f"line {node.lineno}: there are no other templates to use here"
    unknown = _undeclared(environment, tree) - {*_KNOWN, "data"}
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            hint = suggest(name.name, [*_KNOWN, "data"])
            yield f'line {name.lineno}: there is no "{name.name}" ({hint})'
    for part in tree.find_all(nodes.Getattr):
        owner = part.node
        known = _KNOWN.get(owner.name) if isinstance(owner, nodes.Name) else None
        if known and part.attr not in known and isinstance(owner, nodes.Name):
            hint = suggest(part.attr, known)
            where = f"{owner.name}.{part.attr}"
            yield f'line {part.lineno}: there is no "{where}" ({hint})'


def _undeclared(environment: Environment, tree: nodes.Template) -> set[str]:
    """As `jinja2.meta` finds them, but without working out constants meanwhile."""
    generator = meta.TrackingCodeGenerator(environment)
    generator.optimizer = None
    generator.visit(tree)
    return generator.undeclared_identifiers


def _explained(error: BaseException) -> str:
    """The error in a line, with the template's line where the traceback knows it."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        code = trace.tb_frame.f_code
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if code.co_filename == "<template>" and template is None:
            line = trace.tb_lineno
        trace = trace.tb_next
    said = clean(str(error), 200) or type(error).__name__
    return f"line {line}: {said}" if line else said


def _plain(value: Any) -> str:
    """A value as text: JSON's words for JSON's values, and nothing for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return legible(str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping | list | tuple):
        return legible(_json(value))
    return legible(str(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _in_json(text: str) -> str:
    """Text for between the quotes of a JSON string, where Slack shows it as it is."""
    return json.dumps(escape_mrkdwn(text))[1:-1]


def _json_for_slack(value: Any) -> Markup:
    return Markup(json.dumps(_escaped(value), default=str))  # noqa: S704 (it is JSON)


def _escaped(value: Any) -> Any:
    """The same value; whatever text is in it, Slack shows as it is."""
    if isinstance(value, Mapping):
        return {escape_mrkdwn(str(k)): _escaped(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return escape_mrkdwn(_plain(value))


_ESCAPES: Mapping[Form, Callable[[str], str]] = {
    Form.TEXT: str,
    Form.HTML: lambda text: str(escape_html(text)),
    Form.MRKDWN: escape_mrkdwn,
    Form.BLOCKS: _in_json,
}


def _harmless(form: Form) -> Callable[[Any], Markup]:
    """What makes a value harmless; what is so already stays as it is."""
    escape = _ESCAPES[form]

    def harmless(value: Any) -> Markup:
        if isinstance(value, Markup):
            return value
        return Markup(escape(_plain(value)))  # noqa: S704 (it was just escaped)

    return harmless


_HARMLESS = {form: _harmless(form) for form in Form}


def _finalize(form: Form) -> Callable[[Any, Any], Markup]:
    harmless = _HARMLESS[form]

    @pass_eval_context  # so that it is called when rendering, and never before
    def finalize(_context: Any, value: Any) -> Markup:
        return harmless(value)

    return finalize


_FINALIZE = {form: _finalize(form) for form in Form}


def _address(form: Form) -> Callable[[Any], Markup]:
    """A web address for a link; empty where the value is anything else."""

    def found(value: Any) -> Markup:
        url = address(value)
        if form in (Form.HTML, Form.MRKDWN):
            url = url.replace("&", "&amp;")
        return Markup(url)  # noqa: S704 (nothing in it can end a link)

    return found


_ADDRESS = {form: _address(form) for form in Form}
