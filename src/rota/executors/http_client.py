"""An HTTP request and its answer. Loaded with the first request of a worker.

Params are checked; only addresses that the guard let through are connected to, hop by hop; an answer is read within
limits, whatever its sender intends.
"""

import codecs
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import ContentEncodingError
from multidict import CIMultiDict
from yarl import URL

from rota.domain.errors import Invalid
from rota.domain.flow import storable
from rota.domain.payload import decoded, is_deep
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Outcome
from rota.executors.forms import Request, checked_url, http
from rota.executors.guard import Guard, is_numeric
from rota.executors.outcomes import NOT_JSON, failure, marks
from rota.ports.desk import Assignment

HARMLESS = re.compile(r"accept|accept-.*|content-type|idempotency-key|user-agent|x-rota-.*", re.IGNORECASE)
"""Headers that go along to another host; any other one may be a credential."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HOPS = 5
CONNECT_S = 10
BODY_LIMIT = VALUE_LIMIT - 1_024
"""Bytes of a body that are kept, so that the result around it stays within its own limit."""
DELAY_LIMIT_MS = 86_400_000
"""The longest Retry-After that is honoured: a day."""
QUOTED = 500


class GuardedResolver(AbstractResolver):
    """Gives the client's connector the addresses that the guard checked; it connects to these and no others."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._guard.addresses(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class HttpClient:
    """A pool of connections. No cookies, no proxy from the environment, no credentials from a netrc file."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=GuardedResolver(guard), use_dns_cache=False, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "rota"},
            skip_auto_headers=("Content-Type",),
            trust_env=False,
        )

    async def run(self, assignment: Assignment) -> Outcome:
        """The outcome of the one request that a task asks for, redirects followed. Raises `Invalid`."""
        try:
            return await self._follow(_request_of(assignment))
        except Invalid:
            raise
        except ValueError as error:
            return failure(f"no such request can be sent: {error}", name=type(error).__name__, final=True)
        except (aiohttp.ClientError, OSError) as error:
            name = type(error).__name__
            # As a text it has the whole URL, of which the query may hold a secret.
            said = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
            return failure(f"no answer: {said or name}", name=name)

    async def _follow(self, request: Request) -> Outcome:
        for _ in range(HOPS + 1):
            method, url, headers, success, body = request
            if is_numeric(url.raw_host or ""):
                # The connector asks no resolver for what is an address already.
                await self._guard.addresses(url.raw_host or "", url.port or 0)
            async with self._session.request(
                method, url, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or not location or response.status in success:
                    return await _outcome_of(request, response)
                request = _moved(request, response.status, location)
        return failure(f"more than {HOPS} redirects, the last to {_shown(request)}", final=True)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()


def _request_of(assignment: Assignment) -> Request:
    run, task, payload, _ = assignment
    asked = http(task)
    body = b"" if asked.method in ("GET", "HEAD") else payload
    headers = CIMultiDict({"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"})
    if body:
        headers["Content-Type"] = "application/json"
    headers.update(asked.headers)
    headers.update(marks(run))
    return asked._replace(headers=headers, body=body)


def _moved(request: Request, status: int, location: str) -> Request:
    """The request that follows a redirect. Raises `Invalid` for a target that cannot be one."""
    url, headers = checked_url("Location", request.url.join(URL(location))), request.headers
    if url.origin() != request.url.origin():
        headers = CIMultiDict((name, value) for name, value in headers.items() if HARMLESS.fullmatch(name))
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        request = request._replace(method="GET", body=b"")
    return request._replace(url=url, headers=headers)


def _shown(request: Request) -> str:
    """Method and address for people, without the query, which may hold a secret."""
    return f"{request.method} {request.url.with_query(None).with_fragment(None)}"[:300]


async def _outcome_of(request: Request, response: aiohttp.ClientResponse) -> Outcome:
    """Success where the task says so; what the server may do better later is tried again, all else is final."""
    body, cut = await _read(response)
    charset = _charset(response.charset or "utf-8")
    text = _text(body, charset)
    status = response.status
    if status in request.success:
        fields: dict[str, Any] = {"status": status} | ({"truncated": True} if cut else {})
        if not cut and (data := _json(body, response.content_type, charset)):
            return Outcome(End.SUCCESS, msgspec.json.encode(fields | {"body": msgspec.Raw(data)}))
        # Escapes can make JSON several times as long as the text.
        while len(result := msgspec.json.encode(fields | {"body": text})) > VALUE_LIMIT:
            text, fields["truncated"] = text[: len(text) // 2], True
        return Outcome(End.SUCCESS, result)
    again = status >= 500 or status == 429
    return failure(
        f"HTTP {status} from {_shown(request)}: {text[:QUOTED]}",
        name=f"HTTP{status}",
        final=not again,
        delay_ms=_retry_after(response.headers) if again else 0,
    )


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body up to the limit, and whether there was more of it, or its compression was broken."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > BODY_LIMIT:
                return bytes(body[:BODY_LIMIT]), True
    except aiohttp.ClientPayloadError as error:
        if not isinstance(error.__cause__, ContentEncodingError):
            raise
        return bytes(body), True
    return bytes(body), False


def _charset(said: str) -> str:
    """What was said, but for Punycode: that is for names, and to read by it takes a body's length squared."""
    with suppress(LookupError, ValueError):
        if codecs.lookup(said).name != "punycode":
            return said
    return "utf-8"


def _text(body: bytes, charset: str) -> str:
    """The body as text, with marks in place of what its charset cannot read."""
    try:
        text = body.decode(charset, "replace")
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    return storable(text)


def _json(body: bytes, kind: str, charset: str) -> bytes | None:
    """The body as JSON in UTF-8, which is what JSON is in, whatever is said; else it may be in its charset.

    None for what is no JSON, or leaves no room for the result around it.
    """
    if kind == "application/json" or kind.endswith("+json"):
        for name in ("utf-8", charset):
            with suppress(LookupError, *NOT_JSON):
                data = body.decode(name).encode()
                decoded(data)
                return None if len(data) > BODY_LIMIT or is_deep(b"[" + data) else data
    return None


def _retry_after(headers: Mapping[str, str]) -> int:
    """How long the server asks to wait, in ms; a date counts from the server's own one, so no clocks are compared."""
    value = headers.get("Retry-After", "").strip()
    try:
        if value.isdecimal():
            wait = float(value[:9])
        else:
            wait = (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0
    return min(max(0, round(wait * 1000)), DELAY_LIMIT_MS)
