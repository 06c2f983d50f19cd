"""The hosts of a URL, one of which is asked at a time."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from rota.stores.postgres.faults import DRIVER_ERRORS


class Hosts:
    """Whoever answered is asked first from then on, whoever did not last.

    Each has a URL of its own: the driver would spend all the time that there is on the first one that is silent.
    """

    def __init__(self, url: str) -> None:
        self._urls = _each(url)
        self._chosen = "target_session_attrs" in dict(parse_qsl(urlsplit(url).query))

    async def connect(self, primary: bool, **options: Any) -> Any:
        """A connection to the first that gives one, to a `primary` where the URL does not say of what kind; each may
        take as long as the driver's `options` say. Raises as the driver.
        """
        if primary and not self._chosen:
            options["target_session_attrs"] = "primary"
        failed: BaseException | None = None
        for url in tuple(self._urls):
            self._move(url, len(self._urls))  # now, for nobody may be left to wait for it
            try:
                connection = await asyncpg.connect(url, **options)
            except DRIVER_ERRORS as error:
                failed = error
            else:
                self._move(url, 0)
                return connection
        raise failed or AssertionError("a URL has a host at least")

    def _move(self, url: str, place: int) -> None:
        self._urls.remove(url)
        self._urls.insert(place, url)


def _each(url: str) -> list[str]:
    """Its URL for each host, which stand ahead of the database or in the option `host`."""
    parts = urlsplit(url)
    user, sign, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [parts._replace(netloc=f"{user}{sign}{host}").geturl() for host in hosts.split(",")]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    names, ports = (options.get(name, "").split(",") for name in ("host", "port"))
    if len(ports) not in (1, len(names)):
        return [url]  # the driver says what is wrong with it
    ports *= len(names) // len(ports)
    pairs = [options | {"host": host, "port": port} for host, port in zip(names, ports, strict=True)]
    return [
        parts._replace(query=urlencode({name: value for name, value in one.items() if value})).geturl() for one in pairs
    ]
