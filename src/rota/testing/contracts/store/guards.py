"""The two guards of `commit`: the newest term, the open session. Where one does not hold, nothing happens."""

# ruff: noqa: S101 - a contract asserts

from collections.abc import Awaitable

import pytest

from rota.domain.errors import Stale
from rota.domain.records import Tally
from rota.domain.run import Run
from rota.ports.store import Change, Group, Open, Store, Term
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, change, claim, everything, held, put, verdicts
from rota.testing.factories import make_run, make_session

TALLY = Tally(START_AT, "main", "report", "default", "success", 10, "node")


async def is_stale(write: Awaitable[object]) -> bool:
    """Whether a write is refused for its guard."""
    try:
        await write
    except Stale:
        return True
    return False


class Guards:
    """Writes of leaders and workers whose time is over."""

    async def test_the_newest_term_may_write(self, store: Store) -> None:
        lead = await store.lead("scheduler", "a", FOREVER_MS)
        guard = Term("scheduler", lead.number)
        assert await change(store, None, make_run(1), guard) == "Applied"
        await store.lead("scheduler", "a", FOREVER_MS)
        assert await change(store, None, make_run(2), guard) == "Applied"

    async def test_an_older_term_writes_nothing(self, store: Store) -> None:
        old = await store.lead("scheduler", "a", FOREVER_MS)
        await store.lead("scheduler", "a", 0)
        new = await store.lead("scheduler", "b", FOREVER_MS)
        groups = [Group((Change(None, make_run(number)),), TALLY) for number in (1, 2)]
        with pytest.raises(Stale):
            await store.commit(groups, Term("scheduler", old.number))
        assert await everything(store, Run) == []
        assert await everything(store, Tally) == []
        assert verdicts(await store.commit(groups, Term("scheduler", new.number))) == ["Applied"] * 2

    async def test_an_older_term_writes_nothing_even_where_its_holder_leads_again(self, store: Store) -> None:
        old = await store.lead("scheduler", "a", FOREVER_MS)
        await store.lead("scheduler", "a", 0)
        await store.lead("scheduler", "b", FOREVER_MS)
        await store.lead("scheduler", "b", 0)
        again = await store.lead("scheduler", "a", FOREVER_MS)
        assert again.number > old.number
        assert await is_stale(change(store, None, make_run(1), Term("scheduler", old.number)))

    async def test_a_term_that_never_was_writes_nothing(self, store: Store) -> None:
        assert await is_stale(change(store, None, make_run(1), Term("scheduler", 1)))
        lead = await store.lead("scheduler", "a", FOREVER_MS)
        assert await is_stale(change(store, None, make_run(1), Term("scheduler", lead.number + 1)))
        assert await is_stale(change(store, None, make_run(1), Term("other", lead.number)))
        assert await store.get(Run, [make_run(1).id]) == [None]

    async def test_an_open_session_may_write_and_close_itself(self, store: Store) -> None:
        (session,) = await put(store, make_session(1))
        guard = Open("session-1")
        assert await change(store, None, make_run(1), guard) == "Applied"
        assert await change(store, session, make_session(1, closed_at=NOW), guard) == "Applied"
        assert await is_stale(change(store, None, make_run(2), guard))

    async def test_a_closed_session_writes_nothing(self, store: Store) -> None:
        session, _ = await put(store, make_session(1), make_run(1))
        (was,) = (await claim(store)).runs
        assert await change(store, session, make_session(1, closed_at=NOW)) == "Applied"
        group = Group((Change(was, was.record._replace(progress="late")),), TALLY)
        with pytest.raises(Stale):
            await store.commit([group], Open("session-1"))
        assert await held(store, was.record) == was
        assert await everything(store, Tally) == []

    async def test_an_unknown_session_writes_nothing(self, store: Store) -> None:
        assert await is_stale(change(store, None, make_run(1), Open("unknown")))
        assert await store.get(Run, [make_run(1).id]) == [None]

    async def test_a_guard_is_judged_even_where_the_group_conflicts(self, store: Store) -> None:
        await put(store, make_run(1))
        assert await is_stale(change(store, None, make_run(1, task="other"), Open("unknown")))
