"""What tasks print and log becomes lines of their run, and nothing else does."""

import asyncio
import gc
import io
import logging
import os
import signal
import sys

import pytest

from rota import Context
from rota.ports.store import Line
from rota.worker.context import RunContext
from tests.services.turns import breathe
from tests.unit.worker.support import House

say = print


class Program:
    """Streams and logging of a plain program in place of pytest's, which come anew with each phase of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", self._out)
        monkeypatch.setattr(sys, "stderr", self._err)
        monkeypatch.setattr(logging.getLogger(), "handlers", [])

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


async def lines(house: House, run_id: str) -> list[Line]:
    return (await house.engine.logs.read(run_id, limit=20_000))[0]


async def said(house: House, run_id: str) -> list[tuple[str, str, str]]:
    return [(line.stream, line.level, line.text) for line in await lines(house, run_id)]


async def test_print_and_stderr_and_loggers_are_told_apart(house: House, monkeypatch):
    program = Program(monkeypatch)

    async def speaks(context: Context) -> None:
        say("out")
        say("err", file=sys.stderr)
        context.log.info("own logger")
        logging.getLogger("some.library").warning("watch %s", "out")
        logging.getLogger("some.library").info("not of interest by default")

    run_id = await house.begun(speaks)
    await house.worker()
    await house.settled(run_id)
    assert await said(house, run_id) == [
        ("stdout", "info", "out"),
        ("stderr", "info", "err"),
        ("log", "info", "own logger"),
        ("log", "warning", "watch out"),
    ]
    assert program.out == ""


async def test_lines_of_interleaved_tasks_stay_with_their_run(house: House):
    turns = [asyncio.Event() for _ in range(40)]

    async def speaks(number: int) -> None:
        for at in range(number, 40, 4):
            if at:
                await turns[at - 1].wait()
            say(f"{number}:", end=" ")
            say(at, "of", number, sep="-", end="")
            turns[at].set()
            say()

    await house.task(speaks)
    runs = [await house.submit("speaks", payload=b'{"number": %d}' % number) for number in range(4)]
    await house.worker()
    await house.all_settled(runs)
    for number, run_id in enumerate(runs):
        expected = [f"{number}: {at}-of-{number}" for at in range(number, 40, 4)]
        assert [line.text for line in await lines(house, run_id)] == expected


async def test_threads_and_what_they_start_in_their_context(house: House):
    async def offspring() -> None:
        say("child task")

    async def parent() -> None:
        say("parent")
        await asyncio.create_task(offspring())
        await asyncio.to_thread(say, "thread of a task")

    def blocking() -> None:
        say("in a thread")
        logging.getLogger("rota.task.nested.deep").info("nested")

    first, second = await house.begun(parent), await house.begun(blocking)
    await house.worker()
    await house.all_settled([first, second])
    assert [line.text for line in await lines(house, first)] == ["parent", "child task", "thread of a task"]
    assert [line.text for line in await lines(house, second)] == ["in a thread", "nested"]


async def test_threads_of_one_task_lose_nothing_of_what_they_print(house: House):
    async def crowd() -> None:
        await asyncio.gather(*(asyncio.to_thread(chatter, number) for number in range(4)))

    def chatter(number: int) -> None:
        for one in range(300):
            sys.stdout.write(f"{number}-{one}\n")

    run_id = await house.begun(crowd)
    await house.worker()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    await house.settled(run_id)
    sys.setswitchinterval(before)
    texts = [line.text for line in await lines(house, run_id)]
    assert sorted(texts) == sorted(f"{number}-{one}" for number in range(4) for one in range(300))


async def test_odd_ways_of_writing(house: House, monkeypatch):
    program = Program(monkeypatch)

    async def odd() -> None:
        sys.stdout.writelines(["one\n", "two\n", "thr"])
        sys.stdout.write("ee\nfour\nfi")
        sys.stdout.flush()
        say("ve", end="")
        assert sys.stdout.write("") == 0
        assert not sys.stdout.isatty()

    run_id = await house.begun(odd)
    await house.worker()
    await house.settled(run_id)
    assert [line.text for line in await lines(house, run_id)] == ["one", "two", "three", "four", "five"]
    assert program.out == ""


async def test_a_task_that_closes_its_output_closes_nobody_elses(house: House, monkeypatch):
    program = Program(monkeypatch)

    async def closes() -> None:
        say("before")
        sys.stdout.close()
        say("after")

    run_id = await house.begun(closes)
    await house.worker()
    await house.settled(run_id)
    assert [line.text for line in await lines(house, run_id)] == ["before", "after"]
    say("the program goes on")
    assert program.out == "the program goes on\n"


async def test_a_level_that_no_store_holds_costs_no_lines(house: House):
    async def odd(context: Context) -> None:
        context.line("log", "half a \ud800", "said")
        context.line("log", "\0", "all the same")

    run_id = await house.begun(odd)
    await house.worker()
    await house.settled(run_id)
    assert await said(house, run_id) == [("log", "half a ?", "said"), ("log", "\ufffd", "all the same")]


async def test_a_last_line_without_end_is_kept_when_the_task_fails_or_is_stopped(house: House, gate):
    async def fails() -> None:
        say("last words", end="")
        raise RuntimeError

    async def stopped() -> None:
        say("until here", end="")
        await gate()

    first, second = await house.begun(fails), await house.begun(stopped)
    await house.worker()
    await gate.holds(1)
    await house.cancel(second)
    await house.all_settled([first, second])
    assert [line.text for line in await lines(house, first)] == ["last words"]
    assert [line.text for line in await lines(house, second)] == ["until here"]


async def test_what_is_printed_after_the_end_of_an_attempt_keeps_nothing_of_it(house: House, gate):
    async def later() -> None:
        await gate()
        say("too late", end="")

    async def hasty() -> None:
        left.append(asyncio.create_task(later()))

    left: list[asyncio.Task[None]] = []
    run_id = await house.begun(hasty)
    await house.worker()
    await house.settled(run_id)
    await gate.holds(1)
    gate.open()
    await left.pop()
    await breathe()
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, RunContext)]


async def test_text_outside_of_tasks_goes_where_it_went_before(house: House, gate, monkeypatch):
    program = Program(monkeypatch)
    run_id = await house.begun(gate, name="gate")
    await house.worker()
    await gate.holds(1)
    say("the program itself")
    sys.stdout.writelines(["and", " more\n"])
    await asyncio.to_thread(say, "a thread of it")
    assert program.out == "the program itself\nand more\na thread of it\n"
    gate.open()
    await house.settled(run_id)
    assert await lines(house, run_id) == []


async def test_a_program_whose_output_is_closed_prints_on_into_nowhere(house: House, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)

    async def speaks() -> None:
        say("task")

    run_id = await house.begun(speaks)
    worker = await house.worker()
    await house.settled(run_id)
    say("program", flush=True)
    await worker.stop()
    say("program", flush=True)
    sys.stdout.close()
    assert [line.text for line in await lines(house, run_id)] == ["task"]


async def test_warnings_of_a_program_without_handlers_are_still_printed(house: House, monkeypatch):
    program = Program(monkeypatch)
    log = logging.getLogger("program")
    await house.worker()
    log.warning("before long")
    log.info("not by default")
    logging.getLogger("rota.task.t").info("nor this")
    assert program.err == "before long\n"
    own = logging.StreamHandler(io.StringIO())
    log.addHandler(own)
    log.warning("to the handler only")
    log.removeHandler(own)
    assert program.err == "before long\n"


async def test_handlers_of_the_program_get_what_they_got(house: House):
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    async def speaks(context: Context) -> None:
        context.log.warning("inside")

    own = Keeping()
    logging.getLogger().addHandler(own)
    run_id = await house.begun(speaks)
    await house.worker()
    logging.getLogger("program").warning("outside")
    await house.settled(run_id)
    logging.getLogger().removeHandler(own)
    assert kept == ["outside", "inside"]
    assert [line.text for line in await lines(house, run_id)] == ["inside"]


async def test_a_bad_format_does_not_fail_the_task(house: House, monkeypatch):
    Program(monkeypatch)

    async def sloppy(context: Context) -> str:
        context.log.info("%d items", "no")
        return "fine"

    run_id = await house.begun(sloppy)
    await house.worker()
    run = await house.settled(run_id)
    assert run.result == b'"fine"'
    assert any("Logging error" in line.text for line in await lines(house, run_id))


async def test_two_workers_share_the_capture_and_the_last_puts_all_back(house: House, monkeypatch):
    program = Program(monkeypatch)

    async def speaks() -> None:
        say("heard")

    streams, handlers = (sys.stdout, sys.stderr), list(logging.getLogger().handlers)
    level = logging.getLogger("rota.task").level
    await house.task(speaks)
    first, second = await house.worker(), await house.worker()
    assert len(logging.getLogger().handlers) == len(handlers) + 1
    await first.stop()
    run_id = await house.submit("speaks")
    await house.settled(run_id)
    assert [line.text for line in await lines(house, run_id)] == ["heard"]
    await second.stop()
    assert (sys.stdout, sys.stderr) == streams
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("rota.task").level == level
    assert program.out == ""


async def test_a_level_that_the_program_gave_stays(house: House):
    tasks = logging.getLogger("rota.task")
    tasks.setLevel(logging.ERROR)

    async def speaks(context: Context) -> None:
        context.log.info("too quiet")
        context.log.error("loud")

    run_id = await house.begun(speaks)
    worker = await house.worker()
    await house.settled(run_id)
    await worker.stop()
    assert tasks.level == logging.ERROR
    tasks.setLevel(logging.NOTSET)
    assert [line.text for line in await lines(house, run_id)] == ["loud"]


async def test_streams_that_someone_else_replaced_are_left_alone(house: House, monkeypatch):
    Program(monkeypatch)
    worker = await house.worker()
    theirs = io.StringIO()
    sys.stdout = theirs
    await worker.stop()
    assert sys.stdout is theirs


async def test_who_is_forked_prints_where_the_program_does_and_waits_for_no_thread_of_it(house: House, monkeypatch):
    program = Program(monkeypatch)

    async def forks() -> int:
        lock = vars(sys.stdout)["_lock"]
        lock.acquire()  # as a thread does that prints in this moment
        if (child := os.fork()) == 0:
            signal.alarm(10)
            say("from the child")
            os._exit(int(program.out != "from the child\n"))
        lock.release()
        return os.waitpid(child, 0)[1]

    run_id = await house.begun(forks)
    await house.worker()
    assert (await house.settled(run_id)).result == b"0"
