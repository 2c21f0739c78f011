"""
Which hosts a request may go to, judged by the address that is really dialled.

Names are looked up once, and it is the answer of that look-up whose every address is
judged as its socket is opened: a name that means something else a moment later, or an
address in an odd spelling, gains nothing.

Sources: the IANA registries of special-purpose addresses, IPv4 and IPv6
(https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry).
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_RELAY = ipaddress.IPv4Network("192.88.99.0/24")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_TUNNELLED = ipaddress.IPv6Network("2002::/16")
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*")


class Refused(OSError):
    """The address is not one that this destination may go to."""


@dataclass(frozen=True, slots=True)
class Guard:
    """`allow_hosts` empty allows all names; `deny_private` allows public addresses."""

    allow_hosts: tuple[str, ...] = ()
    deny_private: bool = False

    def allows(self, host: str) -> bool:
        """Whether a request to this name, or address, may be made at all."""
        return not self.allow_hosts or matches(host, self.allow_hosts)

    def open(self, found: tuple[Any, ...]) -> socket.socket:
        """
        A socket for one address that `getaddrinfo` found.

        Raises:
            Refused: it is private, and that is denied.
            OSError: no socket could be made.
        """
        family, kind, protocol, _, address = found
        if self.deny_private and not is_public(address[0]):
            raise Refused("a private address")
        return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """
    Whether an address as `getaddrinfo` gives it belongs to the public internet.

    An IPv4 address inside an IPv6 one counts as itself.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and ip not in _RELAY
    inner = _inner(ip)
    if inner is not None:
        return is_public(str(inner))
    return ip in _UNICAST and ip.is_global


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host is one of those: `api.example.com`, or `*.example.com`."""
    name = host.lower().rstrip(".")
    return any(
        name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
        for pattern in (one.lower().rstrip(".") for one in patterns)
    )


def is_pattern(text: str) -> bool:
    """Whether `allow_hosts` may have this in it."""
    return bool(_PATTERN.fullmatch(text.lower().rstrip(".")))


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is meant: mapped, behind NAT64, or at the end of a tunnel."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _TRANSLATED:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _TUNNELLED:
        return ip.sixtofour
    return None
