"""Workers, queues, the audit, the numbers and the client of samples."""

import asyncio
import getpass
import time
from typing import Any

import msgspec
import pytest

from rota.cli.show import length
from rota.domain.records import Blob, Session
from rota.domain.schedule import Occurrence
from rota.engine.account import REPORT, STALE_MS, Report, report
from rota.engine.sessions import enter
from rota.ports.store import Change, Group
from tests.cli.work import STORE, in_store, register, sample_app, work

NOW = time.time_ns() // 1_000_000


def session(number: int, worker: str = "", **fields: object) -> Session:
    name = f"{number:012x}{'ab' * 10}"
    lanes = ("main/default/python/",)
    made = Session(
        name,
        worker or f"worker-{number}",
        "host",
        7,
        lanes,
        ("default",),
        ("python",),
        ttl_ms=3_600_000,
        opened_at=NOW + number,
    )
    return made if not fields else Session(**{slot: getattr(made, slot) for slot in made.__slots__} | fields)


@pytest.fixture
def staffed(here):
    """A terminal in a folder whose store has three open sessions, two of them under one name."""

    async def begin(engine):
        for one in (session(1), session(2, "twin"), session(3, "twin")):
            await enter(engine, one)

    in_store(begin)
    return here


def test_live_workers_are_listed(staffed):
    workers = staffed.json("workers", "list")
    assert {one["worker"] for one in workers} == {"worker-1", "twin"}
    assert (workers[0]["slots"], workers[0]["running"], workers[0]["state"]) == (10, 0, "open")
    assert "lanes" not in workers[0]


def test_a_worker_is_resized_and_drained(staffed):
    assert "slots      3\n" in staffed("workers", "resize", "worker-1", "3").out
    assert staffed.json("workers", "drain", session(2).id[:20])["draining"] is True
    assert staffed.refused("workers", "drain", session(1).id[-8:]).strip().endswith("; give more of it")
    assert staffed.json("workers", "label", "worker-1", "gpu", "big")["labels"] == ["big", "gpu"]
    assert "--none" in staffed.refused("workers", "label", "worker-1")
    assert staffed.json("workers", "label", "worker-1", "--none")["labels"] == []
    found = {one["session"]: (one["slots"], one["state"]) for one in staffed.json("workers", "list")}
    assert found == {session(1).id: (3, "open"), session(2).id: (10, "draining"), session(3).id: (10, "open")}


def test_a_worker_must_be_one(staffed):
    said = staffed.refused("workers", "drain", "twin")
    assert session(2).id in said
    assert session(3).id in said
    assert "no worker 'nobody'" in staffed.refused("workers", "drain", "nobody")
    assert "slots: it should be greater than or equal to 1" in staffed.refused("workers", "resize", "worker-1", "0")
    assert "should be a valid integer" in staffed.refused("workers", "resize", "worker-1", "many")


def test_a_task_that_a_live_worker_can_run_gets_no_warning(staffed):
    assert staffed("tasks", "create", "backup").err == ""
    assert "no live worker" in staffed("tasks", "create", "other", "--queue", "elsewhere").err


def test_a_queue_rests_and_works(here):
    assert here.json("queues", "list")[0]["name"] == "default"
    assert here.json("queues", "pause", "mail", "--why", "move")["paused"] == "move"
    assert here.json("queues", "strict", "mail")["strict"] is True
    listed = here.json("queues", "list")
    assert [(one["name"], one["paused"], one["strict"], one["pending"]) for one in listed] == [
        ("default", "", False, 0),
        ("mail", "move", True, 0),
    ]
    assert here.json("queues", "resume", "mail")["paused"] == ""
    assert "strict     yes\n" in here("queues", "strict", "mail").out
    assert here.json("queues", "strict", "mail", "--off")["strict"] is False
    assert here.json("queues", "dispatch", "mail", "least_load")["dispatch"] == "least_load"
    assert "why: it should have at most 200" in here.refused("queues", "pause", "mail", "--why", "x" * 300)


@pytest.mark.parametrize("change", [("pause",), ("strict",), ("dispatch", "least_load")], ids=lambda change: change[0])
def test_who_changes_a_queue_of_which_nothing_is_known_is_told(staffed, change):
    def said(name):
        answer = staffed("queues", change[0], name, *change[1:])
        assert answer.code == 0
        return answer.err

    told = "warning: no task, worker or run uses queue main/{} yet; `rota queues list` shows which there are\n"
    assert said("nope") == told.format("nope")
    assert said("nope") == ""  # it has a record by now
    assert said("default") == ""
    staffed("tasks", "create", "post", "--queue", "mail")
    in_store(lambda engine: enter(engine, session(9, queues=("reports",))))
    assert [said(name) for name in ("mail", "reports")] == ["", ""]


