import asyncio
import os
import threading
from contextvars import ContextVar

import pytest

from rota.domain.errors import Invalid, TooLarge
from rota.domain.flow import Snooze
from rota.domain.run import End, Reason
from rota.domain.task import Isolation
from rota.executors.python import PythonExecutor
from tests.unit.executors.support import Attempt, Notes, Plain, Shy, assigned, outcome


def python(grace_ms: int = 5_000, **functions) -> PythonExecutor:
    return PythonExecutor({name: Plain(function) for name, function in functions.items()}, grace_ms=grace_ms)


async def double(x):
    return 2 * x


def half(x):
    return x / 2


async def test_an_async_function_is_awaited():
    end, _ = await outcome(python(double=double), assigned("double", {"x": 21}))
    assert (end.end, end.result) == (End.SUCCESS, b"42")


async def test_a_sync_function_is_called_in_a_thread():
    end, _ = await outcome(python(half=lambda: threading.current_thread().name), assigned("half"))
    assert b"rota-task" in end.result


async def test_without_a_command_the_tasks_name_names_the_handler():
    end, _ = await outcome(python(t=double), assigned("", {"x": 1}))
    assert end.result == b"2"


@pytest.mark.parametrize(
    "command",
    ["os:system", "builtins:eval", "os.system", "double.__class__", "../double", "/double", "http://x", "Double", " "],
)
async def test_only_registered_names_are_run(command):
    end, _ = await outcome(python(double=double), assigned(command, {"x": 1}))
    assert (end.end, end.reason) == (End.RETURNED, Reason.NO_HANDLER)
    assert repr(command) in end.error
    assert end.error.endswith("; it has double")


async def test_few_of_many_names_are_told():
    end, _ = await outcome(
        PythonExecutor({f"name{number:02}": Plain(double) for number in range(11)}), assigned("other")
    )
    assert end.error.endswith("it has " + ", ".join(f"name{number:02}" for number in range(10)) + " …")


async def nothing(x):
    pass


@pytest.mark.parametrize("function", [nothing, lambda x: None])
async def test_no_result_is_a_success_without_one(function):
    end, _ = await outcome(python(f=function), assigned("f", {"x": 1}))
    assert (end.end, end.result) == (End.SUCCESS, None)


@pytest.mark.parametrize("isolation", [Isolation.AUTO, Isolation.THREAD])
async def test_an_error_is_a_failure(isolation):
    async def broken():
        return 1 / 0

    end, _ = await outcome(python(broken=broken), assigned("broken", isolation=isolation))
    assert end.end is End.FAILURE
    assert end.errors[0] == "ZeroDivisionError"
    assert "return 1 / 0" in end.error
    assert "rota/executors" not in end.error


async def test_a_sync_error_is_a_failure_even_if_it_would_end_the_program():
    def leave():
        raise SystemExit(3)

    end, _ = await outcome(python(leave=leave), assigned("leave"))
    assert (end.end, end.errors) == (End.FAILURE, ("SystemExit",))


async def test_a_forked_copy_of_the_worker_ends_with_the_code():
    def fork():
        copy = os.fork()
        return os.waitpid(copy, 0)[1] if copy else "copy"

    async def fork_here():
        return fork()

    def leave():
        statuses = []
        for error in (SystemExit(3), SystemExit(0), SystemExit(), SystemExit("bye"), ValueError()):
            if (status := fork()) == "copy":
                raise error
            statuses.append(os.waitstatus_to_exitcode(status))
        return statuses

    executor = python(fork=fork, fork_here=fork_here, leave=leave)
    ends = [(await outcome(executor, assigned(name)))[0] for name in ("fork", "fork_here", "leave")]
    assert [end.result for end in ends] == [b"0", b"0", b"[3,0,0,1,1]"]


@pytest.mark.parametrize("isolation", [Isolation.AUTO, Isolation.THREAD])
async def test_an_error_that_nobody_can_look_at_ends_the_attempt(isolation):
    async def shy():
        raise Shy

    end, _ = await outcome(python(shy=shy), assigned("shy", isolation=isolation))
    assert "Shy'>, which cannot be described" in end.error


async def test_flow_is_understood():
    async def later():
        raise Snooze(2)

    end, _ = await outcome(python(later=later), assigned("later"))
    assert (end.end, end.delay_ms) == (End.SNOOZE, 2_000)


class Picky(Plain):
    def decode(self, payload, context):
        raise Invalid("x", "a number is wanted")


class Huge(Plain):
    def encode(self, result):
        raise TooLarge("result", "too large")


@pytest.mark.parametrize("function", [double, half])
async def test_a_bad_payload_is_final(function):
    end, _ = await outcome(PythonExecutor({"t": Picky(function)}), assigned("t", {"x": 1}))
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_PAYLOAD, True)
    assert "a number is wanted" in end.error


