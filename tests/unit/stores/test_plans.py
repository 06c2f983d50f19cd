"""Which index serves what. SQLite keeps no statistics here, so these answers do not change with the data."""

from functools import partial
from typing import Any

import pytest

from rota.domain.people import Token
from rota.domain.records import Audit, Session, Tally, Unique
from rota.domain.run import LIVE, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.ports.store import Where
from rota.stores.sql import statements, tables
from rota.stores.sql.db import SqliteDb
from rota.stores.sql.find import count, find
from rota.stores.sql.flavours import SQLITE
from rota.stores.sql.walks import STREAMS_LIMIT
from rota.testing.factories import make_run
from tests.unit.stores.files import base, opened, put

MAIN = Where(namespace="main")


def some_runs():
    """One in each state that is listed, and one elsewhere."""
    states = [state for state in State if state != State.RUNNING]
    return [make_run(0, namespace="other"), *(make_run(place, state=one) for place, one in enumerate(states, 1))]


def explained(db, statement, parameters):
    return [row[3] for row in db.rows(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def listed(db, kind, where):
    """The plans of all that a listing asks for before it reads its page."""
    return asked_for(db, lambda: [find(db, kind, where, "", 50, oldest) for oldest in (False, True)])


def asked_for(db, act):
    """The plans of all that is asked of the database."""
    asked = []

    class Noting(SqliteDb):
        def ask(self, query, given):
            statement, names = query
            asked.append((statement, [given[name] for name in names]))
            return super().ask(query, given)

    db.__class__ = Noting
    act()
    return [explained(db, *one) for one in asked]


@pytest.mark.parametrize(
    ("kind", "where", "index"),
    [
        (Run, Where(), "runs_state (namespace=? AND state=?)"),
        (Run, MAIN, "runs_state (namespace=? AND state=?)"),
        (
            Run,
            MAIN._replace(since=1, until=2),
            "runs_state (namespace=? AND state=? AND created_at>? AND created_at<?)",
        ),
        (Run, MAIN._replace(queue="a"), "runs_state (namespace=? AND state=?)"),
        (Run, MAIN._replace(task="a"), "runs_task (namespace=? AND task=?)"),
        (Run, Where(task="a", since=5), "runs_task (namespace=? AND task=? AND created_at>?)"),
        (Run, MAIN._replace(schedule="a"), "runs_schedule (namespace=? AND schedule=?)"),
        (Run, MAIN._replace(schedule="a", states=tuple(sorted(LIVE))), "runs_unended (namespace=? AND schedule=?)"),
        (Run, Where(session="a"), "runs_live (session=?)"),
        (Run, Where(states=(State.PENDING,)), "runs_state (namespace=? AND state=?)"),
        (Run, MAIN._replace(states=(State.PENDING,)), "runs_state (namespace=? AND state=?)"),
        (Run, MAIN._replace(states=(State.PENDING,), queue="a"), "runs_ready (lane>? AND lane<?)"),
        (Run, MAIN._replace(states=(State.RUNNING,)), "runs_live"),
        (Run, MAIN._replace(states=(State.FAILED, State.SUCCESS)), "runs_state (namespace=? AND state=?)"),
        (Run, Where(states=(State.BLOCKED,)), "runs_state (namespace=? AND state=?)"),
        (Run, Where(ended_until=5, states=(State.SUCCESS,)), "runs_ended (ended_at<?)"),
        (Run, Where(prefix="01"), "sqlite_autoindex_runs_1 (id>? AND id<?)"),
        (Schedule, MAIN._replace(task="a"), "schedules_task (namespace=? AND task=?)"),
        (Schedule, MAIN, "schedules_time"),
        (Task, MAIN, "tasks_time"),
        (Revision, Where(prefix="main/a@"), "sqlite_autoindex_revisions_1 (id>? AND id<?)"),
        (Session, Where(open=True), "sessions_open"),
        (Session, Where(ended_until=5), "sessions_ended (closed_at<?)"),
        (Unique, Where(ended_until=5), "uniques_ended (expires_at<?)"),
        (Skip, Where(schedule="main/a"), "sqlite_autoindex_skips_1 (id>? AND id<?)"),
        (Skip, Where(until=5), "skips_time (first_at<?)"),
        (Audit, Where(until=5), "audit_time (at<?)"),
        (Audit, Where(open=True), "audit_open"),
        (Audit, Where(ended_until=5), "audit_sealed (sealed_at<?)"),
        (Token, Where(ended_until=5), "tokens_ended (expires_at<?)"),
        (Tally, Where(since=5), "tallies_time (minute>?)"),
    ],
    ids=str,
)
async def test_a_listing_walks_along_its_index(kind, where, index):
    async with opened("sqlite://", inline=True) as store:
        await put(store, *some_runs())
        plans = base(store).writer.transact(lambda db: listed(db, kind, where))
        walked = [
            step for plan in plans for step in plan if step.startswith(("SEARCH", "SCAN")) and "anon_" not in step
        ]
        assert len(walked) == len(plans)
        assert any(step.endswith(index) for step in walked), plans
        # What listings pass over is looked through by itself.
        assert all(step.endswith((index, "runs_live")) for step in walked), plans


@pytest.mark.parametrize(
    ("by", "where", "index"),
    [
        ("session", Where(states=(State.RUNNING,)), "runs_live"),
        ("queue", MAIN._replace(states=(State.RUNNING,)), "runs_live"),
        ("state", MAIN._replace(states=(State.RUNNING,)), "runs_live"),
        ("state", MAIN._replace(states=(State.PENDING,)), "runs_ready (lane>? AND lane<?)"),
        ("lane", MAIN._replace(states=(State.PENDING,)), "runs_ready (lane>? AND lane<?)"),
        ("state", MAIN._replace(states=(State.RETRYING,)), "COVERING INDEX runs_state (namespace=? AND state=?)"),
    ],
    ids=str,
)
async def test_a_count_walks_along_its_index(by, where, index):
    async with opened("sqlite://", inline=True) as store:
        await put(store, *some_runs())
        plans = base(store).writer.transact(lambda db: asked_for(db, lambda: count(db, Run, by, where)))
        assert plans
        for plan in plans:
            assert any(step.endswith(index) for step in plan), plan
            assert not any(step.startswith("SCAN runs") and "INDEX" not in step for step in plan), plan


async def test_a_count_of_many_namespaces_passes_over_what_it_does_not_count():
    """The leader counts blocked runs every few seconds, however many others there are."""
    blocked = [make_run(place, namespace=f"n{place}", state=State.BLOCKED) for place in range(STREAMS_LIMIT + 1)]
    async with opened("sqlite://", inline=True) as store:
        await put(store, *blocked)
        where = Where(states=(State.BLOCKED,))
        plans = base(store).writer.transact(lambda db: asked_for(db, lambda: count(db, Run, "namespace", where)))
        assert len(plans) == len(blocked)
        assert all(plan[0].endswith("runs_state (namespace=? AND state=?)") for plan in plans), plans[0]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (statements.ready(SQLITE, False, True), "runs_ready (lane=?)"),
        (statements.ready(SQLITE, True, False), "runs_ready (lane=?)"),
        (statements.stocked(SQLITE), "runs_ready (lane=?)"),
        (statements.shelves(SQLITE), "runs_state (namespace=? AND state=?)"),
        (statements.held(SQLITE), "runs_live (session=?)"),
        (statements.due(SQLITE, tables.runs_due), "runs_due (due_at<?)"),
        (statements.next_due(SQLITE, tables.schedules_due), "schedules_due (next_at>?)"),
        (statements.versions(SQLITE, tables.runs), "sqlite_autoindex_runs_1 (id=?)"),
        (statements.change(SQLITE, tables.runs, ("state",), "id"), "sqlite_autoindex_runs_1 (id=?)"),
        (statements.change_all(SQLITE, tables.runs, ("state",), "seq"), "PRIMARY KEY (rowid=?)"),
        (statements.remove_all(SQLITE, tables.lines, "run"), "lines_run (run=?)"),
        (statements.remove_all(SQLITE, tables.lines, "id"), "PRIMARY KEY (rowid=?)"),
        (statements.some_lines(SQLITE), "lines_run (run=?)"),
    ],
)
async def test_a_hot_statement_uses_its_index_and_sorts_nothing(statement, index):
    async with opened("sqlite://", inline=True) as store:
        parameters = ["[]"] * statement.count("?")
        plan = base(store).writer.transact(lambda db: explained(db, statement, parameters))
        assert any(step.endswith(index) for step in plan), plan
        assert not [step for step in plan if "TEMP B-TREE" in step]


async def test_a_normal_run_lies_in_few_indexes_at_a_time(tmp_path):
    """What submit, claim and settle leave behind in the partial indexes; each entry costs a write."""
    conditions: dict[str, Any] = {str(index.name): index.info["sqlite_where"] for index in tables.runs.indexes}
    async with opened(tmp_path / "rota.db") as store:
        for run, wanted in (
            (make_run(1), {"runs_ready", "runs_state", "runs_task"}),
            (make_run(2, state=State.RUNNING, session="s", due_at=5), {"runs_live", "runs_due"}),
            (make_run(3, state=State.SUCCESS, ended_at=5), {"runs_state", "runs_ended", "runs_task"}),
        ):
            await put(store, run)
            found = set()
            for name, condition in conditions.items():
                text = f"SELECT count(*) FROM runs WHERE id = '{run.id}' AND ({1 if condition is None else condition})"
                if await base(store).reader.run(partial(base(store).reader.first, text)):
                    found.add(name)
            assert found == wanted