def test_a_queue_that_is_not_there_is_not_resumed_into_being(here):
    assert "no queue 'nope'; see `rota queues list`" in here.refused("queues", "resume", "nope")
    assert [one["name"] for one in here.json("queues", "list")] == ["default"]


def test_the_audit_tells_why(here):
    here("tasks", "create", "backup", "--schedule", "@daily")
    here("schedules", "pause", "backup", "--why", "disk is full")
    assert here.json("audit", "--limit", "1")[0]["why"] == "disk is full"
    assert here("audit", "--limit", "1").out.rstrip().endswith("  schedule:main/backup  disk is full")
    assert "changed" in here("audit", "--wide").out


def test_tables_fit_80_characters(staffed):
    staffed("tasks", "create", "reports.every_night", "--schedule", "30 2 * * 1-5", "--timezone", "Europe/Berlin")
    staffed("tasks", "trigger", "reports.every_night")
    for args in ("tasks", "list"), ("schedules", "list"), ("runs", "list"), ("workers", "list"), ("queues", "list"):
        lines = staffed(*args).out.splitlines()
        assert max(map(len, lines)) <= 80, args
        assert len(staffed(*args, "--wide").out.splitlines()[0]) >= len(lines[0])


def test_every_change_is_in_the_audit_under_the_login_name(here):
    here("tasks", "create", "backup", "--schedule", "@daily")
    here("tasks", "update", "backup", "--queue", "nightly")
    here("schedules", "pause", "backup")
    here("tasks", "trigger", "backup")
    entries = here.json("audit")
    assert [(one["action"], one["target"].partition(":")[0]) for one in entries] == [
        ("trigger", "run"),
        ("pause", "schedule"),
        ("update", "task"),
        ("create", "task"),
    ]
    assert {one["actor"] for one in entries} == {f"cli:{getpass.getuser()}"}
    assert entries[2]["changed"] == ["queue", "revision", "updated_at"]
    assert (entries[2]["before"]["queue"], entries[2]["after"]["queue"]) == ("default", "nightly")
    assert len(here.json("audit", "--limit", "2")) == 2
    assert len(here.json("audit", "--since", "1h")) == 4
    assert here("audit", "--since", "2199-01-01")[1:] == ("", "no entries\n")


def test_the_numbers(here):
    register(sample_app())
    for task in ("greet", "fails", "greet"):
        here("tasks", "trigger", task)
    work(sample_app())
    here("tasks", "trigger", "greet")
    stats = here.json("stats")
    assert (stats["tasks"], stats["schedules"], stats["workers"]) == (3, 1, 0)
    assert stats["runs"] == {"pending": 1}
    assert stats["ended"] == {"failed": 1, "success": 2}
    assert "failed 1, success 2\n" in here("stats").out
    assert "'--since'" in here.refused("stats", "--since", "-1h")


def test_the_client_makes_its_task_and_submits(here):
    found = here.json("client", "--count", "3", "--priority", "2")
    assert (found["task"], found["queue"], len(found["ids"])) == ("test-task", "default", 3)
    task = here.json("tasks", "show", "test-task")
    assert (task["executor"], task["command"]) == ("python", "echo")
    assert len(here("client", "--queue", "other", "--payload", '{"seconds": 0}').out.split()) == 1
    runs = here.json("runs", "list")
    assert [one["priority"] for one in runs] == ["normal", "high", "high", "high"]
    assert runs[0]["queue"] == "other"
    assert here.json("runs", "show", runs[0]["id"])["payload"] == {"seconds": 0}


def test_the_client_submits_many(here):
    assert len(set(here("client", "--count", "2500").out.split())) == 2_500
    assert here.json("stats")["runs"] == {"pending": 2_500}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--count", "0"), "--count"),
        (("--name", "a b"), "'--name': 'a b' is not a name"),
        (("--queue", "a b"), "queue: 'a b' is not a name"),
        (("--payload", "x"), "'--payload': 'x' is not JSON"),
    ],
)
def test_what_the_client_refuses(here, args, said):
    assert said in here.refused("client", *args)
    assert here.json("runs", "list") == []


def test_the_client_does_not_take_another_task_for_its_own(here):
    here("client")
    assert "runs 'echo', not 'compute'" in here.refused("client", "--type", "compute")


def test_the_doctor_finds_what_is_missing(here):
    here("client")
    answer = here("doctor")
    assert answer.code == 1
    assert "fail   scheduler  none leads" in answer.out
    assert "fail   workers    none is alive" in answer.out
    assert "1 ready run cannot start: no live worker takes queue default with executor python" in answer.out


def test_a_worker_that_is_silent_is_not_called_alive(here):
    async def begin(engine):
        now = engine.clock.now()
        await enter(engine, session(1, opened_at=now - 60_000, ttl_ms=10_000))
        await enter(engine, session(2, opened_at=now))

    in_store(begin)
    assert [one["state"] for one in here.json("workers", "list")] == ["open", "silent for 60 s"]
    told = here("doctor").out
    assert "1 alive with 10 slots" in told
    assert "warn   workers    worker-1 (pid 7 on host) has been silent for 60 s" in told


