"""
What is wrong with an installation, or soon will be: facts in, findings out.

`facts` looks at the machine; the other modules judge what was seen, and are pure.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A problem stops the receiver from doing its work; a warning does not yet."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do, in lines."""

    about: str
    verdict: Verdict
    words: str
    advice: str = ""


def ok(about: str, words: str) -> Finding:
    return Finding(about, Verdict.OK, words)


def warning(about: str, words: str, advice: str = "") -> Finding:
    return Finding(about, Verdict.WARNING, words, advice)


def problem(about: str, words: str, advice: str = "") -> Finding:
    return Finding(about, Verdict.PROBLEM, words, advice)


def unknown(about: str, words: str, advice: str = "") -> Finding:
    return Finding(about, Verdict.UNKNOWN, words, advice)
