"""A server at its `maxmemory`: what it refuses, and what must go on so that there is room again."""

from dataclasses import replace

import pytest

from rota.domain.errors import Unavailable
from rota.domain.records import Blob, Queue, Unique, Until
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.ports.store import APPLIED, Change, Group, Term, Want
from rota.testing.clock import START_AT
from rota.testing.factories import make_run, make_schedule, make_session
from tests.unit.stores.files import put, reached
from tests.unit.stores.test_redis import LANE, client


async def test_a_full_server_takes_nothing_and_still_lets_go(space):
    async with reached(space) as store:
        key = Unique("main/unique/a", make_run(1).id, "", Until.TERMINAL)
        await put(store, make_run(1), key)
        (was,) = await store.get(Run, [make_run(1).id])
        (held,) = await store.get(Unique, [key.id])
        with client(space) as other:
            other.config_set("maxmemory", 1)
            try:
                group = Group((Change(None, make_run(2)), Change(None, Queue("main", "a"))))
                with pytest.raises(Unavailable, match="is full"):
                    await store.commit([group])
                assert await store.get(Run, [make_run(2).id]) == [None]
                assert await store.commit([Group((Change(was, None), Change(held, None)))]) == [APPLIED]
            finally:
                other.config_set("maxmemory", 0)
        assert (await store.find(Run)).items == ()


async def test_on_a_full_server_who_leads_and_works_goes_on_and_what_was_begun_ends(space):
    async with reached(space) as store:
        session = make_session(1)
        await put(store, session, make_run(1), make_schedule(1))
        term = await store.lead("scheduler", "a", 60_000)
        (was,) = (await store.claim([Want("session-1", "worker-1", 7, 1, (LANE,))], START_AT))[0].runs
        (known,) = await store.get(Schedule, [make_schedule(1).id])
        with client(space) as other:
            other.config_set("maxmemory", 1)
            try:
                assert (await store.lead("scheduler", "a", 60_000)) == term
                assert [one.open for one in await store.beat(["session-1"])] == [True]
                # As prune does: the schedule first, then the run.
                guard = Term("scheduler", term.number)
                later = replace(known.record, accounted_from=START_AT)
                assert await store.commit([Group((Change(known, later),))], guard) == [APPLIED]
                ended = was.record._replace(state=State.SUCCESS, ended_at=START_AT + 1, due_at=None)
                assert await store.commit([Group((Change(was, ended),))]) == [APPLIED]
                (done,) = await store.get(Run, [was.record.id])
                assert await store.commit([Group((Change(done, None),))], guard) == [APPLIED]
                assert (await store.lead("scheduler", "a", 0)).holder == ""
                assert (await store.lead("scheduler", "b", 60_000)).mine
                with pytest.raises(Unavailable, match="is full"):
                    await put(store, make_run(2))
            finally:
                other.config_set("maxmemory", 0)


async def test_on_a_full_server_a_run_with_a_large_result_ends_and_keeps_no_other_one_from_its_end(space):
    async with reached(space) as store:
        await put(store, make_session(1), make_run(1), make_run(2))
        held = (await store.claim([Want("session-1", "worker-1", 7, 2, (LANE,))], START_AT))[0].runs
        ends = [one.record._replace(state=State.SUCCESS, ended_at=START_AT + 1, due_at=None) for one in held]
        result = Blob(f"{ends[0].id}/result", b'"%s"' % (b"x" * 5_000))
        first = Group((Change(held[0], ends[0]._replace(spilled=True)), Change(None, result)))
        with client(space) as other:
            other.config_set("maxmemory", 1)
            try:
                assert await store.commit([first, Group((Change(held[1], ends[1]),))]) == [APPLIED] * 2
                with pytest.raises(Unavailable, match="is full"):
                    await put(store, make_run(3, payload=None), Blob(f"{make_run(3).id}/payload", b"[]"))
            finally:
                other.config_set("maxmemory", 0)
        assert [one and one.record for one in await store.get(Blob, [result.id])] == [result]
