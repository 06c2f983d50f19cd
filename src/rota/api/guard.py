"""The guard: every request passes it, and who shows no valid credential gets to the few public paths only. It reads no
body: an unknown asker is refused before anything of theirs is looked into.
"""

import asyncio
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rota.api.denials import Denials
from rota.api.door import Door, shown
from rota.api.limits import Limits, neighbours
from rota.api.places import GuardOptions, Places
from rota.api.problems import NOT_JSON, RETRY_S, STRANGER, is_other_than_json, problem
from rota.domain.access import Actor
from rota.domain.errors import RotaError
from rota.engine.audit import origin
from rota.observe.logs import masked, noted
from rota.observe.traces import parent_of
from rota.ports.runtime import TRACE

log = logging.getLogger("rota.api")

LOGINS = frozenset({"/api/auth/login", "/api/auth/link", "/api/auth/refresh"})
GUESSED = LOGINS - {"/api/auth/refresh"}
"""Nobody guesses a signature, and many may refresh behind one address."""
PUBLIC = frozenset({"/health", "/health/live", "/health/ready", "/login", "/login.js"}) | LOGINS
"""The exact paths that need no credential; each is on this list by somebody's decision."""
BEATS = frozenset({"/api/worker/beat", "/api/worker/heartbeat"})
NOBODY = "nobody"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = SAFE | {"POST", "PUT", "PATCH", "DELETE"}
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
RECHECK_S = 3.0
"""A long answer ends so soon after its credential was revoked, beside what the door remembers."""
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": ", ".join(sorted(METHODS)),
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, Idempotency-Key, X-API-Key, X-Request-ID",
    "Access-Control-Max-Age": "600",
}


@dataclass(slots=True)
class _Call:
    """A request as the guard sees it."""

    method: str
    path: str
    headers: dict[str, str]
    address: str
    secure: bool
    id: str
    actor: Actor | None = None
    status: int = 0
    checked: float = 0.0
    noted: dict[str, str] = field(default_factory=dict)


