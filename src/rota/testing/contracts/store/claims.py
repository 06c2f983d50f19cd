"""`claim`: the right runs, in rank order, each to one session, as attempts minted by `domain.states`."""

# ruff: noqa: S101 - a contract asserts

from typing import Any

import pytest

from rota.domain.lane import lane
from rota.domain.priority import Priority, rank
from rota.domain.records import Queue
from rota.domain.run import GRACE_MS, End, Outcome, Run, State
from rota.domain.states import Claim, Settle, advance
from rota.ports.store import Store, Where
from rota.testing.clock import START_AT
from rota.testing.contracts.store.samples import LARGEST_TOKEN
from rota.testing.contracts.store.steps import (
    LANE,
    NOW,
    change,
    claim,
    everything,
    held,
    ids,
    put,
    running,
    want,
)
from rota.testing.factories import make_run, make_session

OTHER_LANE = lane("main", "other", "python")
NOT_READY = (State.SCHEDULED, State.BLOCKED, State.RUNNING, State.RETRYING, State.SUCCESS, State.FAILED)


class Claims:
    """Who gets which runs."""

    async def test_a_claimed_run_is_what_the_state_machine_makes_of_it(self, store: Store) -> None:
        run = make_run(1, timeout_ms=5_000, end_by=NOW + 2_000, digest=7, progress="old", started_at=1)
        await put(store, make_session(1), run)
        claimed = await claim(store, token=LARGEST_TOKEN)
        (found,) = claimed.runs
        assert found.record == advance(run, Claim("session-1", "worker-1", LARGEST_TOKEN), NOW)
        assert found.record.state is State.RUNNING
        assert found.record.due_at == NOW + 2_000 + GRACE_MS
        assert claimed.open
        assert await held(store, run) == found

    async def test_the_version_of_a_claim_is_good_for_the_settle(self, store: Store) -> None:
        before = (await put(store, make_session(1), make_run(1)))[1]
        (was,) = (await claim(store)).runs
        assert was.version != before.version
        assert await change(store, before, before.record._replace(progress="late")) == "Conflict"
        assert await change(store, was, advance(was.record, Settle(Outcome(End.SUCCESS)), NOW)) == "Applied"

    async def test_attempts_rise_and_are_never_reused(self, store: Store) -> None:
        await put(store, make_session(1), make_run(1))
        for attempt in range(1, 6):
            (was,) = (await claim(store, token=100 + attempt)).runs
            assert was.record.fence == (make_run(1).id, attempt, 100 + attempt)
            back = advance(was.record, Settle(Outcome(End.RETURNED)), NOW)
            assert await change(store, was, back) == "Applied"

    async def test_runs_come_in_rank_order_across_lanes(self, store: Store) -> None:
        levels = [Priority.LOW, Priority.URGENT, Priority.NORMAL, Priority.HIGH, Priority.NORMAL, Priority.URGENT]
        runs = [
            make_run(number, priority=level, queue=("default", "other")[number % 2])
            for number, level in enumerate(levels, 1)
        ]
        strict = make_run(9, queue="other", rank=rank(START_AT + 9, Priority.HIGH, strict=True))
        await put(store, make_session(1), *runs, strict)
        order = [run.id for run in sorted([*runs, strict], key=lambda run: run.rank)]
        assert ids(await claim(store, limit=3, lanes=(LANE, OTHER_LANE))) == order[:3]
        assert ids(await claim(store, limit=10, lanes=(OTHER_LANE, LANE))) == order[3:]

    async def test_a_limit_holds_and_what_is_left_stays_ready(self, store: Store) -> None:
        runs = [make_run(number) for number in range(1, 8)]
        await put(store, make_session(1), *runs)
        assert ids(await claim(store, limit=2)) == [run.id for run in runs[:2]]
        assert ids(await claim(store, limit=0)) == []
        assert len(await everything(store, Run, Where(states=(State.PENDING,)))) == 5
        rest = await claim(store, limit=100)
        assert ids(rest) == [run.id for run in runs[2:]]
        assert not (await claim(store)).runs

    async def test_fewer_than_asked_without_contention_means_that_nothing_is_left(self, store: Store) -> None:
        await put(store, make_session(1), *(make_run(number) for number in range(1, 300)))
        got = 0
        while True:
            claimed = await claim(store, limit=70)
            got += len(claimed.runs)
            if len(claimed.runs) < 70 and not claimed.contended:
                break
        assert got == 299

    @pytest.mark.parametrize("state", NOT_READY)
    async def test_only_pending_runs_are_given(self, store: Store, state: State) -> None:
        (_, was) = await put(store, make_session(1), make_run(1, state=state))
        assert ids(await claim(store)) == []
        assert ids(await claim(store, runs=(was.record.id,))) == []
        assert await held(store, was.record) == was

    async def test_a_run_that_became_pending_is_given(self, store: Store) -> None:
        (_, was) = await put(store, make_session(1), make_run(1, state=State.SCHEDULED, due_at=NOW))
        assert await change(store, was, make_run(1)) == "Applied"
        assert ids(await claim(store)) == [was.record.id]

    async def test_only_the_wanted_lanes_are_given(self, store: Store) -> None:
        labelled = make_run(2, lane=lane("main", "default", "python", ("gpu",)))
        await put(store, make_session(1), make_run(1), labelled, make_run(3, namespace="other"))
        assert ids(await claim(store, lanes=(labelled.lane,))) == [labelled.id]
        assert ids(await claim(store, lanes=())) == []
        assert ids(await claim(store)) == [make_run(1).id]

    async def test_runs_of_excluded_tasks_are_passed_over(self, store: Store) -> None:
        await put(store, make_session(1), make_run(1, task="a"), make_run(2, task="b"), make_run(3, task="a"))
        assert ids(await claim(store, exclude=("main/a", "other/b"))) == [make_run(2).id]
        assert ids(await claim(store, limit=1)) == [make_run(1).id]

    async def test_many_excluded_runs_in_front_hide_nothing(self, store: Store) -> None:
        hidden = [make_run(number, task="a") for number in range(1, 200)]
        await put(store, make_session(1), *hidden, make_run(900, task="b"))
        got: list[str] = []
        while True:
            claimed = await claim(store, limit=1, exclude=("main/a",))
            got += ids(claimed)
            if not claimed.runs and not claimed.contended:
                break
        assert got == [make_run(900).id]

    async def test_exactly_the_named_runs_are_given(self, store: Store) -> None:
        await put(store, make_session(1), *(make_run(number) for number in range(1, 5)), make_run(5, queue="other"))
        named = (make_run(5).id, make_run(3).id, "unknown", make_run(2).id)
        assert sorted(ids(await claim(store, runs=named))) == sorted(make_run(number).id for number in (2, 3, 5))
        assert ids(await claim(store, runs=named)) == []
        assert ids(await claim(store, limit=1, runs=(make_run(4).id, make_run(1).id))) == [make_run(1).id]

    async def test_a_run_or_lane_named_twice_counts_once(self, store: Store) -> None:
        await put(store, make_session(1), make_run(1), make_run(2), make_run(3))
        far = [f"unknown-{number}" for number in range(1_000)]
        assert ids(await claim(store, runs=(make_run(1).id, *far, make_run(1).id))) == [make_run(1).id]
        assert ids(await claim(store, lanes=(LANE, LANE))) == [make_run(2).id, make_run(3).id]

    async def test_paused_queues_are_passed_over(self, store: Store) -> None:
        paused = Queue("main", "default", paused="ann")
        (_, queue, *_) = await put(store, make_session(1), paused, make_run(1), make_run(2, queue="other"))
        both = (LANE, OTHER_LANE)
        assert ids(await claim(store, lanes=both)) == [make_run(2).id]
        assert ids(await claim(store, runs=(make_run(1).id,))) == []
        assert await change(store, queue, Queue("main", "default")) == "Applied"
        assert ids(await claim(store, lanes=both)) == [make_run(1).id]

    async def test_a_queue_paused_in_another_namespace_is_open_here(self, store: Store) -> None:
        await put(store, make_session(1), Queue("other", "default", paused="ann"), make_run(1))
        assert ids(await claim(store)) == [make_run(1).id]

    @pytest.mark.parametrize("named", [False, True])
    async def test_a_session_that_is_not_open_gets_nothing(self, store: Store, named: bool) -> None:
        (was, *_) = await put(store, make_session(1), make_run(1))
        assert await change(store, was, make_session(1, closed_at=NOW)) == "Applied"
        more: dict[str, Any] = {"runs": (make_run(1).id,)} if named else {}
        for session in ("session-1", "unknown"):
            claimed = await claim(store, session, **more)
            assert (claimed.runs, claimed.open) == ((), False)
        assert (await held(store, make_run(1))).record == make_run(1)

    async def test_wants_of_one_call_share_nothing(self, store: Store) -> None:
        runs = [make_run(number) for number in range(1, 6)]
        await put(store, make_session(1), make_session(2), make_session(3, closed_at=1), *runs)
        wants = [want("session-1", 2), want("session-3", 2), want("session-2", 9, token=8), want("session-1", 2)]
        first, closed, second, again = await store.claim(wants, NOW)
        given = [*ids(first), *ids(second), *ids(again)]
        assert sorted(given) == [run.id for run in runs]
        assert (closed.runs, closed.open) == ((), False)
        assert len(first.runs) == 2
        for claimed, session, token in ((first, "session-1", 7), (second, "session-2", 8), (again, "session-1", 7)):
            fences = {(found.record.session, found.record.token, found.record.attempt) for found in claimed.runs}
            assert fences <= {(session, token, 1)}
        assert {run.id for run in await running(store, "session-2")} == set(ids(second))

    async def test_a_claim_without_wants_is_answered(self, store: Store) -> None:
        assert await store.claim([], NOW) == []

    async def test_a_hundred_lanes(self, store: Store) -> None:
        lanes = tuple(lane("main", f"q{number}", "python") for number in range(100))
        runs = [make_run(number, queue=f"q{number}") for number in range(100)]
        await put(store, make_session(1), *runs)
        assert ids(await claim(store, limit=100, lanes=lanes)) == [run.id for run in runs]