def test_missing_handlers_are_told_of(here):
    app = sample_app()
    here("tasks", "create", "lost", "--command", "nowhere")

    async def said(*args: str) -> Any:
        return await asyncio.to_thread(here, *args)

    async def told() -> None:
        async with app.running():
            run = (await said("tasks", "trigger", "lost")).out.strip()
            while "lacks what it names" not in (story := (await said("runs", "explain", run)).out):
                await app.engine.store.watch(["lane:*"]).wait(0.02)
            lacks = "no handler 'nowhere' in its app; it has fails, greet, paints"
            assert lacks in story
            for args in (("doctor",), ("tasks", "trigger", "lost")):
                answer = await said(*args)
                assert f"can run task lost: {lacks}" in answer.out + answer.err

    asyncio.run(told())


def test_the_doctor_is_content_with_a_whole_house(here):
    app = sample_app()

    async def examined() -> None:
        async with app.running():
            while not (lead := await app.engine.store.lead("scheduler", "asking", 0)).holder:
                await app.engine.store.watch(["lead"]).wait(0.02)
            assert lead.number
            while await report(app.engine) is None:
                await app.engine.store.watch(["lead"]).wait(0.02)
            found = await asyncio.to_thread(here, "doctor", "--json")
            assert {one["level"] for one in found.json} == {"ok"}
            assert found.code == 0

    asyncio.run(examined())


@pytest.mark.parametrize(
    ("age_ms", "lost", "level", "told"),
    [
        (0, (), "ok", "unaccounted: 0 up to"),
        (0, (Occurrence("main/s", 1),), "fail", "unaccounted: 1: main/s at 1;"),
        (STALE_MS, (), "warn", "no scheduler has looked at all that came since"),
    ],
)
def test_the_doctor_tells_of_what_nobody_answers_for(here, age_ms, lost, level, told):
    async def put(engine):
        at = engine.clock.now() - age_ms
        found = msgspec.json.encode(Report(at, at, missing=lost))
        await engine.commit_one(Group((Change(None, Blob(REPORT, found, at)),)))
        await engine.store.lead("scheduler", "somebody", 60_000)

    in_store(put)
    (found,) = [one for one in here("doctor", "--json").json if one["check"] == "account"]
    assert found["level"] == level
    assert told in found["text"]
    assert here.json("stats")["unaccounted"] == (None if level == "warn" else len(lost))


def test_the_doctor_fails_where_something_is_overdue(here):
    from rota.domain.schedule import Schedule
    from rota.domain.triggers import Interval
    from rota.ports.store import Change, Group

    async def put(engine):
        late = Schedule("main", "late", "nobody", Interval(1_000), next_at=engine.clock.now() - 60_000)
        await engine.commit_one(Group((Change(None, late),)))

    in_store(put)
    answer = here("doctor")
    assert answer.code == 1
    assert "fail   lateness   overdue: 1 schedule and 0 runs;" in answer.out


def test_the_doctor_says_that_a_store_does_not_open(rota, tmp_path):
    (tmp_path / "bad.db").write_bytes(b"x" * 10_000)
    answer = rota("doctor", "--store", "sqlite:///bad.db", "--json")
    assert answer.code == 1
    assert [(one["level"], one["check"]) for one in answer.json] == [("fail", "store")]
    assert "make it with `rota up`" in rota.refused("doctor")


def test_the_doctor_asks_the_store(here, monkeypatch):
    async def diagnose(_):
        return [("ok", "it is whole"), ("fail", "its disk is full")]

    monkeypatch.setattr("rota.stores.sql.store.SqlStore.diagnose", diagnose)
    answer = here("doctor", "--json")
    assert answer.code == 1
    assert {"level": "fail", "check": "store", "text": "its disk is full"} in answer.json


def test_the_doctor_sees_clocks_that_differ(here):
    async def begin(engine):
        await enter(engine, session(1, opened_at=engine.clock.now() + 3_600_000))

    in_store(begin)
    found = {one["check"]: one["level"] for one in here("doctor", "--json", "--store", STORE).json}
    assert found["clock"] == "warn"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (0.4567, "0.457 ms"),
        (999, "999 ms"),
        (1_234, "1.23 s"),
        (59_999, "60 s"),
        (60_000, "1 min"),
        (999.6, "1 s"),
        (3_600_000, "1 h"),
        (3_661_000, "1 h 1 min"),
        (90_061_000, "1 d 1 h"),
        (86_400_000 * 400, "400 d"),
    ],
)
def test_lengths_of_time(ms, text):
    assert length(ms) == text
