"""What carriers have in common: how their URLs are read, what may be sent, how they wait for a broker."""

import asyncio
import os
import random
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from rota.domain.errors import Invalid, TooLarge
from rota.domain.names import check_name
from rota.ports.carrier import DESK, LONGEST

CONNECT_S = 5.0
"""How long to wait for a connection."""
ANSWER_S = 10.0
"""How long to wait for an answer."""
BATCH = 100
"""Messages given at once, at most."""
LIFE_S = 10
"""How long an inbox outlives whoever receives from it."""
ROOM = 10_000
"""Messages of an inbox that wait, about; older ones are dropped."""
OLD_S = 120
"""What nobody received for so long is dropped: whoever asked has asked again."""


class Form(NamedTuple):
    """What the URLs of one broker may say."""

    scheme: str
    example: str
    ports: tuple[int, int]
    """The usual ones: plain, and with TLS."""
    files: tuple[str, str, str]
    """Options of TLS: authority, certificate, key."""
    options: tuple[str, ...] = ()


class Address(NamedTuple):
    """What one of them says."""

    place: str
    """As it may be shown."""
    secure: bool
    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str
    path: str
    prefix: str
    files: tuple[str, ...]
    """As many as its form knows; empty: not said."""
    options: dict[str, str]


def read_url(url: str, form: Form) -> Address:
    """Raises `Invalid` that names the part that is wrong."""
    parts = urlsplit(url)
    secure, known = parts.scheme != form.scheme, ("prefix", *form.options, *form.files)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in known:
            raise Invalid("carrier", f"{name}= is no option of such a URL; choose from {', '.join(known)}")
        if name in form.files and not secure:
            raise Invalid("carrier", f"{name}= is for TLS; write {form.scheme}s:// instead of {form.scheme}://")
        if name in form.files and not os.path.isfile(value):
            raise Invalid("carrier", f"{name}={value} is no file; name one that this user may read")
    prefix = options.pop("prefix", "rota")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", prefix):
        raise Invalid("carrier", f"prefix={prefix:.70} is none: use 1 to 64 letters, digits and _ . : -")
    said, _, names = parts.netloc.rpartition("@")
    user, _, password = said.partition(":")
    port = 26379 if "sentinel" in options else form.ports[secure]
    hosts = tuple(_host(one, port, form) for one in names.split(","))
    files = tuple(options.pop(name, "") for name in form.files)
    if files[2] and not files[1]:
        raise Invalid("carrier", f"{form.files[2]}= is the key of a certificate; name that by {form.files[1]}=")
    path, place = unquote(parts.path.removeprefix("/")), f"{parts.scheme}://{names}"
    return Address(place, secure, hosts, unquote(user), unquote(password), path, prefix, files, options)


def _host(said: str, port: int, form: Form) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?", said)
    if not found or int(found[2] or port) > 65_535:
        # What is there may be of a password with a / in it.
        raise Invalid("carrier", f"its URL names no host and port; write {form.example}, with %2F for / in a password")
    return found[1].strip("[]") or "localhost", int(found[2] or port)


def check_messages(messages: Sequence[tuple[str, bytes]]) -> None:
    """Raises `Invalid` for a name that none can have, or a body that is too large."""
    for inbox, body in messages:
        check_name("inbox", inbox)
        if len(body) > LONGEST:
            raise TooLarge("message", f"{len(body):,} bytes are over the limit of {LONGEST:,}")


def check_own(inbox: str) -> None:
    """Raises `Invalid` for what cannot be one's own."""
    if check_name("inbox", inbox) == DESK:
        raise Invalid("inbox", f"{DESK!r} is everybody's; choose another name")


async def pause() -> None:
    """Before the next attempt to reach a broker: not all at once."""
    await asyncio.sleep(random.uniform(0.2, 1))
