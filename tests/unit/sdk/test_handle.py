"""A run in the hands of its submitter, in both colours."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rota import Rota, RunFailed
from rota.domain.errors import Invalid, NotFound, Refused, Unavailable
from rota.domain.records import Blob
from rota.domain.retry import Retry
from rota.domain.run import State
from rota.engine.define import update_task
from rota.ports.loops import Backoff
from rota.ports.store import Change, Group
from rota.testing.faults import FaultyStore
from rota.worker.options import Options


@dataclass
class Point:
    x: int
    at: datetime


async def point(x: int) -> Point:
    return Point(x, datetime(2026, 1, 31, tzinfo=UTC))


async def fails() -> None:
    raise LookupError("nothing here")


async def waits() -> None:
    await asyncio.Event().wait()


def large(size: int) -> str:
    return "x" * size


def untrue() -> int:
    return "text"  # type: ignore[return-value]  # that is what it is for


class Program:
    """An app in memory with a few tasks."""

    def __init__(self) -> None:
        self.app = Rota("sqlite://", name="handles")
        self.point = self.app.task(point)
        self.fails = self.app.task(retries=0)(fails)
        self.waits = self.app.task(waits)
        self.large = self.app.task(large)
        self.untrue = self.app.task(untrue)


@pytest.fixture
async def program():
    made = Program()
    async with made.app:
        yield made


async def test_a_result_is_of_the_annotated_type(program: Program):
    async with program.app.running():
        handle = await program.point.asubmit(3)
        assert await handle.aresult(20) == Point(3, datetime(2026, 1, 31, tzinfo=UTC))
        assert await handle.astate() is State.SUCCESS
        assert json.loads((await handle.arun()).result or b"")["x"] == 3
        assert repr(handle) == f"<Handle of run {handle.id}>"


async def test_by_its_id_alone_a_result_is_plain_json(program: Program):
    async with program.app.running():
        submitted = await program.point.asubmit(3)
        handle = program.app.handle(submitted.id)
        assert (await handle.aresult(20))["x"] == 3
        assert not handle.created
        with pytest.raises(NotFound):
            await program.app.handle("0" * 32).aresult(20)


async def test_a_large_result_is_fetched_from_where_it_lies(program: Program):
    async with program.app.running():
        assert await (await program.large.asubmit(size=100_000)).aresult(20) == "x" * 100_000


async def test_who_does_not_wait_gets_the_result_of_what_has_ended(program: Program):
    async with program.app.running():
        handle = await program.point.asubmit(3)
        await handle.aresult(20)
        assert (await handle.aresult(0)).x == 3


async def test_a_large_result_that_is_gone_is_not_taken_for_none(program: Program):
    async with program.app.running():
        handle = await program.large.asubmit(size=100_000)
        await handle.aresult(20)
        store = program.app.engine.store
        await store.commit([Group((Change((await store.get(Blob, [f"{handle.id}/result"]))[0], None),))])
        with pytest.raises(NotFound, match=f"no result .{handle.id}"):
            await handle.aresult(20)


async def test_a_failed_run_says_what_happened(program: Program):
    async with program.app.running():
        handle = await program.fails.asubmit()
        with pytest.raises(RunFailed, match="LookupError: nothing here") as caught:
            await handle.aresult(20)
    assert (caught.value.run_id, caught.value.state, caught.value.reason) == (handle.id, "failed", "error")


async def test_a_result_that_belies_its_annotation_fails_the_run_at_once(program: Program):
    async with program.app.running():
        handle = await program.untrue.asubmit()
        with pytest.raises(RunFailed, match="annotated to return: should be a valid integer") as caught:
            await handle.aresult(20)
    assert (caught.value.state, caught.value.reason) == ("failed", "bad_result")
    assert (await handle.arun()).tries == 1


async def test_a_cancelled_run_says_so(program: Program):
    async with program.app.running(worker=False):
        handle = await program.point.asubmit(1)
        assert await handle.acancel() == "cancelled"
        assert await handle.acancel() == "cancelled"
        with pytest.raises(RunFailed) as caught:
            await handle.aresult(20)
        assert (caught.value.state, caught.value.reason) == ("cancelled", "cancelled")


async def test_who_waits_too_long_is_told_and_the_run_goes_on(program: Program):
    async with program.app.running(worker_options=Options(drain_ms=0)):
        handle = await program.waits.asubmit()
        for timeout in (0.01, "10ms", timedelta(milliseconds=10), 0):
            with pytest.raises(TimeoutError):
                await handle.aresult(timeout=timeout)
        for wrong in ("soon", -1, [1]):
            with pytest.raises(Invalid, match=r"^timeout: "):
                await handle.aresult(timeout=wrong)  # type: ignore[arg-type]  # some are no length of time
        assert await handle.astate() in (State.PENDING, State.RUNNING)
        assert await handle.acancel() in ("cancelling", "cancelled")
        with pytest.raises(RunFailed):
            await handle.aresult(20)


async def test_who_waits_outlasts_a_store_that_is_away(program: Program, monkeypatch):
    ended, waiting = await program.point.asubmit(1), await program.point.asubmit(2)
    await ended.acancel()
    store = FaultyStore(program.app.engine.store)
    monkeypatch.setattr(program.app.engine, "store", store)
    store.down = True
    for timeout in (None, 0.01):
        with pytest.raises(Unavailable):
            await ended.aresult(timeout)
    failed = Backoff.failed

    async def comes_back(self: Backoff, error: Exception) -> None:
        store.down = False
        await failed(self, error)

    monkeypatch.setattr(Backoff, "failed", comes_back)
    with pytest.raises(RunFailed):
        await ended.aresult(20)
    assert not store.down
    store.down = True
    with pytest.raises(TimeoutError):
        await waiting.aresult(0.5)


async def test_many_at_once(program: Program):
    async with program.app.running():
        points = program.point
        handles = await points.asubmit_many([(1,), {"x": 2}, (3,)])
        results = await asyncio.gather(*(handle.aresult(20) for handle in handles))
        assert [one.x for one in results] == [1, 2, 3]
        with pytest.raises(Invalid, match="x"):
            await points.asubmit_many([(1,), ("many",)])
        for wrong in ([1, 2], ["ab"], 5, "ab", {"x": 1}, [None]):
            with pytest.raises(Invalid, match=r"^calls: .* write tuples"):
                await points.asubmit_many(wrong)  # type: ignore[arg-type]  # none of them is a list of calls
        assert await points.asubmit_many([]) == []


async def test_a_key_gives_the_same_run_and_another_body_is_refused(program: Program):
    points = program.point.with_options(key="order-7")
    first, second = await asyncio.gather(points.asubmit(1), points.asubmit(1))
    assert first.id == second.id
    assert sorted([first.created, second.created]) == [False, True]
    with pytest.raises(Refused, match="order-7"):
        await points.asubmit(2)
    assert (await program.point.asubmit(1)).id != first.id


async def test_a_unique_run_is_alone_until_it_has_ended(program: Program):
    points = program.point.with_options(unique="nightly")
    async with program.app.running(worker=False):
        first = await points.asubmit(1)
        second = await points.asubmit(2)
        assert (first.id, first.created, second.created) == (second.id, True, False)
        await first.acancel()
        third = await points.asubmit(3)
        assert third.created
        assert third.id != first.id


async def test_later(program: Program):
    points = program.point
    now = program.app.engine.clock.now()
    delayed = await (await points.with_options(delay=60).asubmit(1)).arun()
    assert delayed.state is State.SCHEDULED
    assert 60_000 <= (delayed.due_at or 0) - now < 65_000
    moment = datetime.now(UTC) + timedelta(hours=1)
    at = await (await points.with_options(at=moment).asubmit(1)).arun()
    assert at.due_at == int(moment.timestamp() * 1_000)
    with pytest.raises(Invalid, match="at: lies more than a minute in the past"):
        await points.with_options(at=moment - timedelta(days=1)).asubmit(1)
    with pytest.raises(Invalid, match="time zone"):
        await points.with_options(at=datetime(2030, 1, 1)).asubmit(1)  # noqa: DTZ001  # that is the mistake
    with pytest.raises(Invalid, match="delay"):
        await points.with_options(delay=-1).asubmit(1)
    with pytest.raises(Invalid, match=r"no such option.*delay"):
        points.with_options(delai=1)  # type: ignore[call-arg]  # that is the mistake


async def test_options_of_one_submission(program: Program):
    points = program.point.with_options(queue="slow", priority="high")
    run = await (await points.with_options(retries=7, timeout="90s").asubmit(1)).arun()
    assert (run.queue, run.priority, run.timeout_ms) == ("slow", 2, 90_000)
    assert run.retry
    assert run.retry.retries == 7
    endless = await (await points.with_options(timeout=None).asubmit(1)).arun()
    assert endless.timeout_ms is None


made: Any = Retry


async def test_another_number_of_retries_leaves_the_rest_of_the_policy(program: Program):
    policy = Retry(retries=1, delay_ms=20, jitter=0, never_on=("KeyError",))
    careful = program.app.task(name="careful", retries=policy)(point)
    run = await (await careful.with_options(retries=7).asubmit(1)).arun()
    assert run.retry == replace(policy, retries=7)
    await update_task(program.app.engine, "main/careful", {"retry": replace(policy, delay_ms=30)}, "people")
    run = await (await careful.with_options(retries=0).asubmit(1)).arun()
    assert run.retry == replace(policy, retries=0, delay_ms=30), "what people changed of the task holds, too"
    with pytest.raises(Invalid, match="retries: 1001 is not between 0 and 1000"):
        await careful.with_options(retries=1_001).asubmit(1)
    with pytest.raises(Invalid, match="retries: True is neither"):
        await careful.with_options(retries=True).asubmit(1)
    with pytest.raises(Invalid, match="whole numbers"):
        await careful.with_options(retries=made(delay_ms=1e3)).asubmit(1)


def test_a_program_without_a_loop_does_it_all_synchronously():
    program = Program()
    opened, finish = threading.Event(), threading.Event()

    async def live() -> None:
        async with program.app.running():
            opened.set()
            await asyncio.to_thread(finish.wait, 20)

    other = threading.Thread(target=asyncio.run, args=(live(),))
    other.start()
    assert opened.wait(20)
    handle = program.point.submit(5)
    assert handle.result(timeout=20).x == 5
    assert handle.state() is State.SUCCESS
    assert handle.run().attempt == 1
    assert [one.result(20).x for one in program.point.submit_many([(1,), (2,)])] == [1, 2]
    failed = program.fails.submit()
    with pytest.raises(RunFailed):
        failed.result(20)
    waiting = program.waits.submit()
    with pytest.raises(TimeoutError, match=f"run {waiting.id} has not ended in 0.01 s"):
        waiting.result(timeout=0.01)
    waiting.cancel()
    with pytest.raises(RunFailed):
        waiting.result(20)
    finish.set()
    other.join(20)
    assert not other.is_alive()
    program.app.portal.close()


async def test_from_several_threads_and_loops_at_once(program: Program):
    points = program.point

    def synchronous(number: int) -> int:
        return int(points.submit(number).result(20).x)

    def on_a_loop(number: int) -> int:
        async def both() -> int:
            return int((await (await points.asubmit(number)).aresult(20)).x)

        return asyncio.run(both())

    async def here(number: int) -> int:
        return int((await (await points.asubmit(number)).aresult(20)).x)

    loop = asyncio.get_running_loop()
    async with program.app.running(slots=50):
        with ThreadPoolExecutor(6) as threads:
            calls = [
                *(loop.run_in_executor(threads, synchronous, number) for number in range(20)),
                *(loop.run_in_executor(threads, on_a_loop, number) for number in range(20, 40)),
                *(here(number) for number in range(40, 60)),
            ]
            assert await asyncio.gather(*calls) == list(range(60))


@pytest.mark.parametrize("field", ["key", "unique", "queue"])
async def test_an_empty_name_is_not_none(program: Program, field):
    options: Any = {field: ""}
    with pytest.raises(Invalid, match=f"^{field}: "):
        await program.point.with_options(**options).asubmit(1)
    options = {field: None}
    assert (await program.point.with_options(**options).asubmit(1)).created


async def test_none_leaves_an_option_out(program: Program):
    points = program.point.with_options(delay=60, priority="high", retries=7)
    run = await (await points.with_options(delay=None, at=None, priority=None, retries=None).asubmit(1)).arun()
    assert (run.state, run.priority, run.retry) == (State.PENDING, 1, None)


async def test_a_task_says_which_it_is(program: Program):
    assert repr(program.point) == f"<Task {program.point.task.name}>"


async def test_a_moment_is_a_datetime(program: Program):
    with pytest.raises(Invalid, match=r"^at: 'soon' is no datetime"):
        await program.point.with_options(at="soon").asubmit(1)  # type: ignore[arg-type]  # that is the point
