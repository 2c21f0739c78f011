"""
Settings as frozen dataclasses: one declaration each, everything else derived.

`option` declares a field with its help and whether it is secret; `build` turns a
TOML table into the dataclass, or reports what is wrong with it, all at once.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from receiver.errors import Problem
from receiver.models import Rate, Secret

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DIGITS = re.compile(r"[0-9]{1,18}")
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)/([smh])", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kMGT]?)(i?)B")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


LARGEST_FILE = 256 * 1024
"""Bytes a text file that a setting names may have."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """
    A file that a setting names, with what was in it when the configuration was read.

    So settings differ when the file does, and a reload takes up its new text.
    """

    path: Path
    text: str = field(repr=False)


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 (the word for it)
    secret: bool = False,
    least: Any = None,
    most: Any = None,
) -> Any:
    """
    A setting with its documentation; required when it has no default.

    `least` and `most` bound a number or a duration; of a list, what is in it (which
    must then be something).
    """
    metadata = {"help": help, "secret": secret, "least": least, "most": most}
    if callable(default):
        return field(default_factory=default, metadata=metadata, kw_only=True)
    return field(default=default, metadata=metadata, kw_only=True)


class Argv(tuple[str, ...]):
    """
    A program to run, and its arguments, as it is given them: empty ones too.

    The program is a whole path, or a bare name to be looked up.  The `repr` is without
    the arguments, for there may be secrets among them.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self[0]!r} and {len(self) - 1} arguments>"


@dataclass(slots=True)
class Problems:
    """Collects everything that is wrong, with the file it is wrong in."""

    file: str
    found: list[Problem] = field(default_factory=list[Problem])
    folder: Path = Path()
    """What relative paths in the file start from: the folder it is in."""

    def add(self, key: str, message: str, hint: str = "") -> None:
        self.found.append(Problem(self.file, key, message, hint))


def build(
    cls: type[T], table: object, key: str, problems: Problems, **given: Any
) -> T | None:
    """
    The dataclass from a TOML table, or None after reporting why not.

    `given` are the fields that the table does not have: those without an `option`.
    """
    if not isinstance(table, Mapping):
        problems.add(key, f"expected a table, found {_kind(table)}")
        return None
    hints = get_type_hints(cls)
    declared = {f.name: f for f in dataclasses.fields(cls) if "help" in f.metadata}  # type: ignore[arg-type]
    names = {_in_toml(name): name for name in declared}
    before = len(problems.found)
    values: dict[str, Any] = {}
    for written, value in table.items():
        name = names.get(written)
        if name is None:
            problems.add(f"{key}.{written}", "unknown key", suggest(written, names))
        elif value not in ("", None):
            so_far, place = len(problems.found), f"{key}.{written}"
            values[name] = _convert(hints[name], value, place, problems)
            if len(problems.found) == so_far:
                _check_bounds(values[name], declared[name], place, problems)
    for name in declared.keys() - values.keys():
        values |= _default_path(declared[name], problems)
    missing = [f for f in declared.values() if f.name not in values and _required(f)]
    for declaration in missing:
        place = f"{key}.{_in_toml(declaration.name)}"
        problems.add(place, "is required", declaration.metadata["help"])
    if len(problems.found) > before:
        return None
    return cls(**given, **values)


def _default_path(
    declaration: "dataclasses.Field[Any]", problems: Problems
) -> dict[str, Any]:
    """Defaults that are paths start from the folder, too."""
    name, default = declaration.name, declaration.default
    if isinstance(default, Path):
        return {name: problems.folder / default}
    if isinstance(default, tuple) and default and isinstance(default[0], Path):
        return {name: tuple(problems.folder / path for path in default)}
    return {}


def _check_bounds(
    value: Any, declaration: "dataclasses.Field[Any]", key: str, problems: Problems
) -> None:
    least, most = declaration.metadata["least"], declaration.metadata["most"]
    if least is not None and value == ():
        problems.add(key, "is empty")
    for one in value if isinstance(value, tuple) else (value,):
        if least is not None and one < least:
            problems.add(key, f"must be at least {shown(least)}")
        elif most is not None and one > most:
            problems.add(key, f"must be at most {shown(most)}")


