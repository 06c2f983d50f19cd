"""The request that a task asks for, checked, and what becomes of it at a redirect."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from multidict import CIMultiDict
from yarl import URL

from rota.domain.errors import Invalid
from rota.ports.desk import Assignment

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
BODILESS = frozenset({"GET", "HEAD"})
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
RESERVED = re.compile(
    r"accept-encoding|connection|content-length|expect|host|idempotency-key|keep-alive|proxy-.*|te|trailer"
    r"|transfer-encoding|upgrade|x-rota-.*",
    re.IGNORECASE,
)
"""Headers that are Rota's, or that decide where a message begins and ends."""
HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers of the task that go along to another host; any other one may be a credential."""
HOST = re.compile(r"[0-9a-z._-]{1,253}|[0-9a-f:.]{2,45}", re.IGNORECASE)
CODES = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")
SUCCESS = (range(200, 300),)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent."""

    method: str
    url: URL
    own: Mapping[str, str]
    """Headers by which a receiver knows the run."""
    given: Mapping[str, str]
    """Headers of the task."""
    body: bytes
    success: tuple[range, ...]

    @property
    def headers(self) -> CIMultiDict[str]:
        """All headers."""
        found = CIMultiDict({"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"})
        if self.body:
            found["Content-Type"] = "application/json"
        found.update(self.given)
        found.update(self.own)
        return found

    @property
    def shown(self) -> str:
        """Method and address for people, without the query, which may hold a secret."""
        return f"{self.method} {self.url.with_query(None).with_fragment(None)}"[:300]

    def succeeds(self, status: int) -> bool:
        """Whether the task calls this status a success."""
        return any(status in codes for codes in self.success)

    def moved(self, status: int, location: str) -> Self:
        """The request that follows a redirect. Raises `Invalid` for a target that cannot be one."""
        url = checked_url("Location", self.url.join(URL(location)))
        given = self.given
        if url.origin() != self.url.origin():
            given = {name: value for name, value in given.items() if name.lower() in HARMLESS}
        if (status == 303 and self.method != "HEAD") or (status in (301, 302) and self.method == "POST"):
            return replace(self, method="GET", url=url, given=given, body=b"")
        return replace(self, url=url, given=given)


def request_of(assignment: Assignment) -> Request:
    """The request of a run. Raises `Invalid`, or `ValueError` for what is no URL at all."""
    run, task, payload, _ = assignment
    method = str(task.params.get("method", "POST")).upper()
    if method not in METHODS:
        raise Invalid("params.method", f"{method[:30]!r} is none of {', '.join(sorted(METHODS))}")
    own = {"Idempotency-Key": run.id, "X-Rota-Run": run.id, "X-Rota-Attempt": str(run.attempt)}
    return Request(
        method,
        checked_url("command", URL(task.command)),
        own,
        checked_headers(task.params.get("headers", {})),
        b"" if method in BODILESS else payload,
        success_codes(task.params.get("success")),
    )


def checked_url(field: str, url: URL) -> URL:
    """`url` if a request can go there, else `Invalid`."""
    if url.scheme not in ("http", "https"):
        raise Invalid(field, f"{url.scheme[:30]!r} is not http or https")
    if not HOST.fullmatch(url.raw_host or ""):
        raise Invalid(field, f"{(url.raw_host or '')[:60]!r} is no host name or address")
    if url.user is not None or url.password is not None:
        raise Invalid(field, "a URL with user or password is refused: put credentials into params.headers")
    return url


def checked_headers(headers: Any) -> dict[str, str]:
    """The headers of a task if it may set them, else `Invalid`."""
    if not isinstance(headers, Mapping):
        raise Invalid("params.headers", "an object of names and texts is wanted")
    for name, value in headers.items():
        if not isinstance(name, str) or not TOKEN.fullmatch(name):
            raise Invalid("params.headers", f"{str(name)[:60]!r} is no name of a header")
        if RESERVED.fullmatch(name):
            raise Invalid("params.headers", f"{name} is set by Rota or the connection, not by a task")
        if not isinstance(value, str) or not VALUE.fullmatch(value):
            raise Invalid(f"params.headers.{name}", "one line of text in Latin-1 is wanted")
    return dict(headers)


def success_codes(given: Any) -> tuple[range, ...]:
    """Status codes that mean success: numbers and ranges ("200-299"), one or a list. Raises `Invalid`."""
    if given is None:
        return SUCCESS
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(_codes(str(part)) for part in several)


def _codes(text: str) -> range:
    found = CODES.fullmatch(text.strip())
    if not found:
        raise Invalid("params.success", f'{text[:30]!r} is no status: use numbers and ranges such as "200-299"')
    first, last = int(found[1]), int(found[2] or found[1])
    return range(first, last + 1)
