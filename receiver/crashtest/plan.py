"""What the processes of a crash test agree on: a folder, its files, and a few numbers."""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

SOURCE = "crashtest"
PATH = "/crashtest"
HEADER = "x-signature"
ORDERED, UNORDERED = "ordered", "unordered"
DESTINATIONS = (ORDERED, UNORDERED)

_CONFIG = """\
[server]
port = 0
log_format = "json"
grace = "20s"

[store]
url = "sqlite:///{store}"
min_free_bytes = 0

[sources.crashtest]
provider = "hmac"
path = "/crashtest"
secrets = ["{secret}"]
key = "{{subject}}:{{number}}"
type = "'crashtest.step'"
subject = "subject"
signatures = [{{ header = "X-Signature" }}]

{destinations}
[[routes]]
name = "all"
source = "crashtest"
to = ["ordered", "unordered"]
"""

_DESTINATION = """\
[destinations.{name}]
type = "http"
url = "{sink}/{name}"
timeout = "5s"
concurrency = 16
ordering = "{ordering}"
retry = {{ waits = ["50ms", "200ms", "1s"], max_attempts = 100000 }}
breaker = {{ failures = 0 }}

"""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How it is done.  Shares are of 1; `rate` is events per second at the most.

    The sink answers 503 to `failing` of the requests and nothing at all to `resetting`,
    and takes up to `dawdling` seconds for `slow` of them; the sender repeats `repeated` of its events
    and adds `forged` ones that are not signed with the secret.
    """

    seed: int
    secret: str
    store: str = "receiver.db"
    """Its file, in the folder unless it says where."""
    subjects: int = 24
    connections: int = 12
    rate: float = 400.0
    padding: int = 0
    repeated: float = 0.10
    forged: float = 0.02
    failing: float = 0.05
    resetting: float = 0.02
    slow: float = 0.02
    dawdling: float = 0.3

    @classmethod
    def new(cls, seed: int | None = None, **more: Any) -> "Plan":
        """A plan with a secret of its own, and a seed if none is given."""
        seed = secrets.randbelow(2**32) if seed is None else seed
        return cls(seed, secrets.token_hex(32), **more)

    def write(self, folder: Path) -> None:
        (folder / "plan.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        return cls(**json.loads((folder / "plan.json").read_text()))


def config(plan: Plan, sink: str) -> str:
    """The receiver's configuration: everything goes to both destinations."""
    destinations = "".join(
        _DESTINATION.format(
            name=name, sink=sink, ordering="subject" if name == ORDERED else "none"
        )
        for name in DESTINATIONS
    )
    return _CONFIG.format(
        secret=plan.secret, store=plan.store, destinations=destinations
    )


class Journal:
    """A file to which one process adds lines, each whole and at once."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, **fields: object) -> None:
        os.write(self._fd, json.dumps(fields).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


def noted(path: Path) -> Iterator[Mapping[str, Any]]:
    """What a journal holds until now."""
    with path.open("rb") as lines:
        yield from notes(lines)


def notes(lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """
    What lines say, up to the first that is not whole.

    What a growing file gives after that one may be its other half.
    """
    whole = takewhile(lambda line: line.endswith(b"\n"), lines)
    return map(json.loads, whole)


def tell(path: Path, text: str) -> None:
    """Put a text where another process looks for it, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)
