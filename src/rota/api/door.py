"""The door: who comes in by which credential. What a credential opens is looked up at most MEMORY_MS ago, so whatever
is revoked, disabled or lowered anywhere is refused within that time on every node, and at once on the node it was done.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from rota.api.limits import Limits, Rates
from rota.domain.access import Actor, Grant
from rota.domain.errors import RotaError
from rota.domain.facts import Trouble
from rota.domain.people import Kind, Token, User, within
from rota.engine import people
from rota.engine.engine import Engine, Memory
from rota.ports.identity import Locks, Signed

R = TypeVar("R", User, Token)

MEMORY_MS = 2_000
ACCESS_MS = 15 * 60_000
COOKIE_MS = 12 * 3_600_000
NOTED_MS = 60_000
"""Last uses are written so often, all at once."""
COOKIE = "rota_session"


class Opened(NamedTuple):
    """A login, and the tokens that stand for it."""

    user: str
    access: str
    refresh: str
    cookie: str


class Door:
    """Authenticates requests, and logs people in and out."""

    def __init__(self, engine: Engine, locks: Locks, rates: Rates | None = None) -> None:
        self._engine = engine
        self._locks = locks
        self._limits = Limits(rates or Rates())
        self._known: dict[type, Memory] = defaultdict(dict)
        self._used: dict[str, int] = {}
        self._noted_at = engine.clock.monotonic()
        self._noting: asyncio.Task[None] | None = None

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Actor | None:
        """Who shows this credential: `Authorization: Bearer …`, `X-API-Key`, or the cookie where neither is there."""
        text, by_cookie = shown(headers)
        if not text:
            return None
        if found := self._locks.read(text):
            kind, name, digest = found
            token = await self.key(name) if kind == Kind.KEY else None
            return await self.let_in(token, address) if token and self._locks.same(token.digest, digest) else None
        now = self._engine.clock.now()
        said = self._locks.verify("cookie" if by_cookie else "access", text, now)
        held = await self._record(Token, said.session) if said else None
        if not said or not held or held.kind is not Kind.SESSION or held.owner != said.user or not held.live(now):
            return None
        user = await self._user(held.owner)
        return self._actor(f"user:{user.id}", user.grants, address, held) if user else None

    async def key(self, name: str) -> Token | None:
        """The key of that public part, live or not. Whoever shows its secret, or signs by its digest, has it."""
        token = await self._record(Token, name)
        return token if token and token.kind is Kind.KEY else None

    async def let_in(self, token: Token, address: str) -> Actor | None:
        """Who has this key; None once it opens nothing any more."""
        if not token.live(self._engine.clock.now()):
            return None
        if not token.owner:
            word = "worker" if all(grant.role == "worker" for grant in token.grants) else "token"
            return self._actor(f"{word}:{token.name}", token.grants, address, token)
        user = await self._user(token.owner)
        grants = within(token.grants, user.grants) if user else ()
        return self._actor(f"token:{token.owner}/{token.name}", grants, address, token) if user else None

    def _actor(self, name: str, grants: tuple[Grant, ...], address: str, token: Token) -> Actor:
        self._used[token.id] = self._engine.clock.now()
        if self._engine.clock.monotonic() - self._noted_at >= NOTED_MS:
            self._noted_at = self._engine.clock.monotonic()
            self._noting = asyncio.create_task(self.note())
        return Actor(name, grants, address, token.owner, token.id)

    async def wait_s(self, name: str) -> int:
        """Count a try of this user's password; 0 while there may be more, else the seconds to come back in."""
        return await self._limits.hit("user", name.casefold())

    async def log_in(self, name: str, password: str) -> Opened | None:
        """A login by password. None for a wrong one, unknown or disabled users, all alike."""
        user = await self.by_password(name, password)
        session = await people.log_in(self._engine, user.id, user.password) if user else None
        return self._opened(session) if session else None

    async def open_link(self, text: str) -> Opened | None:
        """A login by a link, which opens once."""
        kind, name, digest = self._locks.read(text) or ("", "", "")
        held = (await self._engine.store.get(Token, [name]))[0] if kind == Kind.LINK else None
        if held is None or held.record.kind is not Kind.LINK or not self._locks.same(held.record.digest, digest):
            return None
        if not held.record.live(self._engine.clock.now()):
            return None
        session = await people.log_in(self._engine, held.record.owner, link=held)
        return self._opened(session) if session else None

    async def refresh(self, text: str) -> Opened | None:
        """New tokens for the refresh token that was given last; any other one ends its login."""
        said = self._locks.verify("refresh", text, self._engine.clock.now())
        if said is None or await self._user(said.user) is None:
            return None
        session = await people.renew(self._engine, said.session, said.generation)
        self.forget()
        return self._opened(session) if session else None

    async def log_out(self, actor: Actor) -> None:
        """End the login that the actor came in by. A key is not a login: it stays."""
        token = await self._record(Token, actor.token)
        if token and token.kind is Kind.SESSION:
            await people.revoke(self._engine, token.id, actor.name, "logged out")
            self.forget()

    async def by_password(self, name: str, password: str) -> User | None:
        """The user of that name, a disabled one too; None where it is not their password."""
        held = (await self._engine.store.get(User, [name]))[0]
        user = held.record if held else None
        return user if await self._locks.fits(password, user.password if user else "") else None

    async def hashed(self, password: str) -> str:
        """A password as it is kept."""
        return await self._locks.hashed(password)

    async def mint(self, token: Token, actor: Actor) -> tuple[Token, str]:
        """A new key or link, and its text: it cannot be shown again."""
        minted = self._locks.mint(token.kind)
        return await people.mint(self._engine, minted, token, actor), minted.text

    def forget(self) -> None:
        """Something was changed here."""
        self._known = defaultdict(dict)  # what is being read now goes into the old one

    async def note(self) -> None:
        """Write down when tokens were last used."""
        moments, self._used = self._used, {}
        try:
            await people.used(self._engine, moments)
        except RotaError as error:
            self._engine.tell(Trouble("tokens", error))

    async def close(self) -> None:
        """Write what is still to be written."""
        if self._noting:
            await self._noting
        await self.note()

    def _opened(self, session: Token) -> Opened:
        now, said = self._engine.clock.now(), Signed(session.id, session.owner, session.generation)
        sign, left_ms = self._locks.sign, (session.expires_at or 0) - now
        access, cookie = sign("access", said, now, ACCESS_MS), sign("cookie", said, now, COOKIE_MS)
        return Opened(session.owner, access, sign("refresh", said, now, left_ms), cookie)

    async def _user(self, name: str) -> User | None:
        user = await self._record(User, name)
        return user if user and not user.disabled else None

    async def _record(self, kind: type[R], name: str) -> R | None:
        found: R | None = (await self._engine.remembered(kind, self._known[kind], [name], MEMORY_MS))[name]
        return found


def shown(headers: Mapping[str, str]) -> tuple[str, bool]:
    """The credential of a request, and whether a cookie holds it: a cookie counts only where nothing else is shown."""
    if "authorization" in headers:
        scheme, _, text = headers["authorization"].partition(" ")
        return (text.strip() if scheme.lower() == "bearer" else ""), False
    if "x-api-key" in headers:
        return headers["x-api-key"].strip(), False
    # Ours is never quoted. The library's reader gives up at what others may put there, and takes seconds for some.
    mine = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
    return next(((text, True) for name, _, text in mine if name == COOKIE), ("", False))
