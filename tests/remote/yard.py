"""Workers' URLs that answer as they are told to, and a pusher that posts to them."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from rota.api.push import Pusher
from rota.domain.access import Grant
from rota.domain.facts import Trouble
from rota.domain.lane import lane
from rota.domain.records import Session
from rota.domain.run import Reason, Run, State
from rota.engine.sessions import enter
from rota.ports.store import Versioned, Want
from rota.worker import wire
from rota.worker.letters import Answer, Letter, Question, head_of, read_key, sealed
from rota.worker.posted import EXECUTE, HEAD, SIGNATURE
from rota.worker.poster import Poster
from tests.remote.support import Site
from tests.services.listener import listening
from tests.unit.engine.support import House

Behave = Callable[[Question, bytes], Awaitable[bytes]]


def response(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def signed(question: Question, digest: str, status: int = 202, runs: list[str] | None = None, name: str = "") -> bytes:
    body = wire.encode(wire.Took(tuple(runs or ())))
    letter = sealed(Answer(name or question.id, status, 0), body, digest)
    return response(status, body, {HEAD: letter.head.decode(), SIGNATURE: letter.signature.decode()})


class Url:
    """A worker's URL, which answers as it is told to."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.got: list[tuple[Question, list[str]]] = []
        self.answers: list[Behave] = []
        self.connections = 0
        self.holding = asyncio.Event()
        self.posted = asyncio.Condition()

    async def good(self, question: Question, body: bytes) -> bytes:
        return signed(question, self.digest, runs=[one.run.id for one in wire.decode(wire.Work, body).runs])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                found = dict(re.findall(r"(?m)^([A-Za-z-]+): (.*)\r$", head))
                body = await reader.readexactly(int(found["Content-Length"]))
                letter = Letter(found[SIGNATURE].encode(), found[HEAD].encode(), body)
                assert head.startswith(f"POST {EXECUTE} ")
                assert letter.bears(self.digest)
                question = head_of(letter)
                assert isinstance(question, Question)
                self.got.append((question, [one.run.id for one in wire.decode(wire.Work, body).runs]))
                async with self.posted:
                    self.posted.notify_all()
                behave = self.answers.pop(0) if self.answers else self.good
                writer.write(await behave(question, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def until(self, posts: int) -> None:
        async with asyncio.timeout(20), self.posted:
            await self.posted.wait_for(lambda: len(self.got) >= posts)


class Yard:
    """A pusher, and a session with a URL."""

    def __init__(self, house: House, at: Site, pusher: Pusher) -> None:
        self.house = house
        self.at = at
        self.pusher = pusher
        self.key = self.digest = self.name = ""
        self.opened = 0

    async def begin(self, address: str, pid: int = 7, **grant: Any) -> Session:
        self.key = self.key or await self.at.node.key("w", Grant("worker", **grant))
        self.opened += 1
        self.name, self.digest = read_key(self.key)
        session = Session(
            f"{self.opened:032x}", "w", "h", pid, (lane("main", "default", "python"),), ("default",), ("python",)
        )
        session = replace(session, opened_by=self.name, address=address, opened_at=self.house.clock.now(), slots=900)
        await enter(self.house.engine, session)
        return session

    async def place(self, session: Session, number: int = 2, payload: bytes = b"{}") -> list[Versioned[Run]]:
        runs = [(await self.house.submit(payload=payload)).id for _ in range(number)]
        self.house.tokens += 1
        want = Want(session.id, "w", self.house.tokens, number, runs=tuple(runs))
        (claimed,) = await self.house.store.claim([want], self.house.clock.now())
        return list(claimed.runs)

    async def push(self, session: Session, runs: list[Versioned[Run]]) -> None:
        """And wait until that is over, however."""
        assert self.pusher(session, runs)
        while tasks := [one.task for one in self.pusher._lines.values() if one.task]:
            await asyncio.wait(tasks)

    def troubles(self) -> list[BaseException]:
        return [fact.error for fact in self.house.facts.of(Trouble) if fact.where == "push"]

    async def runs(self, runs: list[Versioned[Run]]) -> list[Run]:
        return [await self.house.run(one.record.id) for one in runs]

    async def are_back(self, runs: list[Versioned[Run]], why: str) -> None:
        for run in await self.runs(runs):
            assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
            assert why in run.detail

    async def are_held(self, session: Session, runs: list[Versioned[Run]]) -> None:
        assert {(run.state, run.session) for run in await self.runs(runs)} == {(State.RUNNING, session.id)}


@pytest.fixture
async def yard(at: Site, house: House) -> AsyncIterator[Yard]:
    engine = house.another()
    pusher = Pusher(engine, lambda: (at.node.door, Poster(engine.clock, engine.chance)))
    yield Yard(house, at, pusher)
    await pusher.close()


@pytest.fixture
async def url(yard: Yard) -> AsyncIterator[tuple[Url, Session]]:
    made = Url("")
    async with listening(made.serve, limit=16 << 20) as port:
        session = await yard.begin(f"http://127.0.0.1:{port}/")
        made.digest = yard.digest
        yield made, session
        made.holding.set()
