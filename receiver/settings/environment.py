"""
The environment: `.env`, `NAME_FILE`, and `${NAME}` in configuration texts.

The real environment wins over `.env`.  `NAME_FILE` names a file that holds the value
(Docker and systemd hand secrets over that way).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from receiver.settings.fields import Problems

_UNCLOSED = re.compile(r"(?<!\$)\$\{[A-Za-z_][^}]*\Z")
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Environment:
    """Looks names up; an empty value counts as not set."""

    def __init__(self, real: Mapping[str, str], dotenv: Path | None = None) -> None:
        self._values: dict[str, str] = {}
        """
        Raises:
            OSError, UnicodeError: `.env` cannot be read.
        """
        self._folder = dotenv.parent if dotenv is not None else Path()
        if dotenv is not None and dotenv.is_file():
            found = dotenv_values(dotenv, interpolate=False)
            self._values |= {k: v for k, v in found.items() if v}
        self._values |= {k: v for k, v in real.items() if v}

    def get(self, name: str) -> str | None:
        """
        The value of NAME, or the content of the file that NAME_FILE names.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not text.
        """
        if name in self._values:
            return self._values[name]
        file = self._values.get(f"{name}_FILE")
        return (self._folder / file).read_text().strip() or None if file else None


def interpolate(value: Any, env: Environment, key: str, problems: Problems) -> Any:
    """Replace references in every text of a parsed TOML value."""
    if isinstance(value, str):
        return _replace(value, env, key, problems)
    if isinstance(value, list):
        return [
            interpolate(v, env, f"{key}[{i}]", problems) for i, v in enumerate(value)
        ]
    if isinstance(value, dict):
        return {
            name: interpolate(v, env, f"{key}.{name}" if key else str(name), problems)
            for name, v in value.items()
        }
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        problems.add(key, "is too large a number")
        return 0
    return value


def references(value: Any) -> set[str]:
    """The names without a default that a parsed TOML value refers to."""
    if isinstance(value, str):
        found = _REFERENCE.finditer(value)
        return {m[1] for m in found if m[1] and m[2] is None}
    if isinstance(value, list):
        return {name for v in value for name in references(v)}
    if isinstance(value, dict):
        return {name for v in value.values() for name in references(v)}
    return set()


def _replace(text: str, env: Environment, key: str, problems: Problems) -> str:
    def one(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "${"
        try:
            value = env.get(name)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            problems.add(key, f"cannot read the file in {name}_FILE: {why}")
            return ""
        if value is None and default is None:
            hint = f"set it in .env or the environment, or write ${{{name}:-}}"
            problems.add(key, f"the environment variable {name} is not set", hint)
            return f"${{{name}}}"  # one problem is enough for one missing variable
        return value if value is not None else default or ""

    if _UNCLOSED.search(text):
        hint = "write ${NAME}, or $${ for the characters themselves"
        problems.add(key, "has a ${ without its }", hint)
    return _REFERENCE.sub(one, text)
