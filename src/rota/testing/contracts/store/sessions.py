"""`beat`: the counter that says that a session lives, and what the session is told in return."""

# ruff: noqa: S101 - a contract asserts

from rota.domain.records import Pulse
from rota.domain.run import End, Outcome
from rota.domain.states import Cancel, Settle, advance
from rota.ports.store import BeatReply, Store
from rota.testing.contracts.store.samples import LARGEST_TOKEN
from rota.testing.contracts.store.steps import NOW, change, claim, held, put
from rota.testing.factories import make_run, make_session


async def pulse(store: Store, session: str) -> int:
    """The counter of a session; one that never beat has none, or zero."""
    (found,) = await store.get(Pulse, [session])
    return found.record.count if found else 0


async def beat(store: Store, session: str = "session-1") -> BeatReply:
    """One session, one reply."""
    (reply,) = await store.beat([session])
    return reply


class Sessions:
    """Beats of sessions that are open, and of those that are not."""

    async def test_every_beat_raises_the_counter(self, store: Store) -> None:
        await put(store, make_session(1), make_session(2))
        seen = [await pulse(store, "session-1")]
        for _ in range(5):
            assert (await beat(store)).open
            seen.append(await pulse(store, "session-1"))
        assert seen == sorted(set(seen))
        assert await pulse(store, "session-2") == 0

    async def test_a_closed_session_is_told_and_beats_no_more(self, store: Store) -> None:
        (was,) = await put(store, make_session(1))
        await beat(store)
        count = await pulse(store, "session-1")
        assert await change(store, was, make_session(1, closed_at=NOW)) == "Applied"
        assert not (await beat(store)).open
        assert await pulse(store, "session-1") <= count

    async def test_an_unknown_session_is_told(self, store: Store) -> None:
        assert not (await beat(store, "unknown")).open
        assert await pulse(store, "unknown") == 0

    async def test_a_beat_and_a_closing_do_not_conflict(self, store: Store) -> None:
        (was,) = await put(store, make_session(1))
        await beat(store)
        assert await held(store, was.record) == was
        assert await change(store, was, make_session(1, closed_at=NOW)) == "Applied"

    async def test_the_reply_tells_what_is_held(self, store: Store) -> None:
        runs = [make_run(number) for number in range(1, 4)]
        await put(store, make_session(1), make_session(2), *runs)
        reply = await beat(store)
        assert (reply.held, reply.digest, reply.cancels) == (0, 0, ())
        (first,) = (await claim(store, limit=1, token=LARGEST_TOKEN)).runs
        await claim(store, limit=2, token=5)
        reply = await beat(store)
        assert (reply.held, reply.digest) == (3, LARGEST_TOKEN % 2**31 + 5 + 5)
        assert (await beat(store, "session-2")).held == 0
        assert await change(store, first, advance(first.record, Settle(Outcome(End.SUCCESS)), NOW)) == "Applied"
        reply = await beat(store)
        assert (reply.held, reply.digest) == (2, 10)

    async def test_the_reply_names_the_cancelled(self, store: Store) -> None:
        await put(store, make_session(1), make_run(1), make_run(2), make_run(3))
        claimed = (await claim(store)).runs
        for was in claimed[1:]:
            assert await change(store, was, advance(was.record, Cancel("ann"), NOW)) == "Applied"
        reply = await beat(store)
        assert sorted(reply.cancels) == [make_run(2).id, make_run(3).id]
        assert reply.held == 3

    async def test_the_reply_brings_what_people_want_of_the_worker(self, store: Store) -> None:
        (was,) = await put(store, make_session(1, slots=10))
        reply = await beat(store)
        assert (reply.slots, reply.draining) == (10, False)
        assert await change(store, was, make_session(1, slots=3, draining=True)) == "Applied"
        reply = await beat(store)
        assert (reply.open, reply.slots, reply.draining) == (True, 3, True)

    async def test_replies_come_in_the_order_of_the_question(self, store: Store) -> None:
        await put(store, make_session(1, slots=1), make_session(2, slots=2))
        replies = await store.beat(["session-2", "unknown", "session-1"])
        assert [reply.open for reply in replies] == [True, False, True]
        assert (replies[0].slots, replies[2].slots) == (2, 1)
        assert await pulse(store, "session-1") > 0
        assert await pulse(store, "session-2") > 0

    async def test_a_thousand_sessions_beat_in_one_call(self, store: Store) -> None:
        sessions = [make_session(number, slots=number) for number in range(1_000)]
        await put(store, *sessions)
        replies = await store.beat([session.id for session in sessions])
        assert [(reply.open, reply.slots) for reply in replies] == [(True, number) for number in range(1_000)]
        assert await pulse(store, "session-0") > 0
        assert await pulse(store, "session-999") > 0

    async def test_a_session_named_twice_is_answered_twice(self, store: Store) -> None:
        await put(store, make_session(1))
        assert [reply.open for reply in await store.beat(["session-1", "session-1"])] == [True, True]
        assert await pulse(store, "session-1") > 0

    async def test_a_beat_of_nobody_is_answered(self, store: Store) -> None:
        assert await store.beat([]) == []
