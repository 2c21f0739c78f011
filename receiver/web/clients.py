"""Who a request is from, when proxies stand between (pure)."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from starlette.requests import Request

from receiver.settings import Server

Network = IPv4Network | IPv6Network


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks; a single address is one, too."""
    return tuple(ip_network(text) for text in texts)


def address(server: Server, request: Request) -> str:
    """The address of who sent a request."""
    forwarded = ", ".join(request.headers.getlist("x-forwarded-for"))
    return client_address(peer(request), forwarded, networks(server.trusted_proxies))


def peer(request: Request) -> str:
    """The address at the other end of the connection; empty where there is none."""
    return request.client.host if request.client is not None else ""


def client_address(peer: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """
    The address of the client.

    `forwarded` is `X-Forwarded-For`, to which every proxy adds whom it was asked by.
    It is read from its end, and only as far as trusted proxies vouch for it: what is
    before that anybody may have written.  Where a proxy left its part empty, nothing
    is known.
    """
    hops = [hop.strip() for hop in forwarded.split(",")] if forwarded.strip() else []
    client = peer
    while hops and is_one_of(client, proxies):
        client = hops.pop()
    return client


def neighbourhood(address: str) -> str:
    """
    All that one client may well have: the address, or of IPv6 its network of 64 bits,
    in which nobody has to ask for an address of their own.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found) >> 64 << 64, 64)))


def is_one_of(text: str, proxies: Sequence[Network]) -> bool:
    """Whether an address belongs to one of these networks."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in proxies)
