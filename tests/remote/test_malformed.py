"""What no worker of ours says is refused, and nothing happens."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from rota.domain.errors import Incompatible, Invalid, Unavailable
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import LOST_LIMIT, End, Fence, Outcome, Reason, State
from rota.domain.states import Verdict
from rota.engine.recover import open_sessions
from rota.engine.settle import settle
from rota.ports.desk import Progress, Settlement
from rota.ports.loops import end
from rota.ports.store import BeatReply, Line
from rota.worker import wire
from rota.worker.outbox import Outbox
from rota.worker.posted import BODY_BYTES
from rota.worker.remote import DeskClock, RemoteDesk, Server, reached
from tests.remote.support import Site, done, ids, session, states, want
from tests.unit.engine.support import House

CALLS = {"enter": wire.Enter, "leave": wire.Leave, "claim": wire.Ask, "beat": wire.Beat, "held": wire.Held,
         "report": wire.Report, "settle": wire.Settle}  # fmt: skip


BODIES = [
    b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"v":2}', b'{"v":1}', b'{"v":"1"}', b"\xff", b'{"v":1,"session":5}',
    b'{"v":1,"session":"../../x"}', b'{"v":1,"session":"' + b"0" * 32 + b'\\n"}', b'{"v":1,"a":NaN}',
    b'{"v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_malformed_is_refused_and_nothing_happens(at: Site, house: House, call: str):
    key = await at.key()
    before = len(house.store.calls)
    for body in BODIES:
        answer = await at.node.ask("POST", f"/api/worker/{call}", key, content=body)
        assert answer.status_code == 422, (body[:60], answer.text)
        assert answer.json()["errors"]
    assert len(house.store.calls) == before


async def said(at: Site, call: str, **members: Any) -> tuple[int, str]:
    answer = await at.node.ask("POST", f"/api/worker/{call}", await at.key(), json={"v": 1, **members})
    return answer.status_code, answer.json()["errors"][0]["field"] if answer.status_code == 422 else ""


ENTER = json.loads(wire.encode(wire.entering(session())))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x"), ("worker", "a b"), ("worker", "a" * 200), ("host", "h" * 501), ("slots", 0), ("slots", 10_001),
        ("ttl_ms", 1), ("ttl_ms", 10**9), ("lanes", []), ("lanes", ["main/default"]), ("lanes", ["main/../python/"]),
        ("lanes", ["a/b/c/"] * 10_001), ("labels", ["a,b"]), ("queues", [5]), ("pid", -1), ("version", "v" * 501),
    ],
)  # fmt: skip
async def test_a_session_that_cannot_be_is_refused(at: Site, house: House, name: str, value: Any):
    status, field = await said(at, "enter", **ENTER | {name: value})
    assert (status, field.partition("[")[0]) == (422, name)
    assert await open_sessions(house.engine) == []


END = {"run": "0" * 32, "attempt": 1, "token": 1, "end": "success"}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"end": "eaten"}, "settlements[0].end"), ({"attempt": -1}, "settlements[0].attempt"),
        ({"token": 2**63}, "settlements[0].token"), ({"error": "x" * 4_001}, "settlements[0].error"),
        ({"delay_ms": -1}, "settlements[0].delay_ms"), ({"result": "*"}, "settlements[0].result"),
        ({"errors": ["x"] * 101}, "settlements[0].errors"),
    ],
)  # fmt: skip
async def test_an_end_that_cannot_be_is_refused(at: Site, members: Any, field: str):
    assert await said(at, "settle", settlements=[END | members]) == (422, field)
    assert await said(at, "settle", settlements=[END] * (wire.BATCH + 1)) == (422, "settlements")


async def test_an_outcome_that_no_honest_worker_tells_is_refused(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    for outcome in (Outcome(End.LOST), Outcome(End.SUCCESS, b"{"), Outcome(End.SUCCESS, b"NaN")):
        with pytest.raises(Invalid):
            await desk.settle([Settlement(one.run.fence, outcome)])
    assert await states(house) == {State.RUNNING}
    big = Outcome(End.SUCCESS, b'"' + b"x" * VALUE_LIMIT + b'"')
    assert await desk.settle([Settlement(one.run.fence, big)]) == [Verdict.FRESH]
    assert "the limit is" in (await house.run(one.run.id)).error


async def test_the_loss_of_a_last_try_alone_is_told_by_its_worker(at: Site, house: House):
    """Its child process has died, as workers did before it."""
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run = await house.submit()
    for number in range(LOST_LIMIT):
        (one,) = (await desk.claim(want(opened, number))).assignments
        assert await settle(house.engine, [Settlement(one.run.fence, Outcome(End.LOST))]) == [Verdict.FRESH]
    (last,) = (await desk.claim(want(opened, LOST_LIMIT))).assignments
    died = Outcome(End.LOST, reason=Reason.ERROR, error="killed by signal 9 (SIGKILL)")
    assert await desk.settle([Settlement(last.run.fence, died)]) == [Verdict.FRESH]
    after = await house.run(run.id)
    assert (after.state, after.reason, after.error) == (State.FAILED, Reason.POISON, died.error)


async def test_an_outcome_that_is_refused_ends_its_run_which_says_so(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    for _ in range(3):
        await house.submit()
    taken = (await desk.claim(want(opened))).assignments
    results = (b"1", b'{"a":1,"a":2}', b"3")
    outbox = Outbox(desk.settle, house.engine.emit)
    for one, result in zip(taken, results, strict=True):
        outbox.put(done(one, result=result))
    sending = asyncio.create_task(outbox.run())
    async with asyncio.timeout(20):
        await outbox.empty()
    await end(sending)
    first, refused, third = [await house.run(one.run.id) for one in taken]
    assert (first.result, refused.state, refused.reason, third.result) == (b"1", State.FAILED, Reason.UNSTORABLE, b"3")
    assert "key 'a' stands twice in one object" in refused.error


async def test_a_body_over_the_limit_is_refused_unread(at: Site):
    answer = await at.node.ask("POST", "/api/worker/settle", await at.key(), content=b" " * (5 << 20))
    assert answer.status_code == 413


async def test_large_results_travel_in_several_messages(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    payload = json.dumps("ä" * 40_000).encode()
    for _ in range(40):
        await house.submit(payload=payload)
    taken = await desk.claim(want(opened, limit=40))
    assert [one.payload for one in taken.assignments] == [payload] * 40
    lines = [Line(one.run.id, 1, house.clock.now(), "stdout", "", "ü" * 16_000) for one in taken.assignments]
    assert await desk.report([Progress(one.run.fence) for one in taken.assignments], lines) == [Verdict.FRESH] * 40
    assert await desk.settle([done(one, result=payload) for one in taken.assignments]) == [Verdict.FRESH] * 40
    assert (await house.store.logs.read(taken.assignments[-1].run.id))[0] == lines[-1:]


async def test_long_words_of_many_attempts_travel_in_several_messages(house: House):
    sizes: list[int] = []

    async def ask(call: str, message: bytes, within_s: float) -> tuple[int, bytes]:
        sizes.append(len(message))
        return 200, wire.encode([Verdict.FRESH] * len(wire.decode(wire.Report, message).progress))

    desk = RemoteDesk(ask, "somewhere", DeskClock(house.clock))
    news = [Progress(Fence(f"{number:032x}", 1, 2**60), 1, "x" * 500) for number in range(9_000)]
    line = Line("0" * 32, 1, 1, "stdout", "", "said")
    assert await desk.report(news, [line]) == [Verdict.FRESH] * len(news)
    assert max(sizes) < BODY_BYTES


@pytest.mark.parametrize(
    ("status", "kind"), [(408, Unavailable), (502, Unavailable), (524, Unavailable), (404, Incompatible)]
)
async def test_what_a_proxy_says_of_a_server_that_is_away_ends_no_worker(house: House, status: int, kind: type):
    async def ask(call: str, message: bytes, within_s: float) -> tuple[int, bytes]:
        return status, b"<html>a timeout occurred</html>"

    with pytest.raises(kind, match="a timeout occurred"):
        await RemoteDesk(ask, "somewhere", DeskClock(house.clock)).held("0" * 32)


async def test_who_lacks_more_handlers_than_can_be_said_claims_all_the_same(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run = await house.submit()
    lacking = tuple(f"main/lacking-{number}" for number in range(1_001))
    assert ids(await desk.claim(want(opened)._replace(exclude=lacking))) == [run.id]


async def test_the_clock_of_a_worker_is_not_believed(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    claimed_at = house.clock.now()
    now = house.clock.advance(50)
    line = Line(one.run.id, 1, 2**47, "stdout", "", "x")
    await desk.report([Progress(one.run.fence, 2**47)], [line])
    assert (await house.run(one.run.id)).started_at == now
    assert (await house.store.logs.read(one.run.id))[0][0].at == now
    await desk.settle([done(one, started_at=5)])
    assert (await house.run(one.run.id)).started_at == claimed_at


async def test_what_is_refused_names_its_field_once(at: Site, house: House):
    async with reached(Server(at.node.base, await at.key()), DeskClock(house.clock)) as desk:
        with pytest.raises(Invalid) as met:
            await desk.enter(replace(session(), address="ftp://x"))
    assert str(met.value).startswith("url: 'ftp://x' is no worker's URL")


async def test_a_worker_whose_clock_is_wrong_goes_by_the_clock_of_the_desk(at: Site, house: House):
    class Wrong:
        def now(self) -> int:
            return 5

        def monotonic(self) -> int:
            return house.clock.monotonic()

    clock = DeskClock(Wrong())
    async with reached(Server(at.node.base, await at.key()), clock) as desk:
        await desk.enter(session())
        assert clock.now() == house.clock.now()


async def test_work_that_was_long_under_way_sets_no_clock_back(house: House):
    async def ask(call: str, message: bytes, within_s: float) -> tuple[int, bytes]:
        said = wire.Work(house.clock.now(), False, True, 0)
        house.clock.advance(30_000)
        return 200, wire.encode(said)

    clock = DeskClock(house.clock)
    await RemoteDesk(ask, "somewhere", clock).claim(want(session()))
    assert clock.now() == house.clock.now()


def test_what_a_newer_node_adds_to_an_answer_is_skipped():
    reply = wire.Reply(*BeatReply(True, 1, 2, ("0" * 32,), 3, False, ("gpu",)))
    told = json.loads(wire.encode(wire.Beaten(7, reply)))
    told["reply"]["new"] = told["new"] = [1]
    assert wire.decode(wire.Beaten, json.dumps(told).encode()).reply == reply
