import asyncio
import threading

import msgspec

from rota.domain.flow import Fail
from rota.domain.run import End, Reason
from rota.executors.custom import FunctionExecutor
from rota.executors.python import PythonExecutor
from rota.executors.samples import SAMPLES
from tests.unit.executors.support import Attempt, assigned, outcome


def report(context, task):
    context.progress("looking")
    return [task.namespace, task.name, task.command, dict(task.params), task.payload, task.run.attempt]


async def later(context, task):
    return report(context, task)


async def test_a_function_does_tasks_of_its_kind():
    for function in (report, later):
        executor = FunctionExecutor("mail", function)
        end, notes = await outcome(executor, assigned("welcome", {"to": "x"}, executor="mail", params={"a": 1}))
        assert executor.kind == "mail"
        assert msgspec.json.decode(end.result) == ["main", "t", "welcome", {"a": 1}, {"to": "x"}, 2]
        assert notes.told == ["looking"]
        await executor.close()


async def test_its_errors_and_bad_results_are_told_as_elsewhere():
    def broken(context, task):
        raise Fail("no such customer")

    end, _ = await outcome(FunctionExecutor("mail", broken), assigned())
    assert (end.end, end.final) == (End.FAILURE, True)
    for value in (object(), {1, object()}, "x" * 300_000, float("nan") and {(1, 2): 3}, "\ud800"):
        end, _ = await outcome(FunctionExecutor("mail", lambda context, task, value=value: value), assigned())
        assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)
    end, _ = await outcome(FunctionExecutor("mail", report), assigned("", b"{"))
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_PAYLOAD, True)


async def test_an_object_can_be_the_function():
    class Mailer:
        async def __call__(self, context, task):
            return "sent"

    end, _ = await outcome(FunctionExecutor("mail", Mailer()), assigned())
    assert end.result == b'"sent"'


async def test_what_is_left_behind_is_counted():
    started, go = threading.Event(), threading.Event()

    def stubborn(context, task):
        started.set()
        go.wait(20)

    executor = FunctionExecutor("mail", stubborn, grace_ms=0)
    attempt = Attempt(executor, assigned())
    await asyncio.to_thread(started.wait, 20)
    await attempt.cancel()
    assert executor.abandoned == 1
    go.set()


async def sample(name, payload=None, tries=0):
    return await outcome(PythonExecutor(SAMPLES), assigned(name, payload, tries=tries))


async def test_echo_gives_back():
    end, _ = await sample("echo", {"seconds": 0, "x": [1]})
    assert msgspec.json.decode(end.result) == {"seconds": 0, "x": [1]}


async def test_compute_counts_and_tells():
    end, notes = await sample("compute", {"seconds": 0.05})
    assert msgspec.json.decode(end.result)["rounds"] > 0
    assert notes.told[-1].endswith("%")


async def test_compute_stops_when_cancelled():
    executor = PythonExecutor(SAMPLES)
    attempt = Attempt(executor, assigned("compute", {"seconds": 3_600}))
    await asyncio.wait([attempt.task], timeout=0.05)
    await attempt.cancel()
    assert executor.abandoned == 0


async def test_unreliable_succeeds_with_the_third_try():
    ends = [(await sample("unreliable", tries=tries))[0] for tries in range(3)]
    assert [end.end for end in ends] == [End.FAILURE, End.FAILURE, End.SUCCESS]
    assert ends[0].error.startswith("RuntimeError: try 1 of 3")
