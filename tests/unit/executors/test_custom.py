import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import msgspec
import pytest

from rota.domain.flow import Fail
from rota.domain.payload import DEEPEST
from rota.domain.run import End, Reason
from rota.executors import samples
from rota.executors.custom import FunctionExecutor
from rota.executors.python import PythonExecutor
from rota.executors.samples import SAMPLES
from tests.unit.executors.support import Attempt, assigned, outcome


@dataclass
class Reading:
    celsius: float


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


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "float is not JSON (it has no NaN)"),
        ({1: None, "1": 2}, "dict is not JSON (key '1' stands twice in one object)"),
        ({"a": [None, -float("inf")]}, "dict is not JSON (it has no -Infinity)"),
        ([Reading(float("inf"))], "list is not JSON (it has no Infinity)"),
        (msgspec.json.decode(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1)), f"nested in more than {DEEPEST} levels"),
        ({1: "a", "1": "b"}, "key '1' stands twice"),
    ],
)
async def test_a_result_that_not_every_reader_reads_alike_is_refused(value, told):
    end, _ = await outcome(FunctionExecutor("mail", lambda context, task: value), assigned())
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)
    assert told in end.error


async def test_a_result_may_have_nothing_at_some_place():
    value = {UUID(int=1): None, "at": [None, datetime(2026, 1, 1, tzinfo=UTC), b"x", Reading(1.5)]}
    end, _ = await outcome(FunctionExecutor("mail", lambda context, task: value), assigned())
    assert b"null" in end.result


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


async def test_compute_counts_and_tells(monkeypatch):
    monkeypatch.setattr(samples, "monotonic", count().__next__)
    end, notes = await sample("compute", {"seconds": 4})
    assert msgspec.json.decode(end.result)["rounds"] == 3
    assert notes.told == ["20 %", "50 %", "70 %"]


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