class Guard:
    """The outermost layer of the API."""

    def __init__(self, app: ASGIApp, door: Door, options: GuardOptions, denied: Denials | None = None) -> None:
        self._app = app
        self._door = door
        self._denied = denied
        self._limits = Limits(options.rates)
        self.adjust(options)

    def adjust(self, options: GuardOptions) -> None:
        """Obey these options from now on; what is counted begins anew where its rate is another one."""
        self._options = options
        self._limits.adjust(options.rates)
        self._places = Places(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with `actor`, `secure` and `still` (who that is now) in the request's state."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._guarded(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call(scope)
        above = TRACE.set(parent_of(call.headers.get("traceparent", "")))
        mark = origin.set(call.address)
        try:
            with noted(request=call.id, actor=NOBODY) as call.noted:
                await self._answered(call, scope, receive, send)
        finally:
            origin.reset(mark)
            TRACE.reset(above)

    async def _answered(self, call: _Call, scope: Scope, receive: Receive, send: Send) -> None:
        began, sending = time.monotonic(), self._sending(call, send)
        try:
            if refusal := await self._judged(call, scope):
                await refusal(scope, receive, sending)
            else:
                still = partial(self._door.authenticate, call.headers, call.address)
                scope.setdefault("state", {}).update(actor=call.actor, secure=call.secure, still=still)
                await self._app(scope, self._receiving(receive), sending)
        except ClientDisconnect:
            call.status = call.status or 499
        finally:
            self._told(call, time.monotonic() - began)

    def _call(self, scope: Scope) -> _Call:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            # Of what may come once only, two are as bad as none; lists go on.
            headers[key] = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}" if key in headers else text
        peer = (scope.get("client") or ("",))[0]
        given = headers.get("x-request-id", "")
        return _Call(
            scope["method"],
            scope["path"],
            headers,
            self._places.address(peer, headers),
            self._places.scheme(peer, scope.get("scheme", "http"), headers) == "https",
            given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8),
        )

    async def _judged(self, call: _Call, scope: Scope) -> Response | None:
        try:
            return await self._refusal(call, scope)
        except RotaError as error:
            # Whoever cannot be known is not let in.
            log.warning("%s: %s", type(error).__name__, error)
            return problem(503, "the store cannot serve now; try again", (), {"Retry-After": RETRY_S})

    async def _refusal(self, call: _Call, scope: Scope) -> Response | None:
        """The answer to who may not pass; None for who may."""
        if not self._places.lets_in(call.address):
            return problem(403, "this address may not ask here; see api.allow")
        if not self._places.knows(call.headers.get("host", "")):
            return problem(421, "this server is not called so; name it in api.hosts")
        if call.method not in METHODS:
            return problem(405, f"{call.method!r:.20} is no method of this API", (), {"Allow": ", ".join(METHODS)})
        # Beats are counted by themselves: whoever works too fast has to wait, but does not count as dead for it.
        alive = call.path if call.path in BEATS else ""
        if wait_s := await self._limits.hit("address", neighbours(call.address) + alive):
            return _slower(wait_s)
        asks_first = call.method == "OPTIONS" and "access-control-request-method" in call.headers
        if asks_first and call.headers.get("origin", "") in self._places.origins:
            return Response(status_code=204, headers=PREFLIGHT)
        if call.path in PUBLIC and scope.get("raw_path", call.path.encode()) == call.path.encode():
            return await self._refusal_of_stranger(call)
        call.actor = await self._door.authenticate(call.headers, call.address)
        call.checked = time.monotonic()
        if call.actor is None:
            wait_s = await self._limits.hit("failed", neighbours(call.address))
            return _slower(wait_s) if wait_s else problem(401, STRANGER, (), {"WWW-Authenticate": "Bearer"})
        call.noted["actor"] = call.actor.name
        if shown(call.headers)[1] and (forged := self._forged(call)):
            return forged
        # Each login is another token, and all those of a user count as one.
        name, user, token = call.actor.name, call.actor.user, call.actor.token
        wait_s = await self._limits.hit("actor", (name if name == f"user:{user}" else token) + alive)
        return _slower(wait_s) if wait_s else None

    async def _refusal_of_stranger(self, call: _Call) -> Response | None:
        if call.path not in LOGINS:
            return None
        if call.path in GUESSED and (wait_s := await self._limits.hit("login", neighbours(call.address))):
            return _slower(wait_s)
        return self._forged(call, "origin" in call.headers)

    def _forged(self, call: _Call, from_page: bool = True) -> Response | None:
        """Refuse what a foreign page may have sent with somebody's cookie, or to log somebody in unawares."""
        if call.method in SAFE:
            return None
        own = f"{'https' if call.secure else 'http'}://{call.headers['host']}"
        if from_page and call.headers.get("origin", "") != own:
            return problem(403, f"a change with a cookie, or a login, comes from {own} and says so by its Origin")
        return problem(415, NOT_JSON) if is_other_than_json(call.headers) else None

    def _receiving(self, receive: Receive) -> Receive:
        """The body, as far as it keeps within its size and its time."""
        size, whole, until = 0, False, asyncio.get_running_loop().time() + self._options.body_s

        async def bounded() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body took longer than {self._options.body_s:.0f} s") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self._options.body_bytes:
                raise HTTPException(413, f"the body is over {self._options.body_bytes} bytes")
            return message

        return bounded

    def _sending(self, call: _Call, send: Send) -> Send:
        """Answers with the headers of all answers; a long one ends when its credential does, or may other things."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in self._headers(call).items() if name not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            elif message.get("more_body") and call.actor and time.monotonic() - call.checked > RECHECK_S:
                call.checked = time.monotonic()
                now = await self._door.authenticate(call.headers, call.address)
                if now is None or now.grants != call.actor.grants:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise ClientDisconnect
            await send(message)

        return dressed

    def _headers(self, call: _Call) -> dict[bytes, bytes]:
        found = HEADERS | {b"x-request-id": call.id.encode()}
        if call.status == 408:
            found[b"connection"] = b"close"
        if call.secure:
            found[b"strict-transport-security"] = b"max-age=31536000"
        if self._places.origins:
            found[b"vary"] = b"Origin"
            if (given := call.headers.get("origin", "")) in self._places.origins:
                found |= {b"access-control-allow-origin": given.encode(), b"access-control-expose-headers": b"*"}
        return found

    def _told(self, call: _Call, seconds: float) -> None:
        """The log of requests: one line each, never the query, never a credential."""
        path = masked(call.path[:300]).encode("unicode_escape").decode("ascii")[:300]
        about = {"status": int(call.status), "ms": round(seconds * 1_000, 1), "address": call.address}
        routine = call.path.startswith("/api/worker/") and call.status < 400  # each worker asks every few seconds
        log.log(logging.DEBUG if routine else logging.INFO, "%s %s %d", call.method, path, call.status, extra=about)
        if self._denied and call.status in (401, 403, 429):
            who = call.actor.name if call.actor else NOBODY
            self._denied(who, f"{call.method} {path}"[:200], call.address)


def _slower(wait_s: int) -> Response:
    return problem(429, f"too many requests; come back in {wait_s} s", (), {"Retry-After": str(wait_s)})
