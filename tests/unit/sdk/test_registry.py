import functools
import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from rota import Rota
from rota.domain.errors import Invalid
from rota.domain.priority import Priority
from rota.domain.retry import Retry
from rota.domain.task import Clocks, Isolation, OnLost, Owner, Task
from rota.sdk.registry import TaskRegistry


def greet(name: str = "you") -> str:
    """Says hello.

    More than once.
    """
    return f"hello {name}"


def silent(): ...


class Jobs:
    @staticmethod
    def sweep(): ...


def declare(function: Callable[..., Any] = greet, **options: Any) -> Task:
    return TaskRegistry().declare(function, **options).task


def test_a_bare_declaration_takes_the_defaults():
    assert declare() == Task(
        namespace="main",
        name=f"{__name__}.greet",
        command=f"{__name__}.greet",
        executor="python",
        owner=Owner.CODE,
        description="Says hello.",
    )


def test_every_option_reaches_its_field():
    task = TaskRegistry("shop", "store", "1.2").declare(
        greet,
        name="hello",
        description="Greets",
        queue="mail",
        priority="high",
        retries=5,
        timeout="90s",
        total_timeout=timedelta(hours=1),
        queue_timeout=30,
        silence_timeout=None,
        on_lost="fail",
        isolation="process",
        requires=["gpu", "eu", "gpu"],
    )
    assert task.task == Task(
        namespace="shop",
        name="hello",
        command="hello",
        description="Greets",
        queue="mail",
        priority=Priority.HIGH,
        retry=Retry(retries=5),
        clocks=Clocks(attempt_ms=90_000, total_ms=3_600_000, queue_ms=30_000, silence_ms=None),
        on_lost=OnLost.FAIL,
        isolation=Isolation.PROCESS,
        requires=("eu", "gpu"),
        owner=Owner.CODE,
        app="store",
        version="1.2",
    )


def test_values_of_the_domain_are_taken_as_they_are():
    retry = Retry(retries=9, delay_ms=1)
    task = declare(retries=retry, priority=Priority.LOW, on_lost=OnLost.FAIL, requires="gpu", timeout=None)
    assert (task.retry, task.priority, task.on_lost, task.requires) == (retry, Priority.LOW, OnLost.FAIL, ("gpu",))
    assert task.clocks.attempt_ms is None


def test_the_registry_hands_out_what_engine_and_worker_need():
    registry = TaskRegistry()
    one = registry.declare(greet, name="one", schedule=["@daily", "@hourly"])
    two = registry.declare(silent, name="two")
    assert registry.tasks == [one.task, two.task]
    assert registry.schedules == [*one.schedules]
    assert dict(registry.handlers) == {"one": one.signature, "two": two.signature}
    assert dict(registry.declared) == {"one": one, "two": two}
    assert registry.handlers["one"].function is greet


def test_registries_know_nothing_of_each_other():
    assert declare() == declare()


# Names


def test_names_come_from_module_and_function():
    def local(): ...

    assert declare(local).name == f"{__name__}.local"
    assert declare(Jobs.sweep).name == f"{__name__}.Jobs.sweep"


def test_what_a_program_declares_is_called_as_if_the_program_were_imported(monkeypatch: pytest.MonkeyPatch):
    def program(): ...

    program.__module__ = "__main__"
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__="/some/where/shop.py", __spec__=None))
    assert declare(program).name == "shop.program"


@pytest.mark.parametrize("function", [lambda: 1, functools.partial(greet, "me")])
def test_a_function_without_a_name_needs_one(function):
    with pytest.raises(Invalid, match=r"^name: .* give it one by name="):
        declare(function)
    assert declare(function, name="given").name == "given"


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "a\0", "größe", "x" * 129, None, 5])
def test_bad_names_are_refused(name):
    with pytest.raises(Invalid, match=r"^name: .* is not a name"):
        declare(name=name)


def test_a_name_is_taken_once():
    registry = TaskRegistry()
    registry.declare(greet, name="one")
    with pytest.raises(Invalid, match=r"^name: task 'one' is declared already, at .*test_registry.py:\d+;"):
        registry.declare(silent, name="one")
    assert registry.handlers["one"].function is greet


# Options


def test_an_unknown_option_is_told_the_nearest():
    with pytest.raises(Invalid, match=r"^piority: there is no such option; did you mean 'priority'\?"):
        declare(piority="high")
    with pytest.raises(Invalid, match=r"^x: there is no such option; known are .*timezone, .*requires"):
        declare(x=1)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("priority", "higher", "is none of low"),
        ("priority", 4, "is none of low"),
        ("retries", -1, "neither a whole number from 0 on nor a Retry"),
        ("retries", True, "neither a whole number"),
        ("retries", 2.5, "neither a whole number"),
        ("retries", None, "neither a whole number"),
        ("timeout", "soon", "is not a length of time"),
        ("timeout", 0, "None means no limit"),
        ("total_timeout", -1, "is not between 0 and ten years"),
        ("on_lost", "rety", "is none of retry, fail"),
        ("isolation", "container", "is none of auto, thread, process"),
        ("requires", ["a b"], "is not a name"),
        ("requires", [1], "is not a name"),
        ("requires", 5, "no label"),
        ("requires", list("abcdefg"), "at most 6"),
        ("queue", "a/b", "is not a name"),
        ("description", "a\0", "NUL"),
        ("description", 5, "text is wanted"),
    ],
)
def test_a_wrong_value_names_its_option(option, value, problem):
    registry = TaskRegistry()
    options: Any = {option: value}
    with pytest.raises(Invalid) as caught:
        registry.declare(greet, **options)
    assert caught.value.field == option
    assert problem in caught.value.message
    assert not registry.declared


