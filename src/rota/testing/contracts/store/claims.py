"""`claim`: the right runs, in rank order, each to one session, as attempts minted by `domain.states`."""

from rota.domain.lane import lane
from rota.domain.priority import Priority, rank
from rota.domain.records import Queue
from rota.domain.run import End, Outcome, Run, State
from rota.domain.states import Claim, Settle, advance
from rota.ports.store import Due, Store, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.samples import LARGEST_TOKEN
from rota.testing.contracts.store.steps import LANE, NOW, changed, claim, drain, everything, held, ids, put, want
from rota.testing.factories import make_run, make_session

OTHER_LANE = lane("main", "other", "python")
RETURNED = Settle(Outcome(End.RETURNED))
PENDING = Where(states=(State.PENDING,))


class Claims:
    async def test_attempts_rise_and_are_never_reused(self, store: Store) -> None:
        """Each is what the state machine makes of the run, and its version is good for the settle."""
        run = make_run(1, timeout_ms=5_000, end_by=NOW + 2_000, digest=7, progress="old", started_at=1)
        _, before = await put(store, make_session(1), run)
        for attempt in range(1, 6):
            token = LARGEST_TOKEN - attempt
            claimed = await claim(store, token=token)
            (was,) = claimed.runs
            assert claimed.open
            assert was.record.fence == (run.id, attempt, token)
            assert was.record == advance(before.record, Claim("session-1", "worker", token), NOW)
            assert was.version != before.version
            assert await held(store, run) == was
            assert await store.due(Run, NOW, 1) == Due((), was.record.due_at)
            before = await changed(store, was, advance(was.record, RETURNED, NOW))

    async def test_runs_come_in_rank_order_across_lanes(self, store: Store) -> None:
        runs = [make_run(number, priority=Priority(number % 4), queue=f"q{number}") for number in range(100)]
        runs[50] = make_run(50, queue="q50", due_at=NOW, rank=rank(START_AT + 50, Priority.HIGH, strict=True))
        lanes = tuple(run.lane for run in runs)
        await put(store, make_session(1), *runs)
        order = [run.id for run in sorted(runs, key=lambda run: run.rank)]
        assert ids(await claim(store, limit=3, lanes=lanes)) == order[:3]
        assert ids(await claim(store, limit=0, lanes=lanes)) == []
        assert len(await everything(store, Run, PENDING)) == 97
        assert ids(await claim(store, limit=200, lanes=lanes[::-1])) == order[3:]
        assert ids(await claim(store, limit=1, lanes=lanes)) == []
        assert await store.due(Run, NOW, 1) == Due((), None)

    async def test_all_that_is_ready_can_be_had(self, store: Store) -> None:
        runs = [make_run(number, task="report" if number % 200 else "rare") for number in range(500)]
        await put(store, make_session(1), *runs)
        some = await drain(store, limit=1, exclude=("main/report", "other/rare"))
        assert some == [run.id for run in runs[::200]]
        assert await drain(store, limit=70) == [run.id for run in runs if run.id not in some]

    async def test_only_pending_runs_are_given(self, store: Store) -> None:
        states = [state for state in State if state is not State.PENDING]
        _, *kept = await put(store, make_session(1), *(make_run(n, state=state) for n, state in enumerate(states)))
        assert ids(await claim(store)) == []
        assert ids(await claim(store, runs=tuple(was.record.id for was in kept))) == []
        assert [await held(store, was.record) for was in kept] == kept
        for number, was in enumerate(kept):
            await changed(store, was, make_run(number))
            assert ids(await claim(store)) == [was.record.id]

    async def test_only_the_wanted_lanes_and_runs_are_given(self, store: Store) -> None:
        labelled = make_run(2, lane=lane("main", "default", "python", ("gpu",)))
        elsewhere = make_run(3, namespace="other"), make_run(4, queue="other")
        first = make_run(9, priority=Priority.HIGH)
        await put(store, make_session(1), first, labelled, *elsewhere, *(make_run(number) for number in (1, 6, 7, 8)))
        assert ids(await claim(store, lanes=())) == []
        assert ids(await claim(store, lanes=(labelled.lane, labelled.lane))) == [labelled.id]
        # A run named twice counts once, and unknown ones do not count.
        named = make_run(7).id, make_run(4).id, *(f"unknown-{number}" for number in range(1_000)), make_run(7).id
        assert sorted(ids(await claim(store, runs=named))) == [make_run(4).id, make_run(7).id]
        assert ids(await claim(store, runs=named)) == []
        assert ids(await claim(store, runs=(first.id,), exclude=("main/report",))) == []
        assert ids(await claim(store, limit=1, runs=(make_run(6).id, first.id))) == [first.id]
        assert ids(await claim(store, lanes=(LANE, LANE))) == [make_run(number).id for number in (1, 6, 8)]
        assert await everything(store, Run, PENDING) == [elsewhere[0]]

    async def test_paused_queues_are_passed_over(self, store: Store) -> None:
        paused, elsewhere = Queue("main", "default", paused="ann"), Queue("other", "other", paused="ann")
        (_, queue, *_) = await put(store, make_session(1), paused, elsewhere, make_run(1), make_run(2, queue="other"))
        assert ids(await claim(store, lanes=(LANE, OTHER_LANE))) == [make_run(2).id]
        assert ids(await claim(store, runs=(make_run(1).id,))) == []
        await changed(store, queue, Queue("main", "default"))
        assert ids(await claim(store)) == [make_run(1).id]

    async def test_a_session_that_is_not_open_gets_nothing(self, store: Store) -> None:
        was, run = await put(store, make_session(1), make_run(1))
        await changed(store, was, make_session(1, closed_at=NOW))
        for session in ("session-1", "unknown"):
            for lanes, runs in (((LANE,), ()), ((), (run.record.id,))):
                claimed = await claim(store, session, lanes=lanes, runs=runs)
                assert (claimed.runs, claimed.open) == ((), False)
        assert await held(store, run.record) == run

    async def test_wants_of_one_call_share_nothing(self, store: Store) -> None:
        runs = [make_run(number) for number in range(1, 6)]
        await put(store, make_session(1), make_session(2), make_session(3, closed_at=1), *runs)
        wants = [want("session-1", 2), want("session-3", 2), want("session-2", 9, token=8), want("session-1", 2)]
        answers = await store.claim(wants, NOW)
        assert [(answer.open, len(answer.runs)) for answer in answers[:2]] == [(True, 2), (False, 0)]
        given = [(run, one.session, one.token, 1) for one, got in zip(wants, answers, strict=True) for run in ids(got)]
        found = await everything(store, Run, Where(states=(State.RUNNING,)))
        assert sorted(given) == sorted((run.id, run.session, run.token, run.attempt) for run in found)
        assert len(given) == 5
