"""The guard of outgoing connections: which addresses a task may make a worker connect to.

A worker sees networks that whoever defines a task may not: its own loopback, the metadata service of a cloud, its
neighbours. So only public addresses are let through, and those that the operator allowed. The guard resolves names
itself and hands out the addresses that it checked; whoever connects uses these and resolves nothing again.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from rota.domain.errors import Invalid

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a host name, as text. Raises `OSError` where there are none."""

NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1",
    )
)  # fmt: skip
"""The special-purpose registries, written out: what the standard library calls global changes with its version.

Of IPv6 only 2000::/3 was ever given out for the public internet, less examples and the tunnels (Teredo, 6to4), as these
lead to any IPv4 address.
"""
HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
NAT64 = ip_network("64:ff9b::/96")


class Forbidden(Invalid):
    """The guard does not let a connection through; the message says to where."""


class Guard:
    """`allow` holds networks (`10.1.0.0/16`), addresses and host names that are let through although not public."""

    def __init__(self, allow: tuple[str, ...] = (), resolve: Resolve | None = None) -> None:
        self._resolve = resolve or lookup
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        for entry in allow:
            try:
                self._networks.append(ip_network(entry))
            except ValueError as error:
                if not HOST_NAME.fullmatch(entry) or is_numeric(entry):
                    wanted = "is no network, address or host name; write one, such as 10.0.0.0/8"
                    raise Invalid("allow", f"{entry[:100]!r} {wanted} ({error})") from None
                self._hosts.add(entry.rstrip(".").lower())

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to. Raises `Forbidden` if any of them is, `OSError` if there are none."""
        try:
            found = await self._resolve(host, port)
        except ValueError as error:
            raise Forbidden("", f"{host[:200]!r} is no host name: {error}") from None
        if not found:
            raise OSError(f"{host} has no address")
        if host.rstrip(".").lower() not in self._hosts:
            for address in found:
                self.check(address, host)
        return found

    def check(self, address: str, host: str = "") -> None:
        """Raises `Forbidden` for an address that is neither public nor allowed."""
        try:
            known = ip_address(address)
        except ValueError:
            raise Forbidden("", f"{address!r} is no address") from None
        if isinstance(known, IPv6Address) and (known.ipv4_mapped or known in NAT64):
            # By mapping or translation it stands for this one.
            known = IPv4Address(int(known) & 0xFFFF_FFFF)
        if any(known in network for network in NOT_PUBLIC) and not any(known in network for network in self._networks):
            where = address if host in ("", address) else f"{host} ({address})"
            raise Forbidden("", f"{where} is not a public address; the worker's operator can allow it")


def is_numeric(host: str) -> bool:
    """Whether a resolver could read `host` as an address instead of a name, in any spelling."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdecimal() or last.startswith("0x")


async def lookup(host: str, port: int) -> list[str]:
    """The system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
