"""Every end of an attempt becomes the right outcome of its run."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from rota import Context
from rota.domain.facts import RunsClaimed
from rota.domain.names import TEXT_LIMIT
from rota.domain.run import End, Outcome, Reason, State
from rota.domain.task import Clocks
from rota.executors.python import PythonExecutor
from rota.observe.traces import Traced
from rota.worker.lacking import EXCLUDE_MS
from tests.unit.worker.support import House

SHORT_MS = 30
MADE: Any = Outcome
"""As by code whose types nobody checks."""


async def test_a_result_is_kept(house: House):
    async def double(x: int) -> int:
        return 2 * x

    run_id = await house.begun(double)
    again = await house.submit("double", payload=b'{"x": 21}')
    await house.worker()
    assert (await house.settled(run_id)).reason == Reason.BAD_PAYLOAD
    run = await house.settled(again)
    assert (run.state, run.result, run.tries) == (State.SUCCESS, b"42", 1)
    assert run.started_at
    assert run.claimed_at
    assert run.ended_at
    assert run.created_at <= run.claimed_at <= run.started_at <= run.ended_at


async def test_no_result_is_a_success_too(house: House):
    async def nothing() -> None: ...

    run_id = await house.begun(nothing)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.result) == (State.SUCCESS, None)


async def test_an_exception_burns_a_try(house: House):
    async def wrong() -> None:
        raise ValueError("so wrong")

    run_id = await house.begun(wrong)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (State.RETRYING, Reason.ERROR, 1)
    assert "ValueError: so wrong" in run.error


async def test_a_run_cancelled_before_its_claim_never_starts(house: House):
    started = []

    async def eager() -> None:
        started.append(True)

    run_id = await house.begun(eager)
    assert await house.cancel(run_id) == "cancelled"
    other = await house.submit("eager")
    await house.worker()
    await house.settled(other)
    assert len(started) == 1
    assert (await house.run(run_id)).state is State.CANCELLED


async def test_a_run_cancelled_between_claim_and_start_never_starts(house: House):
    started = []

    async def eager() -> None:
        started.append(True)

    await house.task(eager)
    worker = await house.worker()
    await house.idle(worker)
    answer = house.desks[worker].hold("claim")
    run_id = await house.submit("eager")
    await house.until(lambda: house.facts.of(RunsClaimed))
    assert await house.cancel(run_id) == "cancelling"
    await house.beat(worker)
    answer.set()
    assert (await house.settled(run_id)).state is State.CANCELLED
    assert not started


async def test_a_cancel_reaches_a_running_task_by_its_hint_alone(house: House, gate):
    run_id = await house.begun(gate, name="gate")
    await house.worker()
    await gate.holds(1)
    assert await house.cancel(run_id) == "cancelling"
    run = await house.settled(run_id)
    assert (run.state, run.cancel) == (State.CANCELLED, "somebody")
    assert gate.inside == 0


async def test_a_cancel_reaches_a_thread_that_looks(house: House):
    looking = threading.Event()

    def looks(context: Context) -> None:
        looking.set()
        house.bell.ring()
        never = threading.Event()
        while not context.cancelled:
            never.wait(0.001)

    run_id = await house.begun(looks)
    await house.worker()
    await house.until(looking.is_set)
    await house.cancel(run_id)
    assert (await house.settled(run_id)).state is State.CANCELLED


async def test_who_ignores_a_cancel_is_given_up_after_the_grace(house: House, gate):
    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await gate()
                return

    run_id = await house.begun(stubborn)
    worker = await house.worker(grace_ms=SHORT_MS)
    await gate.holds(1)
    await house.cancel(run_id)
    assert (await house.settled(run_id)).state is State.CANCELLED
    assert gate.inside == 1
    gate.open()
    other = await house.submit("stubborn")
    assert (await house.settled(other)).state is State.SUCCESS
    assert len(house.settlements(run_id)) == 1
    assert worker.running == 0


@pytest.mark.parametrize(
    ("clocks", "state", "reason", "word"),
    [
        (Clocks(attempt_ms=SHORT_MS), State.RETRYING, Reason.TIMEOUT, "timeout"),
        (Clocks(silence_ms=SHORT_MS), State.RETRYING, Reason.SILENT, "silence_timeout"),
        (Clocks(total_ms=SHORT_MS), State.FAILED, Reason.TOTAL_TIMEOUT, "total_timeout"),
        (Clocks(attempt_ms=2 * SHORT_MS, silence_ms=SHORT_MS), State.RETRYING, Reason.SILENT, "0.03 s"),
    ],
)
async def test_each_clock_ends_an_attempt(house: House, gate, clocks, state, reason, word):
    run_id = await house.begun(gate, name="gate", clocks=clocks)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (state, reason, 1)
    assert word in run.error


async def test_progress_restarts_the_silence_clock(house: House, gate):
    async def lively(context: Context) -> None:
        house.time.pass_by(800)
        context.progress("half")
        house.time.pass_by(800)
        context.progress("whole")
        house.time.pass_by(800)

    run_id = await house.begun(lively, clocks=Clocks(silence_ms=1_000))
    await house.worker()
    assert (await house.settled(run_id)).state is State.SUCCESS


async def test_a_result_after_the_timeout_does_not_count(house: House, gate):
    async def late() -> str:
        with suppress(asyncio.CancelledError):
            await gate()
        return "late"

    run_id = await house.begun(late, clocks=Clocks(attempt_ms=SHORT_MS))
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.result) == (State.RETRYING, Reason.TIMEOUT, None)


async def test_the_progress_of_a_short_run_is_kept(house: House):
    async def short(context: Context) -> None:
        context.progress("half")
        raise ValueError("no more")

    async def good(context: Context) -> None:
        context.progress("all")

    runs = [await house.begun(short), await house.begun(good)]
    await house.worker()
    assert [run.progress for run in await house.all_settled(runs)] == ["half", "all"]


async def test_a_task_that_raises_cancelled_by_itself_has_failed(house: House):
    async def confused() -> None:
        raise asyncio.CancelledError

    run_id = await house.begun(confused)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (State.RETRYING, Reason.ERROR, 1)
    assert "CancelledError" in run.error


async def test_a_task_that_cancels_itself_has_failed(house: House, gate):
    async def suicidal() -> None:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await gate()

    run_id = await house.begun(suicidal)
    worker = await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (State.RETRYING, Reason.ERROR, 1)
    assert worker.running == 0


class OwnExecutor:
    """What a user may write."""

    kind = "own"

    def __init__(self, run) -> None:
        self._run = run

    async def run(self, assignment, context):
        return self._run()

    async def close(self) -> None: ...


def raises_an_error():
    raise LookupError("nowhere")


def raises_cancelled():
    raise asyncio.CancelledError


class Panic(BaseException):
    """What some libraries raise past every `except Exception`."""


def panics():
    raise Panic("a library gave up")


def exits():
    raise SystemExit(3)


def leaves_a_generator():
    raise GeneratorExit("of another generator")


class Nameless(Exception):
    """An error that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises_what_cannot_be_shown():
    raise Nameless


