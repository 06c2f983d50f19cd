"""A served API: uvicorn on a free port over a store in memory, and people of each role with their keys."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from rota.api.app import Options, make_app
from rota.api.door import Door
from rota.api.limits import Rates
from rota.api.places import GuardOptions
from rota.api.serve import Address
from rota.api.serve import served as serve
from rota.domain.access import ANY, Actor, Grant
from rota.domain.people import Kind, Token, User
from rota.domain.records import Audit
from rota.engine import people
from rota.engine.engine import Engine, every
from rota.identity import Identity
from tests.unit.engine.support import House

SECRET = b"JQ7-mZx2.kfW9_vT4sRb8!cYpLd3hNgE"
PASSWORD = "seven lamps over water"
ROOT = Actor("cli:root", (Grant("admin", ANY),))
NO_TLS: Mapping[str, str] = {}
NO_RATES = Rates("", "", "", "", "")
ROLES = ("viewer", "operator", "developer", "admin", "worker")


class Served:
    """The API at an address, the house behind it, and whoever asks."""

    def __init__(self, house: House, door: Door, base: str, client: httpx.AsyncClient) -> None:
        self.house = house
        self.door = door
        self.base = base
        self.engine = house.engine
        self.keys: dict[str, str] = {}
        self.client = client

    async def user(self, name: str, *grants: Grant, password: str = "") -> User:
        kept = await self.door.hashed(password) if password else ""
        return await people.add_user(self.engine, User(name, grants, kept), ROOT)

    async def key(self, name: str, *grants: Grant, owner: str = "", **fields: Any) -> str:
        token = replace(Token("", Kind.KEY, name, owner=owner, grants=grants), **fields)
        _, text = await self.door.mint(token, ROOT)
        return text

    async def everybody(self) -> None:
        """A key of each role, over namespace main; the admin's over all."""
        for role in ROLES:
            self.keys[role] = await self.key(role, Grant(role, ANY if role == "admin" else "main"))

    async def ask(self, method: str, path: str, key: str = "", **given: Any) -> httpx.Response:
        """As who has this key, or the key of this role; without one, as a stranger."""
        headers = {**given.pop("headers", {})}
        if text := self.keys.get(key, key):
            headers["Authorization"] = f"Bearer {text}"
        return await self.client.request(method, path, headers=headers, **given)

    async def logged_in(self, name: str = "anna", password: str = PASSWORD, **more: Any) -> httpx.Response:
        return await self.ask("POST", "/api/auth/login", json={"name": name, "password": password, **more})

    async def entries(self, action: str) -> list[Audit]:
        return [one.record for one in await every(self.engine, Audit) if one.record.action == action]


async def live_tokens(engine: Engine, owner: str = "") -> list[Token]:
    """Those that open something."""
    now, held = engine.clock.now(), await every(engine, Token)
    return [one.record for one in held if one.record.live(now) and owner in ("", one.record.owner)]


@asynccontextmanager
async def serving(house: House, tls: Mapping[str, str] = NO_TLS, **guard: Any) -> AsyncIterator[Served]:
    """Serve until the end of the block."""
    door = Door(house.engine, Identity(SECRET), guard.get("rates", NO_RATES))
    app = make_app(house.engine, door, Options(SECRET, GuardOptions(**{"rates": NO_RATES} | guard)))
    async with serve(app, Address(port=0, **tls)) as at:
        client = httpx.AsyncClient(base_url=at, timeout=20, verify=not tls)
        async with client:
            yield Served(house, door, at, client)


async def spoken(served: Served, *lines: str, body: bytes = b"") -> bytes:
    """The first line of what comes back for these very bytes."""
    host, port = served.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body)
    async with asyncio.timeout(10):
        answer = await reader.readline()
    writer.close()
    return answer
