"""What a call may look like, and what is said of one that does not fit."""

from typing import Any

import pytest

from rota import Invalid, Rota, RunFailed, TaskFunction
from rota.domain.errors import TooLarge
from rota.domain.records import VALUE_LIMIT


@pytest.fixture
async def app():
    async with Rota("sqlite://", name="submitting") as made:
        yield made


def echo(self: int, args: int, kwargs: int, context: int = 0, options: int = 0) -> list[int]:
    return [self, args, kwargs, context, options]


async def test_parameters_may_have_any_name(app: Rota):
    task = app.task(echo)
    said = {"self": 1, "args": 2, "kwargs": 3, "context": 4, "options": 5}
    async with app.running(scheduler=False):
        handles = [await task.asubmit(**said), *await task.asubmit_many([said])]
        assert [await one.aresult(20) for one in handles] == [[1, 2, 3, 4, 5]] * 2
    assert task(**said) == [1, 2, 3, 4, 5]


def test_they_may_in_a_program_without_a_loop():
    app = Rota("sqlite://", name="submitting")
    assert app.task(echo).submit(self=1, args=2, kwargs=3).state() == "pending"
    app.close()


def add(a: int, b: str = "") -> None: ...


@pytest.mark.parametrize(
    ("call", "kind", "problem"),
    [
        (("one",), Invalid, "a: should be a valid integer; got 'one'; in calls[1]"),
        ({}, Invalid, "a: is missing and has no default; in calls[1]"),
        ((1, "x" * VALUE_LIMIT), TooLarge, "pass a reference, such as a path or key; in calls[1]"),
        (
            None,
            Invalid,
            'as in [(1,), {"a": 1}]; in calls[1]',
        ),
    ],
)
async def test_of_many_calls_the_wrong_one_is_named(app: Rota, call: Any, kind, problem):
    with pytest.raises(kind) as caught:
        await app.task(add).asubmit_many([(1,), call, {"a": "three"}])
    assert str(caught.value).endswith(problem)


async def test_an_option_is_of_all_calls(app: Rota):
    with pytest.raises(Invalid, match=r"^delay: .* a number of seconds$"):
        await app.task(add).with_options(delay="soon").asubmit_many([(1,)])


def test_what_a_declaration_makes_has_a_name(app: Rota):
    task: TaskFunction[[int, str], None] = app.task(add)
    assert isinstance(task, TaskFunction)


async def test_a_submission_without_arguments_takes_those_of_its_task(app: Rota):
    task = app.task(payload={"self": 1, "args": 2, "kwargs": 3})(echo)
    async with app.running(scheduler=False):
        bare, whole = await task.asubmit(), await task.asubmit(4, 5, 6)
        assert [await one.aresult(20) for one in (bare, whole)] == [[1, 2, 3, 0, 0], [4, 5, 6, 0, 0]]
    with pytest.raises(Invalid, match=r"^args: is missing"):
        await task.asubmit(1)


async def test_runs_that_wait_meet_the_code_of_their_worker(tmp_path):
    def before(a: int, gone: int = 0) -> int:
        return a + gone

    def after(a: int, new: int = 10) -> int:
        return a + new

    url = f"sqlite:///{tmp_path / 'rota.db'}"
    async with Rota(url, name="changes", version="1") as old:
        task = old.task(name="task")(before)
        bare, gone = await task.asubmit(1), await task.asubmit(1, gone=1)
    new = Rota(url, name="changes", version="2")
    new.task(name="task")(after)
    async with new.running(scheduler=False):
        assert await new.handle(bare.id).aresult(20) == 11
        with pytest.raises(RunFailed, match="gone: there is no such parameter") as caught:
            await new.handle(gone.id).aresult(20)
    assert caught.value.reason == "bad_payload"


async def test_the_result_of_an_executor_is_plain_where_its_function_says_nothing_of_it(app: Rota):
    app.executor("answers")(lambda context, task: {"status": 200})

    def silent() -> None: ...

    task = app.task(executor="answers")(silent)
    async with app.running(scheduler=False):
        assert await (await task.asubmit()).aresult(20) == {"status": 200}