def test_what_has_no_signature_is_no_task():
    with pytest.raises(Invalid, match=r"^function: "):
        declare(Jobs, name="jobs")


def test_a_registry_needs_a_namespace_that_is_a_name():
    with pytest.raises(Invalid, match=r"^namespace: "):
        TaskRegistry("a b")


class TestOtherExecutors:
    def test_the_function_only_types_the_payload(self):
        def tidy(folder: str) -> None: ...

        made = registry().declare(tidy, name="tidy", executor="shell", command='rm -r "$ROTA_ARG_FOLDER"')
        assert (made.task.executor, made.task.command) == ("shell", 'rm -r "$ROTA_ARG_FOLDER"')
        assert made.task.retry.retries == 0, "half a command done twice may do harm"
        assert made.signature.encode_arguments((), {"folder": "old"}) == b'{"folder":"old"}'

    def test_its_handler_is_not_offered_to_python(self):
        made = registry()
        made.declare(greet, name="hello", executor="http", command="https://example.org", params={"method": "PUT"})
        assert not made.handlers
        assert made.tasks[0].params == {"method": "PUT"}

    def test_an_executor_may_be_called_by_its_other_word(self):
        made = registry()
        assert made.declare(greet, name="hello", executor="local").task.executor == "python"
        assert list(made.handlers) == ["hello"], "a worker of the app has the function"
        call = "rpc.example:9000/greeter.Greeter/Hello"
        assert made.declare(greet, name="far", executor="rpc", command=call).task.executor == "grpc"

    def test_a_function_that_is_called_as_a_file_is_no_script(self):
        made = registry()
        assert made.declare(greet, name="greet.py").task.executor == "python"
        assert list(made.handlers) == ["greet.py"]

    def test_a_command_belongs_to_another_executor_and_that_one_needs_it(self):
        for options in (
            {"command": "x"},
            {"executor": "shell"},
            {"executor": "rpc"},
            {"executor": "http", "command": ""},
        ):
            with pytest.raises(Invalid, match=r"^command: "):
                registry().declare(greet, name="hello", **options)  # type: ignore[arg-type]  # a mapping of options

    @pytest.mark.parametrize("params", [None, 5, ["a"], {"a": object()}, {"a": b"x"}, {"a": "x" * 300_000}])
    def test_its_settings_are_json(self, params):
        with pytest.raises(Invalid, match=r"^params: "):
            registry().declare(greet, name="hello", executor="http", command="https://example.org", params=params)

    def test_one_of_the_users_own_may_do_without(self):
        made = registry().declare(greet, name="hello", executor="count_words", params={"file": "a.txt"})
        assert (made.task.executor, made.task.command) == ("count_words", "")


def registry() -> TaskRegistry:
    return TaskRegistry()


@pytest.mark.parametrize("kind", ["a b", "", 5, print])
def test_an_executor_has_a_name(kind):
    with pytest.raises(Invalid, match=r"^executor: .* is not a name"):
        Rota("sqlite://").executor(kind)


@pytest.mark.parametrize(("kind", "means"), [("local", "python"), ("rpc", "grpc")])
def test_an_executor_is_not_called_by_another_word_for_ours_as_no_task_would_come_to_it(kind, means):
    with pytest.raises(Invalid, match=rf"^executor: '{kind}' is another word for {means}"):
        Rota("sqlite://").executor(kind)(print)


def test_an_executor_is_a_function():
    with pytest.raises(Invalid, match=r"^executor: 5 is not a function"):
        Rota("sqlite://").executor("count")(5)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda context: 1, lambda context, task, more: 1, lambda a, b, *, c: 1]
)
def test_an_executor_takes_context_and_task(function):
    with pytest.raises(Invalid, match=r"^executor: .* cannot be called with \(context, task\): "):
        Rota("sqlite://").executor("count")(function)


@pytest.mark.parametrize("function", [lambda *_: 1, lambda context, task, more=1: 1, dict.get, max])
def test_an_executor_that_can_take_both_is_accepted(function):
    app = Rota("sqlite://")
    app.executor("count")(function)
    assert "count" in app.executors()


def test_an_executor_in_a_decorator_takes_what_that_takes():
    def connected(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def inner(*args: object) -> int:
            return function(*args, "connection")

        return inner

    Rota("sqlite://").executor("count")(connected(lambda context, task, connection: 1))
