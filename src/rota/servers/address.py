"""What the URL of a server says, whatever server that is."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from rota.domain.errors import Invalid

POOL, PATIENCE_S = 4, 5.0
_HOST = r"(\[[^]@/?#]+\]|[\w.%-]*)(:[0-9]+)?"
_URL = re.compile(rf"\w+://([^/?#]*@)?{_HOST}(,{_HOST})*(/[^@?#]*)?(\?[^#]*)?")


class Form(NamedTuple):
    """What the URLs of one kind of server may say."""

    field: str
    """What errors name: `store` or `carrier`."""
    example: str
    """One without TLS; with it the scheme ends in `s`."""
    ports: tuple[int, int]
    """The usual ones: plain, and with TLS."""
    files: tuple[str, str, str]
    """Options of TLS: authority, certificate, key."""
    options: tuple[str, ...] = ()
    host: str = "localhost"
    """Where none is said; empty: one must be."""


class Address(NamedTuple):
    """What one of them says."""

    secure: bool
    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str
    path: str
    files: tuple[str, ...]
    """As many as its form knows; empty: not said."""
    options: dict[str, str]


def split_url(field: str, url: str) -> SplitResult:
    """Its parts. Raises `Invalid`, which shows nothing of it, for one that would be read otherwise than it is meant."""
    with suppress(ValueError):  # of brackets around what is no address
        if _URL.fullmatch(url):
            return urlsplit(url)
    what = "behind :// stands user:password@host:port, with %2F, %3F and %23 for /, ? and # in a password"
    raise Invalid(field, f"its URL cannot be read; {what}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can be reached, or reach others, at that host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_http(url: str) -> bool:
    """Whether a URL says where something answers by HTTP, and no more: no login, query or fragment is in it."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(named) and url.isprintable() and not {*" @?#"} & {*url}


def read_url(url: str, form: Form) -> Address:
    """Raises `Invalid` that names the part that is wrong."""
    parts = split_url(form.field, url)
    scheme, known = form.example.partition(":")[0], (*form.options, *form.files)
    secure, options = parts.scheme != scheme, dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in known:
            raise Invalid(form.field, f"{name}= is no option of such a URL; choose from {', '.join(known)}")
        if name in form.files and not secure:
            raise Invalid(form.field, f"{name}= is for TLS; write {scheme}s:// instead of {scheme}://")
        if name in form.files:
            check_file(form.field, name, value)
    said, _, names = parts.netloc.rpartition("@")
    user, _, password = said.partition(":")
    port = 26379 if "sentinel" in options else form.ports[secure]
    hosts = tuple(_host(one, port, form) for one in names.split(","))
    files = tuple(options.pop(name, "") for name in form.files)
    if files[2] and not files[1]:
        raise Invalid(form.field, f"{form.files[2]}= is the key of a certificate; name that by {form.files[1]}=")
    path = unquote(parts.path.removeprefix("/"))
    return Address(secure, hosts, unquote(user), unquote(password), path, files, options)


def _host(said: str, port: int, form: Form) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?", said)
    if not found or not (found[1] or form.host) or int(found[2] or port) > 65_535:
        raise Invalid(form.field, f"{said[:80]!r} names no host and port; write {form.example}")
    return found[1].strip("[]") or form.host, int(found[2] or port)


def check_file(field: str, name: str, value: str) -> None:
    """Raises `Invalid` for an option that names no file."""
    if not os.path.isfile(value):
        raise Invalid(field, f"{name}={value} is no file; name one that this user may read")


def check_prefix(field: str, prefix: str, least: int = 1) -> str:
    """What all names on a server begin with, if it can be that, else `Invalid`."""
    if not re.fullmatch(rf"[A-Za-z0-9_.:-]{{{least},64}}", prefix):
        raise Invalid(field, f"{prefix:.70} is no prefix: use {least} to 64 letters, digits and _ . : -")
    return prefix


def pool_of(options: Mapping[str, str]) -> int:
    """How many connections a store may have, by `pool`. Raises `Invalid`."""
    said = options.get("pool", str(POOL))
    if not said.isdecimal() or not 1 <= int(said) <= 100:
        raise Invalid("store", f"pool={said} is no number of connections from 1 to 100")
    return int(said)


def patience_of(options: Mapping[str, str]) -> float:
    """How long a new connection of a store may take, seconds, by `connect_timeout`. Raises `Invalid`."""
    said = options.get("connect_timeout", str(PATIENCE_S))
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", said) or not float(said):
        raise Invalid("store", f"connect_timeout={said:.20} is no number of seconds from 0.001 to 9999")
    return float(said)
