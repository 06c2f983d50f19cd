"""`beat`: the counter that says that a session lives, and what the session is told in return."""

from rota.domain.records import Pulse
from rota.domain.run import End, Outcome
from rota.domain.states import Cancel, Settle, advance
from rota.ports.store import BeatReply, Store
from rota.testing.contracts.store.samples import LARGEST_TOKEN
from rota.testing.contracts.store.steps import NOW, changed, claim, held, put
from rota.testing.factories import make_run, make_session


async def pulse(store: Store, session: str) -> int:
    """The counter of a session; one that never beat has none, or zero."""
    (found,) = await store.get(Pulse, [session])
    return found.record.count if found else 0


async def beat(store: Store, session: str = "session-1") -> BeatReply:
    (reply,) = await store.beat([session])
    return reply


class Sessions:
    async def test_every_beat_of_an_open_session_raises_its_counter(self, store: Store) -> None:
        was, _ = await put(store, make_session(1), make_session(2))
        seen = [await pulse(store, "session-1")]
        for _ in range(5):
            assert await beat(store) == BeatReply(True, 0, 0, (), slots=10, draining=False)
            seen.append(await pulse(store, "session-1"))
        assert seen == sorted(set(seen))
        assert await pulse(store, "session-2") == 0
        # A beat does not conflict with a change, and tells what people want of the worker.
        assert await held(store, was.record) == was
        was = await changed(store, was, make_session(1, slots=3, draining=True, labels=("gpu", "ssd")))
        assert await beat(store) == BeatReply(True, 0, 0, (), slots=3, draining=True, labels=("gpu", "ssd"))
        last = await pulse(store, "session-1")
        await changed(store, was, make_session(1, closed_at=NOW))
        for session, most in (("session-1", last), ("unknown", 0)):
            assert not (await beat(store, session)).open
            assert await pulse(store, session) <= most

    async def test_the_reply_tells_what_is_held_and_names_the_cancelled(self, store: Store) -> None:
        await put(store, make_session(1), make_session(2), *(make_run(number) for number in range(5)))
        (first,) = (await claim(store, limit=1, token=LARGEST_TOKEN)).runs
        for was in (await claim(store, token=5)).runs[:2]:
            await changed(store, was, advance(was.record, Cancel("ann"), NOW))
        reply = await beat(store)
        assert (reply.held, reply.digest) == (5, LARGEST_TOKEN % 2**31 + 4 * 5)
        assert sorted(reply.cancels) == [make_run(1).id, make_run(2).id]
        assert (await beat(store, "session-2")).held == 0
        await changed(store, first, advance(first.record, Settle(Outcome(End.SUCCESS)), NOW))
        reply = await beat(store)
        assert (reply.held, reply.digest) == (4, 4 * 5)

    async def test_many_replies_come_in_the_order_of_the_question(self, store: Store) -> None:
        sessions = [make_session(number, slots=number) for number in range(1_000)]
        await put(store, *sessions)
        unknown, again, *replies = await store.beat(["unknown", "session-7", *(session.id for session in sessions)])
        assert [(reply.open, reply.slots) for reply in replies] == [(True, number) for number in range(1_000)]
        assert (again.open, again.slots, unknown.open) == (True, 7, False)
        for session in ("session-0", "session-7", "session-999"):
            assert await pulse(store, session) > 0
