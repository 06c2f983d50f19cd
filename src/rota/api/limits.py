"""Rate limits: so many requests a span of time, counted in this process."""

import math
import time
from dataclasses import dataclass, fields
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from rota.domain.errors import Invalid


@dataclass(frozen=True, slots=True)
class Rates:
    """As text: `10/minute`, `5000 per hour`; empty: no limit."""

    address: str = "60000/minute"
    """Requests from one address, with or without a credential."""
    actor: str = "60000/minute"
    """Requests by one user or token."""
    login: str = "10/minute"
    """Logins from one address."""
    user: str = "20/minute"
    """Logins as one user, from anywhere."""
    failed: str = "120/minute"
    """Requests from one address that were refused for want of a valid credential."""


class Limits:
    """Counts. Raises `Invalid` for a rate that cannot be read."""

    def __init__(self, rates: Rates) -> None:
        self._counted = FixedWindowRateLimiter(MemoryStorage())
        self.adjust(rates)

    def adjust(self, rates: Rates) -> None:
        """Go by these from now on; each rate has its own counts, so those of one that stays do, too."""
        self._items = {one.name: _item(one.name, getattr(rates, one.name)) for one in fields(rates)}

    async def hit(self, kind: str, key: str) -> int:
        """Count one; 0 while there is room, else the seconds to come back in."""
        item = self._items[kind]
        if item is None or await self._counted.hit(item, kind, key):
            return 0
        window = await self._counted.get_window_stats(item, kind, key)
        return max(1, math.ceil(window.reset_time - time.time()))


def neighbours(address: str) -> str:
    """What an address is counted under: of IPv6 its /64, for one host has all of that."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else address


def _item(name: str, text: str) -> RateLimitItem | None:
    try:
        return parse(text) if text else None
    except ValueError:
        raise Invalid(f"api.rate_{name}", f"{text!r:.40} is no rate; write 10/minute, or leave it empty") from None
