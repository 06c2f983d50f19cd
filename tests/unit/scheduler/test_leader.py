"""Leadership: believed less long than the lease lasts, and never after a doubt (I1, I2, M1)."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from rota.ports.store import Term
from rota.scheduler.leader import EAGER, NAME, Leader
from rota.stores.hub import Ear
from rota.testing.faults import LOST_REPLY, UNAVAILABLE, Fault
from tests.services.turns import breathe
from tests.unit.scheduler.support import LONG_MS, PATIENCE, TTL_MS, Court, threads

WINDOW_MS = TTL_MS - TTL_MS // 5


def slow(court: Court, ms: int) -> Fault:
    """An answer that takes so long."""

    def passing() -> None:
        court.clock.advance(ms)

    return Fault("slow", after=passing)


@pytest.mark.parametrize("thread", [True, False])
async def test_the_first_one_leads_and_says_so(court: Court, thread):
    leader = await court.leader("a", thread)
    assert await court.leading(leader) == 1
    assert leader.term == Term(NAME, 1)
    await court.until(lambda: court.told() == [("a", 1, True)])
    await leader.stop()
    assert leader.term is None
    assert "rota-leader" not in threads()


async def test_the_second_one_stands_by_and_knows_who_leads(court: Court):
    first = await court.leader("a")
    await court.leading(first)
    second = await court.leader("b")
    await court.until(lambda: len(court.told()) == 2)
    assert court.told() == [("a", 1, True), ("a", 1, False)]
    assert second.term is None
    assert first.term == Term(NAME, 1)


async def test_a_term_is_believed_less_long_than_its_lease_lasts(court: Court):
    leader = await court.leader("a")
    await court.leading(leader)
    court.clock.advance(WINDOW_MS - 1)
    assert leader.term
    court.clock.advance(1)
    assert leader.term is None
    assert not (await court.store.lead(NAME, "b", TTL_MS)).mine, "the lease itself is not over"


@pytest.mark.parametrize("jump", [-TTL_MS, TTL_MS, 365 * 86_400_000])
async def test_a_jump_of_the_wall_clock_does_not_move_the_window(court: Court, jump):
    leader = await court.leader("a")
    await court.leading(leader)
    court.clock.jump(jump)
    assert leader.term
    court.clock.advance(WINDOW_MS)
    assert leader.term is None


async def test_the_window_counts_from_the_sending_of_the_renewal(court: Court):
    """An answer that took six seconds is worth six seconds less."""
    court.fail("lead", slow(court, 6_000))
    leader = await court.leader("a")
    await court.leading(leader)
    court.clock.advance(WINDOW_MS - 6_001)
    assert leader.term
    court.clock.advance(1)
    assert leader.term is None


async def test_an_answer_that_took_too_long_is_worth_nothing(court: Court):
    court.fail("lead", slow(court, WINDOW_MS))
    leader = await court.leader("a")
    await court.until(lambda: court.changes)
    assert leader.term is None


async def test_a_renewal_lengthens_the_same_term(court: Court):
    leader = await court.leader("a")
    await court.leading(leader)
    for _ in range(5):
        court.clock.advance(WINDOW_MS - 1)
        await court.strive()
        assert leader.term == Term(NAME, 1)
    assert court.told() == [("a", 1, True)]


@pytest.mark.parametrize("fault", [LOST_REPLY, UNAVAILABLE])
async def test_after_an_error_nobody_leads_until_it_is_granted_anew(court: Court, fault):
    leader = await court.leader("a")
    await court.leading(leader)
    court.fail("lead", fault, times=2)
    await court.hint("lead")
    beliefs = []
    for number in (1, 2):
        await court.until(lambda: len(court.troubles("lead")) == number)  # noqa: B023  # awaited here
        beliefs.append(leader.term)
    assert beliefs == [None, None]
    changes = court.changes
    assert await court.leading(leader) == 1
    await court.until(lambda: court.changes > changes)
    assert court.told() == [("a", 1, True)], "the same term: nothing new for those who watch"


async def test_a_connection_that_cannot_be_made_is_tried_again(court: Court):
    errors = [OSError("no such place"), OSError("no such place")]

    @asynccontextmanager
    async def shaky():
        if errors:
            raise errors.pop()
        yield court.store

    leader = Leader("a", (TTL_MS, TTL_MS), shaky, court.clock, court.emit, court.changed)
    court.leaders.append(leader)
    await leader.start(thread=True)
    assert await court.leading(leader) == 1
    assert len(court.troubles("lead")) == 2


async def test_who_cannot_reach_the_store_is_followed_by_another(court: Court):
    first = await court.leader("a")
    await court.leading(first)
    court.clock.advance(TTL_MS)
    second = await court.leader("b")
    assert await court.leading(second) == 2
    assert first.term is None
    await court.strive()
    assert first.term is None
    assert second.term == Term(NAME, 2)


async def test_who_stands_by_asks_more_often_than_the_leader_renews(court: Court, monkeypatch):
    """From the end of a lease to the next question of who stands by, nobody leads."""
    waits, wait = [], Ear.wait

    def noted(ear: Ear, seconds: float | None):
        waits.append(seconds)
        return wait(ear, seconds)

    monkeypatch.setattr(Ear, "wait", noted)
    await court.leading(await court.leader("a", renew_ms=LONG_MS))
    await court.leader("b", renew_ms=LONG_MS)
    await court.until(lambda: len(waits) == 2)
    assert waits == [LONG_MS / 1_000, LONG_MS / 1_000 / EAGER]


async def test_a_resignation_lets_another_take_over_at_once(court: Court):
    first, second = await court.leader("a"), await court.leader("b")
    await court.until(lambda: first.term and len(court.told()) == 2)
    await first.stop()
    assert await court.leading(second) == 2
    await court.until(lambda: court.told()[-1] == ("b", 2, True))


async def test_a_resignation_that_fails_is_told_and_holds_up_nobody(court: Court):
    first = await court.leader("a")
    await court.leading(first)
    court.store.down = True
    await first.stop()
    assert (first.term, len(court.troubles("resign"))) == (None, 1)


async def test_a_doubt_ends_the_term_it_is_about_and_no_newer_one(court: Court):
    leader = await court.leader("a")
    await court.leading(leader)
    leader.doubt(Term(NAME, 1))
    assert leader.term is None
    court.clock.advance(TTL_MS)
    await court.strive()
    assert leader.term == Term(NAME, 2)
    leader.doubt(Term(NAME, 1))
    assert leader.term == Term(NAME, 2)


async def test_a_blocked_loop_does_not_renew(court: Court, monkeypatch):
    """From a thread it could; but whose loop is blocked cannot do its duties."""
    leader = await court.leader("a", thread=True)
    await court.leading(leader)
    await breathe()
    before, told = court.leads, threading.Event()
    tell = court.loop.call_soon_threadsafe

    def telling(*args):
        if args[0] != court.rings.set:
            told.set()
        return tell(*args)

    monkeypatch.setattr(court.loop, "call_soon_threadsafe", telling)
    other = threading.Thread(target=asyncio.run, args=(meanwhile(court, leader, told),))
    other.start()
    other.join(PATIENCE)
    assert leader.term is None
    assert court.leads - before == 1, "the renewal that nobody heard, and none after it"
    while not leader.term:  # the first may be answered by what was under way while the loop stood still
        await court.strive()
    assert leader.term.number == 1


async def meanwhile(court: Court, leader: Leader, told: threading.Event) -> None:
    """What happens while the main loop waits for this thread."""
    await court.hint("lead")
    assert told.wait(PATIENCE)
    court.clock.advance(TTL_MS // 2 + 1)
    await court.hint("lead")
    a_moment = threading.Event()
    while leader.term:
        a_moment.wait(0.001)


async def test_terms_rise_and_each_belongs_to_one_holder(court: Court):
    """Five strive, and whoever leads resigns: I1."""
    leaders = {name: await court.leader(name) for name in "abcde"}
    for number in range(1, 6):
        await court.until(lambda: len(granted(court)) == number)  # noqa: B023  # awaited here
        leading = {name for name, one in leaders.items() if one.term}
        assert leading == {granted(court)[-1][1]}
        await leaders.pop(*leading).stop()
    assert [term for term, _ in granted(court)] == [1, 2, 3, 4, 5]
    assert sorted(holder for _, holder in granted(court)) == ["a", "b", "c", "d", "e"]


def granted(court: Court) -> list[tuple[int, str]]:
    """Terms and their holders, as told."""
    return [(term, holder) for holder, term, mine in court.told() if mine]


async def test_start_and_stop_again_and_again(court: Court):
    before = threads()
    for number in range(30):
        leader = await court.leader(f"l{number}", thread=True)
        await leader.stop()
        await leader.stop()
    assert threads() - before <= {"rota-store_0"}
