"""Output and news of running attempts: in order, before the end is visible, and never in the way of a run."""

import asyncio

import pytest

from rota import Context
from rota.domain.errors import Invalid, Unavailable, Unclear
from rota.domain.facts import RunsSettled
from rota.domain.run import State
from rota.ports.store import Line
from rota.worker import reporter, wire
from rota.worker.context import LINE_LIMIT, LINES_LIMIT
from tests.unit.worker.support import House

FAST_MS = 10


async def lines(house: House, run_id: str, limit: int = 20_000) -> list[Line]:
    return (await house.engine.logs.read(run_id, limit=limit))[0]


async def texts(house: House, run_id: str) -> list[str]:
    return [line.text for line in await lines(house, run_id)]


async def chatty(context: Context, number: int, name: str = "line") -> None:
    for one in range(number):
        context.line("stdout", "info", f"{name} {one}")


async def test_whoever_sees_the_end_sees_the_lines(house: House):
    """Read at the very commit that ends the run."""
    await house.task(chatty)
    seen: list[list[Line]] = []
    commit = house.engine.store.commit

    async def committing(groups, guard=None, hints=()):
        if any(run_id == group.changes[0].now.id for group in groups if group.changes):
            seen.append(await lines(house, run_id))
        return await commit(groups, guard, hints)

    run_id = await house.submit("chatty", payload=b'{"number": 2500}')
    house.store.commit = committing  # type: ignore[method-assign]  # to look at the moment
    await house.worker()
    await house.settled(run_id)
    assert [line.text for line in seen[-1]] == [f"line {one}" for one in range(2_500)]


async def test_lines_of_a_report_under_way_are_seen_with_the_end_too(house: House, gate):
    """The reporter has them, and its call takes its time: the outcome waits for it."""

    async def speaks(context: Context) -> None:
        context.line("stdout", "info", "before")
        await gate()
        context.line("stdout", "info", "after")

    run_id = await house.begun(speaks)
    worker = await house.worker(report_ms=FAST_MS)
    desk = house.desks[worker]
    report = desk._desk.report
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(progress, lines):
        begun.set()
        await go_on.wait()
        return await report(progress, lines)

    desk._desk.report = slow  # type: ignore[method-assign]  # slow before the store is reached
    await begun.wait()
    await gate.holds(1)
    gate.open()
    await gate.holds(0)
    await house.beat(worker)
    assert house.facts.of(RunsSettled) == []
    go_on.set()
    await house.settled(run_id)
    assert await texts(house, run_id) == ["before", "after"]


async def test_order_is_kept_across_reports(house: House, gate):
    async def speaks(context: Context) -> None:
        for one in range(300):
            context.line("stdout", "info", str(one))
            if one % 100 == 50:
                await report_of(one)

    async def report_of(one: int) -> None:
        seen = len(house.desks[worker].of("report"))
        await house.until(lambda: len(house.desks[worker].of("report")) > seen)

    await house.task(speaks)
    worker = await house.worker(report_ms=FAST_MS)
    run_id = await house.submit("speaks")
    await house.settled(run_id)
    assert await texts(house, run_id) == [str(one) for one in range(300)]
    assert len(house.desks[worker].of("report")) >= 3


@pytest.mark.parametrize("error", [Unavailable("down"), Unclear("lost"), Invalid("line", "bad"), RuntimeError("bug")])
async def test_a_failing_report_does_not_block_runs(house: House, error):
    await house.task(chatty)
    worker = await house.worker()
    house.desks[worker].errors["report"] = [error] * 2
    run_id = await house.submit("chatty", payload=b'{"number": 1500}')
    assert (await house.settled(run_id)).state is State.SUCCESS
    assert house.troubles("report") == [error] * (2 if isinstance(error, Invalid) else 1)


async def test_lines_that_could_not_be_written_go_first_the_next_time(house: House):
    await house.task(chatty)
    worker = await house.worker()
    house.desks[worker].errors["report"] = [Unavailable("down")]
    first = await house.submit("chatty", payload=b'{"number": 3, "name": "first"}')
    await house.settled(first)
    assert await lines(house, first) == []
    second = await house.submit("chatty", payload=b'{"number": 1, "name": "second"}')
    await house.settled(second)
    assert await texts(house, first) == ["first 0", "first 1", "first 2"]
    assert await texts(house, second) == ["second 0"]


