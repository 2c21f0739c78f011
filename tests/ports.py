"""Ports of 127.0.0.1 that stay what they are: where nobody listens, or only who should."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

GIVEN_OUT_BY_NOBODY = range(20_000, 32_000)
"""Below those that Linux gives to whoever asks for any."""


@contextmanager
def refusing() -> Iterator[int]:
    """A port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def lasting() -> int:
    """A port for a server that is started there again and again."""
    while True:
        port = random.choice(GIVEN_OUT_BY_NOBODY)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