@pytest.mark.parametrize("function", [double, half])
async def test_a_bad_result_is_final(function):
    end, _ = await outcome(PythonExecutor({"t": Huge(function)}), assigned("t", {"x": 1}))
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)


async def test_invalid_raised_by_the_code_itself_is_an_ordinary_error():
    def strict():
        raise Invalid("x", "no")

    end, _ = await outcome(python(strict=strict), assigned("strict"))
    assert (end.reason, end.final) == (Reason.ERROR, False)


async def test_threads_see_context_variables():
    color = ContextVar("color", default="none")
    color.set("blue")
    end, _ = await outcome(python(look=color.get), assigned("look"))
    assert end.result == b'"blue"'


async def test_threads_are_reused():
    executor = python(who=threading.get_ident)
    ends = [(await outcome(executor, assigned("who")))[0] for _ in range(20)]
    assert len({end.result for end in ends}) == 1


async def test_as_many_threads_as_there_is_work():
    barrier = threading.Barrier(8, timeout=20)
    executor = python(meet=lambda: barrier.wait() >= 0)
    ends = await asyncio.gather(*(outcome(executor, assigned("meet")) for _ in range(8)))
    assert {end.end for end, _ in ends} == {End.SUCCESS}


async def test_an_async_function_in_a_thread_has_a_loop_there():
    loops = []

    async def look():
        loops.append(asyncio.get_running_loop())

    end, _ = await outcome(python(look=look), assigned("look", isolation=Isolation.THREAD))
    assert end.end is End.SUCCESS
    assert loops[0] is not asyncio.get_running_loop()


async def test_cancelling_ends_an_async_function():
    waiting, cleaned = asyncio.Event(), asyncio.Event()

    async def wait():
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    attempt = Attempt(python(wait=wait), assigned("wait"))
    await waiting.wait()
    await attempt.cancel()
    assert cleaned.is_set()


async def test_cancelling_ends_an_async_function_in_a_thread():
    waiting, cleaned = threading.Event(), threading.Event()

    async def wait():
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    executor = python(wait=wait)
    attempt = Attempt(executor, assigned("wait", isolation=Isolation.THREAD))
    await asyncio.to_thread(waiting.wait, 20)
    await attempt.cancel()
    assert cleaned.is_set()
    assert executor.abandoned == 0


async def test_a_cancel_that_nobody_asked_for_is_the_codes_own_failure():
    async def broken():
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner

    end, _ = await outcome(python(broken=broken), assigned("broken"))
    assert (end.end, end.errors) == (End.FAILURE, ("CancelledError",))


async def test_a_thread_that_looks_stops_within_the_grace():
    holder: list[Notes] = []
    looking = threading.Event()

    def patient():
        looking.set()
        while not holder[0].cancelled:
            pass

    executor = python(patient=patient)
    attempt = Attempt(executor, assigned("patient"))
    holder.append(attempt.notes)
    await asyncio.to_thread(looking.wait, 20)
    await attempt.cancel()
    assert executor.abandoned == 0
    assert attempt.notes.lines == []


async def test_a_thread_that_does_not_look_is_left_behind_and_counted():
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    def stubborn():
        started.set()
        go.wait(20)
        done.set()
        return "late"

    executor = python(0, stubborn=stubborn)
    attempt = Attempt(executor, assigned("stubborn"))
    await asyncio.to_thread(started.wait, 20)
    await attempt.cancel()
    assert executor.abandoned == 1
    assert "left behind" in attempt.notes.texts("log")[0]
    go.set()
    await asyncio.to_thread(done.wait, 20)
    end, _ = await outcome(executor, assigned("stubborn"))
    assert (end.result, executor.abandoned) == (b'"late"', 0)


async def test_a_second_cancel_ends_the_grace():
    started, go = threading.Event(), threading.Event()

    def stubborn():
        started.set()
        go.wait(20)

    executor = python(3_600_000, stubborn=stubborn)
    attempt = Attempt(executor, assigned("stubborn"))
    await asyncio.to_thread(started.wait, 20)
    attempt.task.cancel()
    await asyncio.wait([attempt.task], timeout=0)
    await attempt.cancel()
    assert executor.abandoned == 1
    go.set()


async def test_a_changed_handler_is_seen():
    handlers = {"t": Plain(double)}
    executor = PythonExecutor(handlers)
    assert (await outcome(executor, assigned("t", {"x": 1})))[0].result == b"2"
    handlers["t"] = Plain(half)
    assert (await outcome(executor, assigned("t", {"x": 1})))[0].result == b"0.5"


async def test_closing_twice_is_harmless_and_not_the_end():
    executor = python(half=half)
    for _ in range(3):
        assert (await outcome(executor, assigned("half", {"x": 1})))[0].result == b"0.5"
        await executor.close()
        await executor.close()