def shown(bound: Any) -> str:
    """A number, or a duration as it is written in the configuration."""
    if not isinstance(bound, timedelta):
        return str(bound)
    milliseconds = bound // timedelta(milliseconds=1)
    for unit, factor in reversed(_UNITS.items()):
        if milliseconds % round(factor * 1000) == 0:
            return f"{milliseconds // round(factor * 1000)}{unit}"
    return f"{milliseconds}ms"


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?` or the list of what would be right."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return "known: " + ", ".join(known) if known else "there are none"


def duration(text: str) -> timedelta | None:
    """`"500ms"`, `"10s"`, `"5m"`, `"2h"`, `"3d"`, or a sum like `"1h30m"`."""
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{n}{u}" for n, u in parts) != text:
        return None
    try:
        return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in parts))
    except OverflowError:
        return None


def rate(text: str) -> Rate | None:
    """`"20/s"`, `"90/m"` or `"1000/h"`; more than none."""
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) == 0:
        return None
    return Rate(float(found[1]), round(_UNITS[found[2]]))


class ByteSize(int):
    """A number of bytes, written as one or like `"10GB"`."""

    __slots__ = ()


def byte_size(text: str) -> ByteSize | None:
    """`"500MB"`, `"10GB"` (powers of 1000), `"8GiB"` (powers of 1024)."""
    found = _SIZE.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        return None
    base = 1024 if found[3] else 1000
    power = ("", "k", "M", "G", "T").index(found[2])
    return ByteSize(float(found[1]) * base**power)


def _in_toml(name: str) -> str:
    return name.rstrip("_")  # `from` and `type` are Python's words too


def _required(declaration: "dataclasses.Field[Any]") -> bool:
    return (
        declaration.default is dataclasses.MISSING
        and declaration.default_factory is dataclasses.MISSING
    )


def _convert(hint: Any, value: Any, key: str, problems: Problems) -> Any:  # noqa: PLR0911 (a table in code)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert(_member(args, value), value, key, problems)
    if origin is Literal:
        return _choice(args, value, key, problems)
    if origin is tuple:
        return _items(args[0], value, key, problems)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(args[1], value, key, problems)
    if hint is Argv:
        return _argv(value, key, problems)
    if hint is TextFile:
        return _text_file(value, key, problems)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in _READ:
        return build(hint, value, key, problems)
    return _scalar(hint, value, key, problems)


def _member(members: tuple[Any, ...], value: Any) -> Any:
    """Of a union the member that a value looks like; else the first."""
    kinds: dict[type, Any] = {list: tuple, dict: Mapping}
    wanted = kinds.get(type(value), type(value))
    real = [member for member in members if member is not types.NoneType]
    return next((m for m in real if (get_origin(m) or m) is wanted), real[0])


def _scalar(hint: type, value: Any, key: str, problems: Problems) -> Any:  # noqa: PLR0911 (a table in code)
    if hint is ByteSize and type(value) is int:
        return ByteSize(value)
    if hint in _READ:
        read, what, example = _READ[hint]
        parsed = read(value) if isinstance(value, str) else None
        if parsed is None:
            problems.add(key, f"not a {what}", f"write it like {example}")
        return parsed
    if hint is int and isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)  # out of an environment variable
    if hint is bool and value in ("true", "false"):
        return value == "true"
    if hint is Secret and isinstance(value, str):
        return Secret(value)
    if hint is Path and isinstance(value, str):
        return problems.folder / value
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        problems.add(key, f"expected {_WORDS[hint]}, found {_kind(value)}")
        return None
    return value


def _text_file(value: Any, key: str, problems: Problems) -> TextFile | None:
    path = _scalar(Path, value, key, problems)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            problems.add(key, f"{path} is larger than {LARGEST_FILE // 1024} KiB")
        return TextFile(path, content.decode("utf-8-sig"))
    except OSError as error:
        problems.add(key, f"{path} cannot be read: {error.strerror}")
    except ValueError:  # of Unicode, or of a name with a null in it
        problems.add(key, f"{path} is not a text in UTF-8")
    return None


def _items(hint: Any, value: Any, key: str, problems: Problems) -> tuple[Any, ...]:
    if not isinstance(value, list):
        problems.add(key, f"expected a list, found {_kind(value)}", "write it in [ ]")
        return ()
    return tuple(
        _convert(hint, item, f"{key}[{i}]", problems)
        for i, item in enumerate(value)
        if item != ""
    )


def _argv(value: Any, key: str, problems: Problems) -> Argv:
    hint = 'write it like ["/usr/local/bin/on-batch", "--flag"]'
    if not isinstance(value, list):
        problems.add(key, f"expected a list, found {_kind(value)}", hint)
        return Argv()
    texts = [_scalar(str, v, f"{key}[{i}]", problems) for i, v in enumerate(value)]
    if not texts or texts[0] == "":
        problems.add(key, "names no program", hint)
    elif texts[0] is not None and "/" in texts[0]:
        texts[0] = str((problems.folder / texts[0]).absolute())
    return Argv(texts)


def _mapping(hint: Any, value: Any, key: str, problems: Problems) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        problems.add(key, f"expected a table of texts, found {_kind(value)}")
        return {}
    return {
        str(name): _convert(hint, item, f"{key}.{name}", problems)
        for name, item in value.items()
    }


def _choice(choices: tuple[Any, ...], value: Any, key: str, problems: Problems) -> Any:
    if value not in choices:
        problems.add(key, f"{value!r} is not possible", suggest(str(value), choices))
    return value


_READ: dict[type, tuple[Callable[[str], Any], str, str]] = {
    timedelta: (duration, "duration", '"10s", "5m", "2h" or "3d"'),
    Rate: (rate, "rate", '"20/s", "90/m" or "1000/h"'),
    ByteSize: (byte_size, "size", '"500MB" or "10GB"'),
}

_WORDS: dict[type, str] = {
    str: "text in quotes",
    Secret: "text in quotes",
    Path: "a path in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return {bool: "a boolean", int: "a number", float: "a number", str: "text"}.get(
        type(value),
        type(value).__name__,
    )
