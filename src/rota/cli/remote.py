"""The one client of people's commands: the REST API at an address, or the same API in this process over a store."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from rota.domain.errors import Invalid, Refused, RotaError
from rota.servers.address import is_http, is_loopback
from rota.wiring import make_door, opened

if TYPE_CHECKING:
    import httpx

    from rota.settings.load import Loaded

PAGE = 500
TIMEOUT_S = 60.0
QUICK_S, SLOW_S = 0.05, 0.5
"""How soon something is looked at again, at first and at last."""
UNCLEAR = "it may or may not have happened: look, before you repeat it"
REFUSED = frozenset({400, 404, 405, 409, 412, 413, 415, 422})
"""Answers to what is wrong with a question, not with the one who asks or answers."""


class Absent(Refused, LookupError):
    """There is no such thing, or none that the asker may see."""


class Api:
    """Asks the API. Raises `Refused` for what it does not accept, `RotaError` for trouble, both in its own words."""

    def __init__(self, http: "httpx.AsyncClient", server: str = "", store: str = "") -> None:
        self._http = http
        self.server, self.store = server, store
        """Its address, or of the store that it is over in this process."""
        self.tag: str | None = None
        """The ETag of the last answer."""

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        key: str | None = None,
        match: str | None = None,
        **query: Any,
    ) -> Any:
        """What one request answers, None for an answer without a body; `key`: for idempotency; `match`: an ETag."""
        import httpx

        given: dict[str, Any] = {name: value for name, value in query.items() if value not in (None, "", [])}
        said = {"Content-Type": body is not None and "application/json", "Idempotency-Key": key, "If-Match": match}
        headers = {name: value for name, value in said.items() if value}
        content = None if body is None else json.dumps(body).encode()
        url = httpx.URL(path).copy_merge_params(given)
        try:
            answer = await self._http.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            text = f"{str(error) or type(error).__name__}; {UNCLEAR}" if sent and method != "GET" else _unreached(error)
            raise RotaError(f"{self.server} does not answer: {text}") from None
        self.tag = answer.headers.get("ETag")
        return _said(answer, self.server, method)

    async def items(self, path: str, limit: int, pages: int = 100_000, **query: Any) -> list[Any]:
        """The first `limit` items of a listing, however short its pages are; `pages`: it is left after so many."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = await self("GET", path, limit=min(limit - len(found), PAGE), cursor=cursor, **query)
            found += page["items"]
            cursor, pages = page["next"], pages - 1
            if not cursor or not pages or len(found) >= limit:
                return found


class Again:
    """The rests between looks at what goes on: short after news, then longer and longer."""

    def __init__(self) -> None:
        self._rest_s = QUICK_S

    async def rest(self, news: bool) -> None:
        """Until the next look."""
        self._rest_s = QUICK_S if news else min(self._rest_s * 1.5, SLOW_S)
        await asyncio.sleep(self._rest_s)


def thing(kind: str, name: str, verb: str = "") -> str:
    """The path of what `namespace/name` names, or of a verb on it."""
    space, own = name.split("/")
    return f"/api/{kind}/{quote(own)}{verb and '/'}{verb}?namespace={quote(space)}"


@asynccontextmanager
async def within(store: str, name: str, loaded: "Loaded | None") -> AsyncIterator[Api]:
    """The API over a store, asked by who may open that, with these settings."""
    import httpx

    from rota.api.bare import inner

    async with opened(store) as engine:
        if loaded:
            engine.defaults = loaded.settings.defaults()
        transport = httpx.ASGITransport(inner(engine, name, lambda: make_door(engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Api(http, store=store)


@asynccontextmanager
async def at(server: str, token: str = "") -> AsyncIterator[Api]:
    """The API at an address; without a token only what is public answers."""
    import httpx

    if not token.isascii() or not token.isprintable():
        raise Invalid("token", "is no token of Rota")
    headers = {"User-Agent": "rota", **({"Authorization": f"Bearer {token}"} if token else {})}
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=TIMEOUT_S) as http:
        yield Api(http, server)


def address(text: str) -> str:
    """The address of a server, such as https://rota.example.org. Raises `Invalid`."""
    if not is_http(text):
        raise Invalid("server", f"{text!r:.80} is no address of a server; write https://rota.example.org")
    return text.rstrip("/")


def open_to_all(server: str) -> bool:
    """Whether what goes there can be read on the way."""
    parts = urlsplit(server)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _unreached(error: "httpx.HTTPError") -> str:
    text = str(error) or type(error).__name__
    if "CERTIFICATE" in text:
        return f"{text}; SSL_CERT_FILE names the file of the authority (PEM) that signed its certificate"
    if "WRONG_VERSION" in text:
        return f"{text}; it speaks no TLS: write http://"
    return f"{text}; is it running? `rota up` starts one, --server or ROTA_SERVER names another"


def _said(answer: "httpx.Response", server: str, method: str) -> Any:
    kind = answer.headers.get("content-type", "")
    if answer.is_success and (not answer.content or kind.startswith("application/json")):
        return answer.json() if answer.content else None
    if kind != "application/problem+json":
        # Something before it may have given up waiting.
        what = UNCLEAR if answer.is_server_error and method != "GET" else "is the address right?"
        raise RotaError(f"{server} answers {answer.status_code}, but not as Rota does; {what}")
    status, detail = answer.status_code, answer.json()["detail"]
    if status == 401:
        raise RotaError(f"{server} refuses: {detail}; `rota login --server {server}` keeps a key, or set ROTA_TOKEN")
    if status == 404 and (found := re.match(r"no (task|schedule|run|worker|queue|user|token) '", detail)):
        raise Absent(detail + ("" if ";" in detail else f"; see `rota {found[1]}s list`"))
    raise (Refused if status in REFUSED else RotaError)(detail)
