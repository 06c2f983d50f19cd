"""Nodes that serve the API over one house, and desks that reach them over real connections."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rota.api.app import Options, make_app
from rota.api.door import Door
from rota.api.feed import Feed
from rota.api.places import GuardOptions
from rota.api.serve import Address
from rota.api.serve import served as serve
from rota.api.waiting import Waiting
from rota.domain.access import Grant
from rota.domain.lane import lane
from rota.domain.records import Session
from rota.domain.run import Run
from rota.identity import Identity
from rota.ports.desk import Assignment, Settlement, Taken
from rota.ports.store import Want
from rota.testing.factories import make_session
from rota.worker.remote import DeskClock, RemoteDesk, Server, reached
from tests.identity.support import NO_RATES, NO_TLS, SECRET, Served
from tests.unit.engine.support import SUCCESS, House

ID = "0" * 31


class Node(Served):
    """A served API whose waiting workers can be counted."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:4])
        self.feed: Feed = given[4]
        self.waiting: Waiting = given[5]

    async def until(self, waiting: int, resting: int = 0) -> None:
        """Until so many wait for work, and so many for news."""
        async with asyncio.timeout(20):
            while (len(self.waiting._waiters), len(self.waiting._resting)) != (waiting, resting):
                await self.ask("GET", "/health")


@asynccontextmanager
async def node(house: House, tls: Mapping[str, str] = NO_TLS, **guard: Any) -> AsyncIterator[Node]:
    """A node of its own memory, as another process would be."""
    engine = house.another()
    door, feed = Door(engine, Identity(SECRET), NO_RATES), Feed(engine.store.watch, engine.emit)
    app = make_app(engine, door, Options(SECRET, GuardOptions(**{"rates": NO_RATES} | guard), feed))
    async with serve(app, Address(port=0, **tls), feed.close) as at, AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=at, timeout=20, verify=not tls))
        yield Node(house, door, at, client, feed, (await cast(Any, app)._app.made()).state.desk.waiting)


class Site:
    """A node, a desk at it, and what that desk's worker does."""

    def __init__(self, node: Node, stack: AsyncExitStack) -> None:
        self.node = node
        self.house = node.house
        self._stack = stack

    async def key(self, *queues: str) -> str:
        """A worker's key, for these queues or for all of `main`."""
        grants = [Grant("worker", queue=queue) for queue in queues] or [Grant("worker")]
        return await self.node.key("w", *grants)

    async def desk(self, key: str = "", node: Node | None = None, **server: str) -> RemoteDesk:
        at = Server((node or self.node).base, key or await self.key(), **server)
        return await self._stack.enter_async_context(reached(at, DeskClock(self.house.clock)))


@asynccontextmanager
async def site(house: House, **given: Any) -> AsyncIterator[Site]:
    async with node(house, **given) as served, AsyncExitStack() as stack:
        yield Site(served, stack)


def session(number: int = 1, *queues: str, **changes: Any) -> Session:
    """A session of these queues; its id is what the wire takes for one."""
    names = queues or ("default",)
    lanes = tuple(lane("main", queue, "python") for queue in names)
    return make_session(number, **{"id": f"{ID}{number}", "queues": names, "lanes": lanes} | changes)


def want(opened: Session, token: int = 7, limit: int = 10) -> Want:
    return Want(opened.id, opened.worker, token, limit, opened.lanes)


def done(one: Assignment, **changes: Any) -> Settlement:
    return Settlement(one.run.fence, SUCCESS._replace(**changes), one.held, one.task)


def ids(taken: Taken) -> list[str]:
    return [one.run.id for one in taken.assignments]


async def states(house: House) -> set[str]:
    return {run.state for run in await house.all(Run)}


def certificate(folder: Path) -> dict[str, str]:
    """One for 127.0.0.1 that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rota")])
    now = datetime.now(UTC)
    plain = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    own = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = plain.add_extension(own, critical=False).sign(key, hashes.SHA256())
    (folder / "chain.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
