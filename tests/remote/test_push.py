"""The pusher against workers' URLs that answer well, wrongly, late or not at all: nothing is lost, and nothing believed
that is not signed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rota.api import push
from rota.api.push import Pusher
from rota.api.serve import Address
from rota.api.serve import served as serve
from rota.domain.access import Grant
from rota.domain.errors import Unavailable, Unclear
from rota.domain.facts import RunsSettled, Trouble
from rota.domain.ids import RunId
from rota.domain.lane import lane
from rota.domain.records import Session
from rota.domain.run import Reason, Run, State
from rota.engine import people
from rota.engine.sessions import enter
from rota.identity.keys import mint, read
from rota.ports.store import Versioned, Want
from rota.worker import poster as sending
from rota.worker import wire
from rota.worker.letters import Answer, Letter, Question, head_of, sealed
from rota.worker.posted import EXECUTE, HEAD, SIGNATURE, Post
from rota.worker.poster import Poster
from tests.remote.net import free_port
from tests.remote.support import Site, certificate
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
        found = read(self.key)
        assert found
        self.name, self.digest = found[1:]
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
        return [await self.house.run(RunId(one.record.id)) for one in runs]

    async def are_back(self, runs: list[Versioned[Run]], why: str) -> None:
        for run in await self.runs(runs):
            assert (run.state, run.reason, run.tries, run.lost) == (State.PENDING, Reason.RETURNED, 0, 0)
            assert why in run.detail

    async def are_held(self, session: Session, runs: list[Versioned[Run]]) -> None:
        assert {(run.state, run.session) for run in await self.runs(runs)} == {(State.RUNNING, session.id)}


@pytest.fixture
async def yard(at: Site, house: House) -> AsyncIterator[Yard]:
    engine = house.another()
    pusher = Pusher(engine, at.node.door, Poster(engine.clock, engine.chance))
    yield Yard(house, at, pusher)
    await pusher.close()


@pytest.fixture
async def url(yard: Yard) -> AsyncIterator[tuple[Url, Session]]:
    made = Url("")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=16 << 20)
    session = await yard.begin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    made.digest = yard.digest
    yield made, session
    made.holding.set()
    server.close()


async def test_runs_are_posted_over_one_connection_in_order(yard: Yard, url: tuple[Url, Session]):
    at, session = url
    first, second = await yard.place(session, 3), await yard.place(session, 2)
    assert yard.pusher(session, first)
    await yard.push(session, [*second, *first])
    assert [runs for _, runs in at.got] == [[one.record.id for one in [*first, *second]]], "each of them once"
    await yard.push(session, await yard.place(session, 1))
    assert (len(at.got), at.connections, yard.troubles()) == (2, 1, [])
    questions = [one for one, _ in at.got]
    assert questions[0].id != questions[1].id
    assert {(one.to, one.key, one.call) for one in questions} == {(session.id, yard.name, "execute")}
    await yard.are_held(session, first)


async def test_one_post_at_a_time_goes_to_a_worker_and_all_workers_are_posted_to_at_once(
    yard: Yard, url: tuple[Url, Session]
):
    at, session = url
    other = await yard.begin(session.address)

    async def later(question: Question, body: bytes) -> bytes:
        await at.holding.wait()
        return await at.good(question, body)

    at.answers = [later]
    assert yard.pusher(session, await yard.place(session, 1))
    await at.until(1)
    assert yard.pusher(session, await yard.place(session, 300))
    assert yard.pusher(other, await yard.place(other, 2))
    await at.until(2)
    at.holding.set()
    await yard.push(session, [])
    assert [len(runs) for _, runs in at.got] == [1, 2, wire.GIVEN, 50]


async def test_large_payloads_go_in_several_letters(yard: Yard, url: tuple[Url, Session]):
    at, session = url
    runs = await yard.place(session, 30, b'"' + b"x" * 200_000 + b'"')
    await yard.push(session, runs)
    assert yard.troubles() == []
    assert sorted(name for _, some in at.got for name in some) == sorted(one.record.id for one in runs)
    assert len(at.got) > 1


async def test_where_nobody_listens_the_runs_go_elsewhere_at_once_unburnt(yard: Yard):
    session = await yard.begin(f"http://127.0.0.1:{free_port()}")
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_back(runs, "it was not delivered: no connection: Connect")
    (told,) = yard.troubles()
    assert isinstance(told, Unavailable)
    assert session.address in str(told)


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254", "http://[fe80::1]:9", "http://0.0.0.0:9", "http://[::]:9", "http://224.0.0.1",
     "http://[::ffff:169.254.169.254]", "http://100.100.100.200", "http://[fd00:ec2::254]", "http://0xa9fea9fe",
     "http://no-such-host.invalid:9"],
)  # fmt: skip
async def test_addresses_that_no_worker_has_are_not_connected_to(yard: Yard, address: str):
    session = await yard.begin(address)
    runs = await yard.place(session, 1)
    await yard.push(session, runs)
    await yard.are_back(runs, "it was not delivered")


async def test_a_certificate_that_is_not_trusted_is_no_worker(yard: Yard, tmp_path: Path):
    key = await yard.at.node.key("w", Grant("worker"))
    async with serve(Post(key, yard.house.clock), Address(port=0, **certificate(tmp_path))) as base:
        assert base.startswith("https://")
        session = await yard.begin(base)
        runs = await yard.place(session, 1)
        await yard.push(session, runs)
        await yard.are_back(runs, "its certificate is not trusted here")


async def test_a_signed_refusal_gives_the_runs_to_others(yard: Yard, url: tuple[Url, Session]):
    at, session = url

    async def refuse(question: Question, body: bytes) -> bytes:
        return signed(question, at.digest, 403)

    at.answers = [refuse]
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_back(runs, "refuses it with 403")


OTHER = read(mint("key").text) or ("", "", "")


@pytest.mark.parametrize(
    "answer",
    [
        lambda question, at: response(202, b'{"v":1,"runs":[]}', {}),
        lambda question, at: response(302, b"", {"Location": f"http://127.0.0.1:{free_port()}/{'secret'}"}),
        lambda question, at: response(404, b"secret", {}),
        lambda question, at: signed(question, OTHER[2]),
        lambda question, at: signed(question, at.digest, name="0" * 32),
        lambda question, at: signed(question, at.digest).replace(b'"runs"', b'"ruNs"'),
        lambda question, at: b"secret\r\n\r\n",
        lambda question, at: b"",
        lambda question, at: response(202, b"x" * 200_000, {}),
        lambda question, at: response(202, b"x", {"Content-Encoding": "gzip"}),
        lambda question, at: response(202, b"", {HEAD: "{" * 5_000, SIGNATURE: "secret"}),
        lambda question, at: response(202, b"", {"Transfer-Encoding": "chunked"}),
    ],
)
async def test_what_is_not_signed_is_not_believed_and_the_worker_is_asked_to_look(
    yard: Yard, url: tuple[Url, Session], answer: Callable[[Question, Url], bytes]
):
    at, session = url

    async def wrong(question: Question, body: bytes) -> bytes:
        if not (said := answer(question, at)):
            raise ConnectionError
        return said

    at.answers = [wrong]
    ear = yard.house.store.watch([f"session:{session.id}"])
    runs = await yard.place(session)
    await yard.push(session, runs)
    assert await ear.wait(5) == {f"session:{session.id}": 2}
    ear.close()
    await yard.are_held(session, runs)
    (told,) = yard.troubles()
    assert isinstance(told, Unclear)
    assert "secret" not in str(told), "nothing of an answer is shown"
    assert len(at.got) == 1, "no redirect is followed"


async def test_who_never_answers_is_waited_for_only_so_long(
    yard: Yard, url: tuple[Url, Session], monkeypatch: pytest.MonkeyPatch
):
    at, session = url

    async def never(question: Question, body: bytes) -> bytes:
        await at.holding.wait()
        return b""

    monkeypatch.setattr(sending, "ANSWER_S", 0.2)
    impatient = Pusher(yard.house.engine, yard.at.node.door, Poster(yard.house.clock, yard.house.engine.chance))
    yard.pusher, kept = impatient, yard.pusher
    at.answers = [never]
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_held(session, runs)
    assert [type(one) for one in yard.troubles()] == [Unclear]
    await impatient.close()
    yard.pusher = kept


async def test_a_worker_that_cannot_ask_is_posted_to_again_and_in_the_end_loses_what_is_in_doubt(
    yard: Yard, url: tuple[Url, Session]
):
    at, known = url
    session = await yard.begin(known.address, pid=0)

    async def silent(question: Question, body: bytes) -> bytes:
        return response(500, b"", {})

    at.answers = [silent, silent]
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_held(session, runs)
    yard.house.clock.advance(push.DOUBT_MS + 1)
    await yard.push(session, runs)
    await yard.are_back(runs, "does not answer")
    assert len(at.got) == 2


async def test_what_a_worker_that_cannot_ask_did_not_take_goes_elsewhere(yard: Yard, url: tuple[Url, Session]):
    at, known = url
    session = await yard.begin(known.address, pid=0)
    runs = await yard.place(session, 3)

    async def half(question: Question, body: bytes) -> bytes:
        return signed(question, at.digest, runs=[runs[0].record.id])

    at.answers = [half]
    await yard.push(session, runs)
    await yard.are_held(session, runs[:1])
    await yard.are_back(runs[1:], "did not take it")


async def test_nothing_is_posted_by_a_key_that_is_revoked_or_not_for_these_queues(yard: Yard, url: tuple[Url, Session]):
    at, session = url
    await people.revoke(yard.house.engine, yard.name, "ann")
    yard.house.clock.advance(10_000)
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_back(runs, "key is not valid")
    yard.key = ""
    elsewhere = await yard.begin(session.address + "xy", queue="mail")
    runs = await yard.place(elsewhere)
    await yard.push(elsewhere, runs)
    await yard.are_back(runs, "key is not valid")
    assert at.got == []


async def test_what_waited_for_long_and_is_over_is_not_posted(yard: Yard, url: tuple[Url, Session]):
    at, session = url

    async def later(question: Question, body: bytes) -> bytes:
        await at.holding.wait()
        return await at.good(question, body)

    at.answers = [later]
    assert yard.pusher(session, await yard.place(session, 1))
    await at.until(1)
    gone, kept = await yard.place(session, 1), await yard.place(session, 1)
    assert yard.pusher(session, [*gone, *kept])
    await yard.pusher._take_back(session, _assigned(gone), "test")
    yard.house.clock.advance(push.STALE_MS + 1)
    at.holding.set()
    await yard.push(session, [])
    assert [runs for _, runs in at.got[1:]] == [[kept[0].record.id]]
    assert len(yard.house.facts.of(RunsSettled)) == 1


def _assigned(runs: list[Versioned[Run]]) -> Any:
    from rota.ports.desk import Assignment
    from rota.testing.factories import make_task

    return [Assignment(one.record, make_task(1), b"{}", one.version) for one in runs]


async def test_too_much_that_waits_is_not_taken(yard: Yard, url: tuple[Url, Session], monkeypatch: pytest.MonkeyPatch):
    _, session = url
    monkeypatch.setattr(push, "MOST_WAITING", 2)
    runs = await yard.place(session, 3)
    assert not yard.pusher(session, runs)
    await yard.push(session, runs[:2])
