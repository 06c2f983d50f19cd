"""Whoever may write to the broker may waste time and nothing else: a letter counts if a worker wrote it, and once."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from rota.api.carried import LATE_MS, LETTER_BYTES, MARGIN_MS, Out
from rota.domain.errors import Barred, RotaError, Unavailable, Unclear
from rota.domain.facts import Trouble
from rota.domain.run import State
from rota.engine import people
from rota.engine.recover import open_sessions
from rota.ports.carrier import DESK, Carrier
from rota.testing.clock import MovableClock
from rota.worker import wire
from rota.worker.carried import carried
from rota.worker.letters import MOST_AHEAD_MS, Answer, Question, head_of, parted, read_key, sealed
from tests.carried.support import Behind
from tests.remote.support import session, states, want
from tests.unit.engine.support import House

INBOX = "worker-" + "a" * 32
FIRST_MARK = 1_000
BEAT = wire.encode(wire.Beat("0" * 32))


class Writer:
    """Somebody who can write to the broker."""

    def __init__(self, carrier: Carrier, at: Behind, key: str) -> None:
        self.carrier = carrier
        self.at = at
        self.public, self.digest = read_key(key)
        self.last = FIRST_MARK

    def letter(self, number: int = 1, call: str = "enter", body: bytes = b"", **changes: Any) -> bytes:
        """As the worker of that key would write it, but for what is changed."""
        now = self.at.house.clock.now()
        said: dict[str, Any] = {
            "to": DESK,
            "reply": INBOX,
            "call": call,
            "until": now + 5_000,
            "key": self.public,
        } | changes
        head = Question(id=f"{number:032x}", **said)
        return sealed(head, body or wire.encode(wire.entering(session(number))), self.digest).joined()

    async def put(self, inbox: str, *messages: bytes) -> None:
        """Write them; again where the broker does not say that it has them."""
        pairs = [(inbox, one) for one in messages]
        try:
            await self.carrier.send(pairs)
        except Unclear:
            await self.carrier.send(pairs)

    async def sent(self, *letters: bytes) -> list[tuple[int, bytes]]:
        """What is answered to all of these: status and body. A last one, in order, shows that all were seen, and an
        answer of one's own, behind theirs, that all have come.
        """
        self.last += 2
        mark, own, desk = f"{self.last:032x}", f"{self.last + 1:032x}", self.at.node.desk
        found: dict[str, tuple[int, bytes]] = {}
        async with asyncio.timeout(20):
            await self.put(DESK, *letters)
            await self.put(DESK, self.letter(self.last, "beat", BEAT))
            await self.until(mark, found)
            while desk._going:
                await asyncio.wait(list(desk._going))
            await desk._out.join()
            await self.put(INBOX, sealed(Answer(own, 200, 0), b"", self.digest).joined())
            await self.until(own, found)
        return [said for name, said in sorted(found.items()) if int(name, 16) < FIRST_MARK]

    async def until(self, mark: str, found: dict[str, tuple[int, bytes]]) -> None:
        """Collect answers until that one has come."""
        while mark not in found:
            for data in await self.carrier.receive(INBOX):
                head = head_of(letter := parted(data))
                assert isinstance(head, Answer)
                assert letter.bears(self.digest)
                found[head.id] = (head.status, letter.body)


@pytest.fixture
async def writer(at: Behind) -> AsyncIterator[Writer]:
    carrier = at.connect()
    await carrier.open()
    await carrier.own(INBOX)
    yield Writer(carrier, at, await at.key())
    await carrier.close()


async def test_a_letter_in_order_counts(writer: Writer, house: House):
    assert [status for status, _ in await writer.sent(writer.letter())] == [200]
    assert len(await open_sessions(house.engine)) == 1


async def test_what_no_key_has_signed_is_not_even_answered(writer: Writer, house: House):
    good = writer.letter()
    stolen = Writer(writer.carrier, writer.at, "rota_key_" + "0" * 16 + "_" + "x" * 43)
    changed = good.replace(b'"slots":10', b'"slots":99')
    assert changed != good
    other = Writer(writer.carrier, writer.at, await writer.at.key())
    other.public = writer.public
    garbage = (b"", b"\n\n", b"x\n{}\n", b"\x80\x04K\x01.", b"{" * 100_000, json.dumps({"kind": "question"}).encode())
    large = writer.letter(7, body=b" " * LETTER_BYTES)
    assert await writer.sent(stolen.letter(), changed, other.letter(), large, *garbage) == []
    assert await open_sessions(house.engine) == []
    (told,) = house.facts.of(Trouble)
    assert "a letter through" in told.where


@pytest.mark.parametrize("changes", [{"to": "desk2"}, {"to": "worker-1"}, {"call": "register"}, {"call": "execute"}])
async def test_what_is_meant_for_somebody_else_is_let_be(writer: Writer, house: House, changes: Any):
    assert await writer.sent(writer.letter(**changes)) == []
    assert await open_sessions(house.engine) == []


async def test_a_letter_that_comes_twice_counts_once(writer: Writer, house: House):
    assert len(await writer.sent(*[writer.letter()] * 3)) == 1
    assert await writer.sent(writer.letter()) == []
    assert len(await open_sessions(house.engine)) == 1


@pytest.mark.parametrize("ahead_ms", [-LATE_MS - 1, MOST_AHEAD_MS + 1])
async def test_a_letter_of_another_time_is_told_the_time_and_nothing_happens(
    writer: Writer, house: House, ahead_ms: int
):
    assert await writer.sent(writer.letter(until=house.clock.now() + ahead_ms)) == [(408, b"")]
    assert await open_sessions(house.engine) == []


@pytest.mark.parametrize("ahead_ms", [-3_600_000, 3_600_000])
async def test_a_worker_whose_clock_is_wrong_is_heard_at_its_next_word(at: Behind, house: House, ahead_ms: int):
    own = MovableClock()
    own.jump(ahead_ms)
    post, clock = at.post(await at.key(), own)
    async with carried(post, clock) as desk:
        await desk.enter(session())
        own.jump(2 * ahead_ms)
        assert (await desk.beat(session().id)).open
        assert clock.now() == house.clock.now()


async def test_a_letter_of_yesterday_says_nothing_today(writer: Writer, house: House):
    old = writer.letter()
    await writer.sent(old)
    house.clock.advance(86_400_000)
    assert await writer.sent(old) == [(408, b"")]
    assert len(await open_sessions(house.engine)) == 1


async def test_a_revoked_key_is_told_so_and_nothing_else(writer: Writer, house: House):
    await people.revoke(house.engine, writer.public, "ann")
    house.clock.advance(10_000)
    last = writer.letter(3, "beat", BEAT)
    await writer.put(DESK, writer.letter(), last)
    async with asyncio.timeout(20):
        found: list[Any] = []
        while len(found) < 2:
            found += [head_of(parted(data)) for data in await writer.carrier.receive(INBOX)]
    assert {one.status for one in found} == {401}
    assert await open_sessions(house.engine) == []


async def test_what_a_letter_says_wrong_is_told_as_over_http(writer: Writer, house: House):
    ((status, body),) = await writer.sent(writer.letter(body=b'{"v":1,"id":"../x"}'))
    assert (status, json.loads(body)["errors"][0]["field"]) == (422, "id")
    assert await open_sessions(house.engine) == []


async def test_an_answer_counts_only_from_who_knows_the_key_and_for_its_question(
    at: Behind, house: House, monkeypatch: pytest.MonkeyPatch
):
    """Else whoever can write to an inbox could have a worker run what they like."""
    key, opened = await at.key(), session()
    public, digest = read_key(key)
    post, _ = at.post(key)
    await post.carrier.open()
    await post.carrier.own(post.inbox)
    seen: list[Question] = []
    send = post.carrier.send

    async def overheard(messages: list[tuple[str, bytes]]) -> list[bool]:
        """The broker's own: it keeps the question, and answers in the scheduler's place."""
        head = head_of(parted(messages[0][1]))
        assert isinstance(head, Question)
        seen.append(head)
        now, work = house.clock.now(), wire.encode(wire.Work(0, False, True, 0))
        forged = sealed(Answer(head.id, 200, now), work, "0" * 64).joined()
        other = sealed(Answer("0" * 32, 200, now), work, digest).joined()
        own = sealed(head, work, digest).joined()
        return await send([(post.inbox, one) for one in (forged, other, own, b"", b"\n\n")])

    monkeypatch.setattr(post.carrier, "send", overheard)
    listening = asyncio.create_task(post.listen())
    with pytest.raises(Unclear):
        await post.ask("claim", b"", 1.0)
    assert seen[0].key == public
    monkeypatch.setattr(post.carrier, "send", send)
    assert (await post.ask("enter", wire.encode(wire.entering(opened)), 10.0))[0] == 200
    listening.cancel()
    await asyncio.wait([listening])
    await post.carrier.close()


@pytest.mark.parametrize("token", ["", "x", "rota_link_" + "0" * 16 + "_" + "x" * 43])
def test_what_is_no_key_is_refused_at_once(at: Behind, token: str):
    with pytest.raises(RotaError, match="ROTA_TOKEN"):
        at.post(token)


async def test_what_nobody_can_get_any_more_goes_to_others_unburnt(at: Behind, house: House):
    key, opened = await at.key(), session()
    post, _ = at.post(key)
    desk = await at.desk(key)
    await desk.enter(opened)
    await post.carrier.open()  # it has no inbox, as after its worker died
    waiting = asyncio.create_task(post.ask("claim", wire.encode(wire.Ask(opened.id, 7, 10)), 2.0))
    await at.node.until(1)
    run = await house.submit()
    with pytest.raises(Unclear):
        await waiting
    after = await house.run(run.id)
    assert (after.state, after.attempt, after.tries, after.lost) == (State.PENDING, 1, 0, 0)
    await post.carrier.close()
    assert len((await desk.claim(want(opened, 8))).assignments) == 1
    assert await states(house) == {State.RUNNING}


async def test_a_worker_without_a_right_is_barred(at: Behind, house: House):
    desk = await at.desk(await at.key("mail"))
    with pytest.raises(Barred):
        await desk.enter(session(1, "default"))


async def test_an_answer_that_cannot_be_sent_keeps_no_other_from_its_asker(writer: Writer, house: House):
    letters = [
        writer.letter(1),
        writer.letter(2, reply=DESK),
        writer.letter(3, reply="worker-nobody"),
        writer.letter(4),
    ]
    assert [status for status, _ in await writer.sent(*letters)] == [200, 200]
    for reply in ("-x", "a" * 129, "a/b", "a\n"):
        assert await writer.sent(writer.letter(5, reply=reply)) == []


async def test_what_a_worker_holds_is_not_taken_from_it_by_an_answer_that_another_node_gave_too(
    writer: Writer, at: Behind, house: House
):
    """Two nodes may get the same letter: the broker gave it again."""
    desk, opened = await at.desk(await at.key()), session()
    await desk.enter(opened)
    run = await house.submit()
    await desk.claim(want(opened))
    out = Out(
        Question("0" * 32, "0" * 16, DESK, "worker-gone", "held", house.clock.now() + 60_000),
        b"",
        200,
        wire.encode(wire.work(await desk.given(opened.id, [run.id]), house.clock.now())),
    )
    late = house.clock.now() + MARGIN_MS - 1
    await at.node.desk._take_back([out])
    assert (await house.run(run.id)).state is State.RUNNING
    await at.node.desk._take_back([out._replace(question=structs.replace(out.question, call="claim", until=late))])
    assert (await house.run(run.id)).state is State.RUNNING
    await at.node.desk._take_back([out._replace(question=structs.replace(out.question, call="claim"))])
    assert (await house.run(run.id)).state is State.PENDING


async def test_a_broker_that_refuses_says_nothing_of_the_key(at: Behind, monkeypatch: pytest.MonkeyPatch):
    post, _ = at.post(await at.key())

    async def refused(_: object) -> list[bool]:
        raise Barred("the broker does not let it in")

    monkeypatch.setattr(post.carrier, "send", refused)
    with pytest.raises(Unavailable, match="does not let it in"):
        await post.ask("beat", b"", 5.0)
