"""
How many connections may be open at once.

A server without a descriptor left can neither accept nor open its own files, so some
are kept back: for the store, for deliveries, for helper processes.
"""

import resource
from contextlib import suppress

RESERVED_DESCRIPTORS = 100
"""Kept for everything that is not a client's connection."""

MOST_CONNECTIONS = 4096
"""However many descriptors there are: each connection may hold some memory, too."""


def raise_descriptor_limit() -> None:
    """Raise our own limit of open files to what the system allows us anyway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems say more than they allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limit() -> int:
    """How many connections fit the limit of open files, with enough left for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(soft - RESERVED_DESCRIPTORS, soft // 2))