@pytest.mark.parametrize(
    ("panic", "error"), [(panics, "Panic: a library gave up"), (leaves_a_generator, "GeneratorExit: of another")]
)
async def test_a_panic_of_an_async_task_ends_its_attempt(house: House, panic, error):
    async def hasty() -> None:
        panic()

    run_id = await house.begun(hasty)
    worker = await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (State.RETRYING, Reason.ERROR, 1)
    assert error in run.error
    assert worker.running == 0


@pytest.mark.parametrize(
    ("run", "error"),
    [
        (raises_an_error, "LookupError: nowhere"),
        (raises_cancelled, "CancelledError"),
        (panics, "Panic: a library gave up"),
        (exits, "SystemExit: 3"),
        (leaves_a_generator, "GeneratorExit: of another generator"),
        (raises_what_cannot_be_shown, "Nameless: <exception str() failed>"),
        (lambda: None, "NoneType instead of an Outcome"),
        (lambda: "done", "str instead of an Outcome"),
        (lambda: MADE("won"), "Invalid enum value 'won'"),
        (lambda: MADE(End.SUCCESS, "done"), "Expected `bytes | null`, got `str`"),
        (lambda: MADE(End.FAILURE, error=LookupError("nowhere")), "Expected `str`, got `LookupError`"),
        (lambda: Outcome(End.FAILURE, reason="error", error="caf\udce9", errors=("\udce9",)), "caf?"),
        (lambda: Outcome(End.FAILURE, reason="error", error="x" * 5_000), "x" * TEXT_LIMIT),
        (lambda: Outcome(End.SUCCESS, b"{"), "is not JSON"),
    ],
)
async def test_whatever_an_executor_does_is_an_outcome(house: House, run, error):
    await house.task(None, name="own", executor="own", command="own")
    run_id = await house.submit("own")
    worker = await house.worker({"own": OwnExecutor(run)})
    ended = await house.settled(run_id)
    assert (ended.state, ended.reason, ended.tries) == (State.RETRYING, Reason.ERROR, 1)
    assert error in ended.error
    assert len(ended.error) <= TEXT_LIMIT
    assert worker.running == 0


