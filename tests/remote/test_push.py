"""The pusher against workers' URLs that answer well, wrongly, late or not at all: nothing is lost, and nothing believed
that is not signed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rota.api import push
from rota.api.push import Pusher
from rota.api.serve import Address
from rota.api.serve import served as serve
from rota.domain.access import Grant
from rota.domain.errors import Unavailable, Unclear
from rota.domain.facts import RunsSettled
from rota.domain.records import Session
from rota.domain.run import Run
from rota.engine import people
from rota.engine.report import report
from rota.identity.keys import mint
from rota.ports.desk import Progress
from rota.ports.store import Versioned
from rota.worker import poster as sending
from rota.worker import wire
from rota.worker.letters import Question, read_key
from rota.worker.posted import HEAD, SIGNATURE, Post
from rota.worker.poster import Poster
from tests.remote.support import certificate
from tests.remote.yard import Url, Yard, response, signed, url, yard
from tests.services.postgresql import free_port

__all__ = ["url", "yard"]


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


async def test_the_refusal_of_a_letter_that_came_twice_takes_nothing_from_who_began_by_the_first(
    yard: Yard, url: tuple[Url, Session]
):
    at, session = url

    async def repeated(question: Question, body: bytes) -> bytes:
        return signed(question, at.digest, 409)

    at.answers = [repeated]
    runs = await yard.place(session)
    await yard.push(session, runs)
    await yard.are_held(session, runs)


OTHER = read_key(mint("key").text)[1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda question, at: response(202, b'{"v":1,"runs":[]}', {}),
        lambda question, at: response(302, b"", {"Location": f"http://127.0.0.1:{free_port()}/{'secret'}"}),
        lambda question, at: response(404, b"secret", {}),
        lambda question, at: signed(question, OTHER),
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
    impatient = Pusher(
        yard.house.engine, lambda: (yard.at.node.door, Poster(yard.house.clock, yard.house.engine.chance))
    )
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


async def test_what_began_while_nobody_knew_is_not_taken_from_its_worker(yard: Yard, url: tuple[Url, Session]):
    at, known = url
    session = await yard.begin(known.address, pid=0)
    runs = await yard.place(session)
    yard.house.clock.advance(push.DOUBT_MS + 1)

    async def begins(question: Question, body: bytes) -> bytes:
        begun = Progress(runs[0].record.fence, yard.house.clock.now())
        await report(yard.house.engine, [begun], [])
        return response(500, b"", {})

    at.answers = [begins]
    await yard.push(session, runs)
    await yard.are_held(session, runs[:1])
    await yard.are_back(runs[1:], "does not answer")


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
