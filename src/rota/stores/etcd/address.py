"""Where a URL leads."""

import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from rota.domain.errors import Invalid

PORT = 2379
PREFIX = "rota"
OPTIONS = ("ca", "cert", "key")
_EXAMPLE = "write etcd://user:password@host:2379,host2:2379/prefix"


class Address(NamedTuple):
    """What a URL says."""

    endpoints: tuple[tuple[str, int], ...]
    """Members of one cluster."""
    prefix: str
    user: str = ""
    password: str = ""
    secure: bool = False
    ca: str = ""
    """File of the certificates that are believed; empty: those of this machine."""
    cert: str = ""
    key: str = ""


def read_url(url: str) -> Address:
    """Raises `Invalid` that names the part that is wrong."""
    parts = urlsplit(url)
    secure, prefix = parts.scheme == "etcds", parts.path.strip("/") or PREFIX
    files: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise Invalid("store", f"{name}= is no option of an etcd URL; choose from {', '.join(OPTIONS)}")
        if not secure:
            raise Invalid("store", f"{name}= is for TLS; write etcds:// instead of etcd://")
        if not os.path.isfile(value):
            raise Invalid("store", f"{name}={value} is no file; name one that this user may read")
        files[name] = value
    if ("cert" in files) is not ("key" in files):
        raise Invalid("store", "cert= and key= go together: a certificate of this client and its key")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", prefix):
        raise Invalid("store", f"/{prefix:.70} is no prefix: use 1 to 64 letters, digits and _ . : -")
    said, _, hosts = parts.netloc.rpartition("@")
    user, _, password = said.partition(":")
    if bool(user) is not bool(password):
        raise Invalid("store", f"a user needs a name and a password; {_EXAMPLE}")
    found = tuple(_endpoint(one) for one in hosts.split(","))
    return Address(found, prefix, unquote(user), unquote(password), secure, **files)


def _endpoint(said: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", said)
    if not found or int(found[2] or PORT) > 65_535:
        raise Invalid("store", f"{said[:80]!r} names no host and port; {_EXAMPLE}")
    return found[1].strip("[]"), int(found[2] or PORT)
