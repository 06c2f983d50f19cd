"""The desk over HTTP, against a served API: what it gives is what the desk beside the store gives, and no more."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rota.domain.access import Grant
from rota.domain.errors import Barred, Incompatible, Invalid, Refused, RotaError, Unavailable
from rota.domain.facts import RunsSettled
from rota.domain.records import VALUE_LIMIT, Session
from rota.domain.run import End, Fence, Outcome, State
from rota.domain.states import Verdict
from rota.engine import control, people
from rota.engine.recover import open_sessions
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Line
from rota.testing.faults import LOST_REPLY, NO_FAULT
from rota.worker import wire
from rota.worker.desks import LocalDesk
from rota.worker.remote import DeskClock, Server, reached
from tests.remote.support import Site, certificate, done, ids, node, session, states, want
from tests.unit.engine.support import House

CALLS = {"enter": wire.Enter, "leave": wire.Leave, "claim": wire.Ask, "beat": wire.Beat, "held": wire.Held,
         "report": wire.Report, "settle": wire.Settle}  # fmt: skip


async def test_what_comes_over_the_wire_is_what_the_desk_beside_the_store_gives(at: Site, house: House):
    desk, beside, opened = await at.desk(), LocalDesk(house.engine), session()
    await desk.enter(opened)
    for number in range(2):
        await house.submit(payload=b'{"n": %d}' % number)
    taken = await desk.claim(want(opened))
    (one, other) = taken.assignments
    assert (taken.open, taken.contended, one.payload, other.payload) == (True, False, b'{"n": 0}', b'{"n": 1}')
    stored = await house.run(one.run.id)
    assert one.run == stored._replace(payload=None)
    assert one.task == replace(await house.get(type(one.task), one.task.id), payload=b"")
    assert await desk.held(opened.id) == [run._replace(payload=None) for run in await beside.held(opened.id)]
    assert await desk.beat(opened.id) == await beside.beat(opened.id)
    line = Line(one.run.id, 1, house.clock.now(), "stdout", "", "half way")
    assert await desk.report([Progress(one.run.fence, house.clock.now(), "50 %")], [line]) == [Verdict.FRESH]
    assert (await house.run(one.run.id)).progress == "50 %"
    assert (await house.store.logs.read(one.run.id))[0] == [line]
    assert await desk.settle([done(one, result=b'{"a": "\\u00e4"}'), done(other)]) == [Verdict.FRESH] * 2
    assert (await house.run(one.run.id)).result == b'{"a": "\\u00e4"}'
    await desk.leave(opened.id, "drained")
    assert (await desk.claim(want(opened))).open is False
    assert (await desk.beat(opened.id)).open is False


async def test_a_claim_waits_for_work_and_a_beat_for_news(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    run = await house.submit()
    taken = await waiting
    assert ids(taken) == [run.id]
    await desk.listen([f"session:{opened.id}"]).wait(5.0)
    beat = asyncio.create_task(desk.beat(opened.id))
    await at.node.until(0, 1)
    await control.cancel(house.engine, run.id, "ann")
    assert (await beat).cancels == (run.id,)


async def test_all_who_wait_are_asked_for_in_one_call_and_no_more_are_woken_than_there_is_work_for(
    at: Site, house: House
):
    desk = await at.desk()
    opened = [session(number) for number in range(1, 9)]
    for one in opened:
        await desk.enter(one)
    waiting = {one.id: asyncio.create_task(desk.claim(want(one, limit=1))) for one in opened}
    await at.node.until(8)
    house.store.calls.clear()
    runs = [await house.submit() for _ in range(8)]
    found = [ids(one) for one in await asyncio.gather(*waiting.values())]
    assert sorted(name for one in found for name in one) == sorted(run.id for run in runs)
    assert len([call for call in house.store.calls if call.verb == "claim"]) <= 8


async def test_a_newer_claim_lets_the_older_one_of_its_session_go(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    ear = desk.listen(["lane:main/default/*"])
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    ear.wake()
    assert ids(await waiting) == []


async def test_who_went_away_leaves_no_run_behind(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    waiting.cancel()
    await at.node.until(0)
    await house.submit()
    assert await states(house) == {State.PENDING}


async def test_what_was_claimed_for_somebody_who_has_gone_is_given_back_unburnt(
    at: Site, house: House, monkeypatch: pytest.MonkeyPatch
):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run, claim = await house.submit(), house.store.claim

    async def slow(*given: Any) -> Any:
        found = await claim(*given)
        waiting.cancel()
        await at.node.until(0)
        return found

    monkeypatch.setattr(house.store, "claim", slow)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await house.facts.next(RunsSettled)
    after = await house.run(run.id)
    assert (after.state, after.attempt, after.tries, after.lost) == (State.PENDING, 1, 0, 0)


async def test_a_revoked_credential_gets_nothing_although_it_waits_already(at: Site, house: House):
    key = await at.key()
    desk, opened = await at.desk(key), session()
    await desk.enter(opened)
    waiting = asyncio.create_task(desk.claim(want(opened)))
    await at.node.until(1)
    await people.revoke(house.engine, key.split("_")[2], "ann")
    house.clock.advance(10_000)
    await house.submit()
    with pytest.raises(Barred, match="does not accept"):
        await waiting
    assert await states(house) == {State.PENDING}


# Whose what is


async def test_a_session_is_opened_on_the_queues_of_its_credential_alone(at: Site, house: House):
    desk = await at.desk(await at.key("mail"))
    for queues in (("default",), ("mail", "default"), ("mail2",)):
        with pytest.raises(Barred, match="may not work on"):
            await desk.enter(session(1, *queues))
    assert await open_sessions(house.engine) == []
    await desk.enter(session(1, "mail"))
    (opened,) = await open_sessions(house.engine)
    assert opened.opened_by


async def test_the_desk_says_when_a_session_was_opened_and_by_whom(at: Site, house: House):
    desk = await at.desk()
    told = session(opened_at=5, closed_at=6, draining=True, reason="x", opened_by="me", address="http://x")
    await desk.enter(told)
    (opened,) = await open_sessions(house.engine)
    assert (opened.opened_at, opened.closed_at, opened.draining) == (house.clock.now(), None, False)
    assert opened.opened_by not in ("", "me")
    assert opened.address == ""
    await desk.enter(told)  # the same again: its first answer may have been lost
    house.clock.advance(1)
    with pytest.raises(Refused):
        await desk.enter(told)


async def test_nobody_speaks_for_the_session_of_another(at: Site, house: House):
    mine, theirs, opened = await at.desk(), await at.desk(), session()
    await mine.enter(opened)
    await house.submit()
    (one,) = (await mine.claim(want(opened))).assignments
    before = await house.run(one.run.id)
    line = Line(one.run.id, 1, house.clock.now(), "stdout", "", "mine")
    for said in (
        theirs.claim(want(opened)),
        theirs.beat(opened.id),
        theirs.held(opened.id),
        theirs.leave(opened.id, ""),
        theirs.settle([done(one)]),
        theirs.report([Progress(one.run.fence, None, "x")], []),
        theirs.report([], [line]),
    ):
        with pytest.raises(Barred):
            await said
    assert await house.run(one.run.id) == before
    assert (await house.store.logs.read(one.run.id))[0] == []
    assert len(await open_sessions(house.engine)) == 1


async def test_nobody_ends_a_run_of_a_worker_beside_the_store(at: Site, house: House):
    await house.session()
    await house.submit()
    one = await house.claim_one()
    with pytest.raises(Barred):
        await (await at.desk()).settle([done(one)])
    assert await states(house) == {State.RUNNING}


async def test_another_fence_and_a_run_that_is_not_there_change_nothing(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    for fence in (one.run.fence._replace(token=8), one.run.fence._replace(attempt=2), Fence(one.run.id[::-1], 1, 7)):
        outcome = Settlement(fence, Outcome(End.SUCCESS))
        assert await desk.settle([outcome]) == [Verdict.STALE]
        line = Line(fence.run, fence.attempt + 1, 5, "stdout", "", "x")
        assert await desk.report([Progress(fence, None, "x")], [line]) == [Verdict.STALE]
    assert await states(house) == {State.RUNNING}


async def test_an_outcome_told_twice_counts_once_and_another_one_not_at_all(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    await house.submit()
    (one,) = (await desk.claim(want(opened))).assignments
    assert await desk.settle([done(one)]) == [Verdict.FRESH]
    assert await desk.settle([done(one), done(one, result=b"1")]) == [Verdict.ALREADY, Verdict.STALE]
    assert (await house.run(one.run.id)).tries == 1


@pytest.mark.parametrize("role", ["viewer", "operator", "developer", "admin", ""])
@pytest.mark.parametrize("call", [*CALLS, "register", "heartbeat"])
async def test_the_desk_is_for_workers_alone(at: Site, role: str, call: str):
    await at.node.everybody()
    answer = await at.node.ask("POST", f"/api/worker/{call}", role, json={})
    assert answer.status_code == (403 if role else 401)


# What is said wrong


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


# Nodes


async def test_a_worker_may_go_on_at_another_node(at: Site, house: House):
    key, opened = await at.key(), session()
    async with node(house) as other:
        first, second = await at.desk(key), await at.desk(key, other)
        await first.enter(opened)
        await house.submit()
        (one,) = (await second.claim(want(opened))).assignments
        assert (await second.beat(opened.id)).held == 1
        assert await first.settle([done(one)]) == [Verdict.FRESH]
        with pytest.raises(Barred):
            await (await at.desk(await at.key(), other)).beat(opened.id)


async def test_a_node_that_ends_lets_everybody_go_at_once(house: House):
    async with node(house) as served:
        key, opened = await served.key("w", Grant("worker")), session()
        async with reached(Server(served.base, key), DeskClock(house.clock)) as desk:
            await desk.enter(opened)
            claim = asyncio.create_task(desk.claim(want(opened)))
            await desk.listen([f"session:{opened.id}"]).wait(5.0)
            beat = asyncio.create_task(desk.beat(opened.id))
            await served.until(1, 1)
            await served.feed.close()
            assert ids(await claim) == []
            assert (await beat).open


async def test_a_store_that_cannot_serve_is_told_as_such_and_a_lost_reply_loses_nothing(at: Site, house: House):
    desk, opened = await at.desk(), session()
    await desk.enter(opened)
    run = await house.submit()
    house.store.plan = lambda call: LOST_REPLY if call.verb == "claim" else NO_FAULT
    with pytest.raises(Unavailable):
        await desk.claim(want(opened))
    house.store.plan = lambda _: NO_FAULT
    assert [one.id for one in await desk.held(opened.id)] == [run.id]
    (held,) = await desk.held(opened.id)
    returned = Settlement(held.fence, Outcome(End.RETURNED, reason="lost"))
    house.store.plan = lambda call: LOST_REPLY if call.verb == "commit" else NO_FAULT
    with pytest.raises(Unavailable):
        await desk.settle([returned])
    house.store.plan = lambda _: NO_FAULT
    assert await desk.settle([returned]) == [Verdict.ALREADY]


async def test_addresses_without_a_desk_are_told_apart(at: Site, house: House, tmp_path: Path):
    async def trouble(url: str, key: str = "x") -> RotaError:
        async with reached(Server(url, key), DeskClock(house.clock)) as desk:
            with pytest.raises(RotaError) as caught:
                await desk.enter(session())
            return caught.value

    assert isinstance(await trouble("http://127.0.0.1:1"), Unavailable)
    assert isinstance(await trouble(at.node.base), Barred)
    assert isinstance(await trouble(f"{at.node.base}/login", await at.key()), Incompatible)
    for url, key, field in (
        ("ftp://x", "k", "scheduler"),
        ("http://u:p@x", "k", "scheduler"),
        ("http://x", "", "token"),
    ):
        with pytest.raises(Invalid, match=field):
            Server(url, key)
    with pytest.raises(Invalid, match="ca"):
        Server("https://x", "k", str(tmp_path / "none.pem")).tls()


# Workers at a URL


async def test_a_worker_at_a_url_is_listed_while_its_heart_beats(at: Site, house: House):
    await at.node.everybody()
    key = await at.key()
    first = await at.node.ask("POST", "/api/worker/register", key, json="http://10.0.0.7:9000")
    assert first.status_code == 200, first.text
    assert (first.json()["takes_runs"], first.json()["ttl_ms"]) == (False, 30_000)
    for body in ("http://10.0.0.7:9000", {"url": "http://10.0.0.7:9000"}, {"worker": "http://10.0.0.7:9000"}):
        again = await at.node.ask("POST", "/api/worker/heartbeat", key, json=body)
        assert again.json() == first.json()
    listed = (await at.node.ask("GET", "/api/workers", "viewer")).json()["items"]
    assert [(one["address"], one["state"], one["ttl_ms"]) for one in listed] == [
        ("http://10.0.0.7:9000", "open", 30_000)
    ]
    await control_closed(house, first.json()["session"])
    anew = await at.node.ask("POST", "/api/worker/heartbeat", key, json="http://10.0.0.7:9000")
    assert anew.json()["session"] != first.json()["session"]
    await house.submit()
    assert await states(house) == {State.PENDING}


async def control_closed(house: House, name: str) -> None:
    from rota.engine.sessions import leave

    assert await leave(house.engine, name, "lapsed")


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://h", "http://", "http://a:b@h", "http://h x", "javascript:1", "http://[", 5, {}]
)
async def test_what_is_no_url_of_a_worker_is_refused(at: Site, house: House, url: Any):
    answer = await at.node.ask("POST", "/api/worker/register", await at.key(), json=url)
    assert answer.status_code == 422, answer.text
    assert await house.all(Session) == []


async def test_a_certificate_is_checked_unless_its_authority_is_named(house: House, tmp_path: Path):
    tls = certificate(tmp_path)
    async with node(house, tls) as served:
        key = await served.key("w", Grant("worker"))
        async with reached(Server(served.base, key), DeskClock(house.clock)) as desk:
            with pytest.raises(Unavailable, match="not trusted"):
                await desk.enter(session())
        async with reached(Server(served.base, key, tls["certificate"]), DeskClock(house.clock)) as desk:
            await desk.enter(session())
        elsewhere = served.base.replace("127.0.0.1", "localhost")
        async with reached(Server(elsewhere, key, tls["certificate"]), DeskClock(house.clock)) as desk:
            with pytest.raises(Unavailable, match="not trusted"):
                await desk.enter(session(2))
