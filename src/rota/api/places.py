"""Where a request comes from and where it was sent: addresses, proxies, hosts, origins."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from rota.api.limits import Rates
from rota.domain.errors import Invalid

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)(:[0-9]{1,5})?")
ORIGIN = re.compile(r"https?://[^/?#*\s,@]+")
HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What the guard lets pass. Names, networks and origins are as in the settings of the API."""

    hosts: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    """Networks that may ask; empty: all."""
    proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    origins: tuple[str, ...] = ()
    """Web origins that may read answers; cookies are never for them."""
    loopback: bool = True
    """Whether the server listens on loopback only."""
    body_bytes: int = 4 << 20
    body_s: float = 30.0
    rates: Rates = field(default_factory=Rates)


class Places:
    """Which hosts, networks and origins are known and allowed. Raises `Invalid` for what is none.

    Without a list of hosts, a server on loopback answers to its loopback names. Another one also answers to every
    address and to its machine's name, but to no other name: one that an attacker points at it is not answered.
    """

    def __init__(self, options: GuardOptions) -> None:
        for one in options.hosts:
            if not HOST.fullmatch(one.lower()):
                raise Invalid("api.hosts", f"{one!r:.60} is no host; write rota.example.org, without scheme and path")
        for one in options.origins:
            if not ORIGIN.fullmatch(one):
                raise Invalid("api.cors_origins", f"{one!r:.60} is no origin; write https://ui.example.org, never *")
        self._allow = _networks("api.allow", options.allow)
        self._proxies = _networks("api.proxies", options.proxies)
        self._any_address = not (options.loopback or options.hosts)
        own = {socket.gethostname().lower()} if self._any_address else set()
        self._hosts = HERE | own | {one.lower() for one in options.hosts}
        self.origins = {one.lower() for one in options.origins}  # as browsers write them

    def address(self, peer: str, headers: Mapping[str, str]) -> str:
        """Who sent it: the peer, or what trusted proxies say of it, from the nearest on to the first not trusted; empty
        where that is no address, and whoever is unknown is on no list.
        """
        found = _plain(peer)
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            if not _among(found, self._proxies):
                break  # what is behind it anybody may have written, tens of thousands of hops
            if hop.strip():
                found = _plain(_without_port(hop.strip()))
        return found

    def scheme(self, peer: str, scheme: str, headers: Mapping[str, str]) -> str:
        """`https` or `http`, as the client used it."""
        told = headers.get("x-forwarded-proto", "")
        return told if told in ("http", "https") and _among(_plain(peer), self._proxies) else scheme

    def lets_in(self, address: str) -> bool:
        """Whether this address may ask at all."""
        return not self._allow or _among(address, self._allow)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server."""
        found = HOST.fullmatch(host.lower())
        return found is not None and (
            found[1] in self._hosts or (self._any_address and _plain(_without_port(host)) != "")
        )


def _networks(field: str, texts: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(one, strict=False) for one in texts)
    except ValueError as error:
        raise Invalid(field, f"{error}; write networks such as 10.0.0.0/8 or fd00::/8") from None


def _without_port(text: str) -> str:
    found = HOST.fullmatch(text.lower())
    return found[1].strip("[]") if found else text


def _plain(address: str) -> str:
    """An address in its one spelling; empty for what is none."""
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _among(address: str, networks: tuple[Network, ...]) -> bool:
    return bool(address) and any(ip_address(address) in network for network in networks)