async def test_lines_that_nobody_can_write_do_not_take_others_with_them(house: House, monkeypatch):
    monkeypatch.setattr(reporter, "BATCH", 10)
    await house.task(chatty)
    worker = await house.worker()
    house.desks[worker].errors["report"] = [Invalid("line", "bad")]
    run_id = await house.submit("chatty", payload=b'{"number": 25}')
    await house.settled(run_id)
    assert await texts(house, run_id) == [f"line {one}" for one in range(10, 25)]


async def test_a_flood_is_cut_and_said_to_be(house: House):
    await house.task(chatty)
    run_id = await house.submit("chatty", payload=b'{"number": 30000}')
    other = await house.submit("chatty", payload=b'{"number": 2, "name": "other"}')
    await house.worker()
    await house.all_settled([run_id, other])
    kept = await lines(house, run_id)
    assert len(kept) == LINES_LIMIT
    assert (kept[-1].level, kept[-1].text[:18]) == ("warning", "more than 10000 li")
    assert await texts(house, other) == ["other 0", "other 1"]


async def test_lines_that_wait_are_bounded(house: House, gate, monkeypatch):
    monkeypatch.setattr(reporter, "LINES_LIMIT", 100)

    async def speaks(context: Context) -> None:
        await chatty(context, 300)
        await gate()

    runs = [await house.begun(speaks)]
    worker = await house.worker()
    await gate.holds(1)
    gate.open()
    await house.all_settled(runs)
    assert len(await lines(house, runs[0])) == 100
    assert len(house.desks[worker].of("report")) == 1


async def test_a_long_line_is_cut(house: House):
    async def long(context: Context) -> None:
        context.line("stdout", "info", "x" * 100_000)
        context.line("stdout", "info", "\0 and \ud800")

    run_id = await house.begun(long)
    await house.worker()
    await house.settled(run_id)
    first, second = await texts(house, run_id)
    assert len(first) < LINE_LIMIT + 10
    assert first.endswith("cut")
    assert second == "\ufffd and ?"


async def test_start_and_progress_of_a_long_run_are_told(house: House, gate):
    second = house.gate()

    async def lengthy(context: Context) -> None:
        context.progress("half")
        await gate()
        context.progress("more")
        await second()

    run_id = await house.begun(lengthy)
    worker = await house.worker(report_ms=FAST_MS)
    reports = house.desks[worker].answers
    await house.until(lambda: reports["report"] == 1)
    run = await house.run(run_id)
    assert (run.state, run.progress) == (State.RUNNING, "half")
    assert run.started_at
    gate.open()
    await house.until(lambda: reports["report"] == 2)
    assert (await house.run(run_id)).progress == "more"
    second.open()
    ended = await house.settled(run_id)
    assert (ended.state, ended.started_at) == (State.SUCCESS, run.started_at)


async def test_news_that_could_not_be_told_are_told_again(house: House, gate):
    async def lengthy(context: Context) -> None:
        context.progress("half")
        await gate()

    run_id = await house.begun(lengthy)
    worker = await house.worker(report_ms=FAST_MS)
    desk = house.desks[worker]
    desk.errors["report"] = [Unavailable("down"), RuntimeError("a bug")]
    await house.until(lambda: desk.answers["report"])
    run = await house.run(run_id)
    assert (run.progress, bool(run.started_at)) == ("half", True)
    assert len(house.troubles("report")) == 2


async def test_a_zombie_says_nothing_in_the_log_of_its_successor(house: House, gate):
    """I8: the run was taken back and goes on elsewhere."""

    async def speaks(context: Context) -> None:
        context.line("stdout", "info", f"begun {context.attempt}")
        try:
            await gate()
        finally:
            context.line("stdout", "info", f"over {context.attempt}")

    run_id = await house.begun(speaks)
    worker = await house.worker(slots=1, report_ms=FAST_MS)
    await gate.holds(1)
    await house.until(lambda: house.desks[worker].answers["report"])
    await house.take_back(run_id)
    second = await house.worker(slots=1, report_ms=FAST_MS)
    await gate.holds(2)
    await house.beat(worker, 2)
    await gate.holds(1)
    gate.open()
    await house.settled(run_id, 2)
    assert await texts(house, run_id) == ["begun 1", "begun 2", "over 2"]
    assert second.running == 0


async def test_lines_of_any_stream_and_level_can_travel(house: House):
    """A desk refuses others, and the lines of all who are in the same report with them."""

    async def odd(context: Context) -> None:
        context.line("output", "l" * 50, "said")

    run_id = await house.begun(odd)
    await house.worker()
    await house.settled(run_id)
    (line,) = await lines(house, run_id)
    assert line.text == "said"
    assert wire.decode(wire.Report, wire.encode(wire.report((), (line._replace(run="0" * 32),)))).lines