async def test_what_a_traced_executor_returns_is_looked_at_too(house: House):
    await house.task(None, name="own", executor="own", command="own")
    run_id = await house.submit("own")
    await house.worker({"own": Traced(OwnExecutor(lambda: Outcome(End.SUCCESS, b"{")))})
    assert "is not JSON" in (await house.settled(run_id)).error


async def test_an_executor_need_not_be_hashable(house: House):
    class Odd(OwnExecutor):
        __hash__ = None  # type: ignore[assignment]  # as in a dataclass

    await house.task(None, name="own", executor="own", command="own")
    run_id = await house.submit("own")
    await house.worker({"own": Odd(raises_an_error)})
    assert (await house.settled(run_id)).tries == 1


async def test_a_task_without_handler_is_returned_and_not_asked_for_during_a_minute(house: House):
    async def known() -> None: ...

    unknown = await house.submit(await house.task(None, name="unknown"))
    worker = await house.worker()
    run = await house.settled(unknown)
    assert (run.state, run.reason, run.tries) == (State.PENDING, Reason.NO_HANDLER, 0)
    assert run.detail == "no handler 'unknown' in its app"
    await house.settled(await house.begun(known))
    assert (await house.run(unknown)).attempt == 1
    claims = house.desks[worker].of("claim")
    assert claims[-1].exclude == ("main/unknown",)
    house.time.pass_by(EXCLUDE_MS)
    await house.hint("lane:main/default/python")
    await house.settled(unknown, 2)
    assert (await house.run(unknown)).attempt == 2
    assert [str(error) for error in house.troubles("task main/unknown")] == [
        "worker worker has no handler 'unknown' in its app"
    ], "it warns once"


@pytest.mark.parametrize("payload", [b'{"x": "many"}', b'{"y": 1}', b"[1]", b""])
async def test_a_wrong_payload_is_not_tried_again(house: House, payload):
    async def double(x: int) -> int:
        return 2 * x

    await house.task(double)
    run_id = await house.submit("double", payload=payload)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason, run.tries) == (State.FAILED, Reason.BAD_PAYLOAD, 1)


async def test_a_result_that_is_no_json_is_not_tried_again(house: House):
    async def odd() -> object:
        return object()

    run_id = await house.begun(odd)
    await house.worker()
    run = await house.settled(run_id)
    assert (run.state, run.reason) == (State.FAILED, Reason.BAD_RESULT)


async def test_a_thread_that_does_not_look_is_left_behind_and_its_result_lost(house: House):
    inside, leave = threading.Event(), threading.Event()

    def deaf() -> str:
        inside.set()
        house.bell.ring()
        leave.wait(20)
        return "too late"

    run_id = await house.begun(deaf)
    executor = PythonExecutor(house.handlers, grace_ms=0)
    worker = await house.worker({"python": executor}, slots=4)
    await house.until(inside.is_set)
    await house.cancel(run_id)
    run = await house.settled(run_id)
    assert (run.state, run.result, executor.abandoned) == (State.CANCELLED, None, 1)
    leave.set()
    await executor.close()
    await worker.stop()
