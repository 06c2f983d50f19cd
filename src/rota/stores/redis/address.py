"""Where a URL leads."""

import os
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from rota.domain.errors import Invalid

CONNECT_S = 5.0
PORT, SENTINEL_PORT = 6379, 26379
POOL = 4
PREFIX = "rota"
SENTINEL = ("sentinel_user", "sentinel_password")
OPTIONS = ("prefix", "pool", "connect_timeout", "sentinel", *SENTINEL, "sslrootcert", "sslcert", "sslkey")
FILES = {"sslrootcert": "ssl_ca_certs", "sslcert": "ssl_certfile", "sslkey": "ssl_keyfile"}
"""Options that name a file, and the driver's names of them."""
_EXAMPLE = "write redis://user:password@host:6379/0"


class Address(NamedTuple):
    """What a URL says."""

    hosts: tuple[tuple[str, int], ...]
    """The server; or the Sentinels that know where it is."""
    master: str
    """The name by which the Sentinels know it; empty: there are none."""
    prefix: str
    pool: int
    patience_s: float
    """How long a new connection may take."""
    secure: bool
    options: dict[str, Any]
    """What the driver is told of each connection."""
    sentinel: dict[str, Any]
    """What it is told beyond that of those to Sentinels."""


def read_url(url: str) -> Address:
    """Raises `Invalid` that names the part that is wrong."""
    parts = urlsplit(url)
    said = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(said)
    for name, value in said:
        if name not in OPTIONS:
            raise Invalid("store", f"{name}= is no option of a redis URL; choose from {', '.join(OPTIONS)}")
        if name in FILES and not os.path.isfile(value):
            raise Invalid("store", f"{name}={value} is no file; name one that this user may read")
    pool, prefix = given.get("pool", str(POOL)), given.get("prefix", PREFIX)
    if not pool.isdecimal() or not 1 <= int(pool) <= 100:
        raise Invalid("store", f"pool={pool} is no number of connections from 1 to 100")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{0,64}", prefix):
        raise Invalid("store", f"prefix={prefix:.70} is none: use at most 64 letters, digits and _ . : -")
    patience = given.get("connect_timeout", str(CONNECT_S))
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", patience) or not float(patience):
        raise Invalid("store", f"connect_timeout={patience:.20} is no number of seconds from 0.001 to 9999")
    number = parts.path.strip("/") or "0"
    if not number.isdecimal():
        raise Invalid("store", f"/{number:.40} is no number of a database; {_EXAMPLE}")
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    master = given.get("sentinel", "")
    options = {"db": int(number), "username": unquote(name) or None, "password": unquote(password) or None}
    if parts.scheme == "rediss":
        options |= {FILES[option]: given[option] for option in FILES if option in given}
    elif files := [option for option in FILES if option in given]:
        raise Invalid("store", f"{files[0]}= is for TLS; write rediss:// instead of redis://")
    found = tuple(_host(one, SENTINEL_PORT if master else PORT) for one in hosts.split(","))
    if len(found) > 1 and not master:
        raise Invalid("store", "several hosts are Sentinels; name what they watch by sentinel=")
    if stray := [option for option in SENTINEL if option in given and not master]:
        raise Invalid("store", f"{stray[0]}= is for Sentinels; name what they watch by sentinel=")
    sentinel = {"db": 0, "username": given.get(SENTINEL[0]), "password": given.get(SENTINEL[1])}
    start = f"{{{prefix}}}:" if prefix else ""
    secure = parts.scheme == "rediss"
    return Address(found, master, start, int(pool), float(patience), secure, options, sentinel)


def _host(said: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?", said)
    if not found or int(found[2] or port) > 65_535:
        raise Invalid("store", f"{said[:80]!r} names no host and port; {_EXAMPLE}")
    return found[1].strip("[]") or "localhost", int(found[2] or port)
