"""The user's own executors: a word for a kind of task, and a function that does such tasks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rota.domain.run import Outcome, Run
from rota.executors.calls import ThreadCalls, is_async, on_loop
from rota.executors.outcomes import from_json, to_json
from rota.ports.desk import Assignment
from rota.ports.executor import Context


class TaskView(NamedTuple):
    """A task and the run at hand as the function of a custom executor sees them."""

    namespace: str
    name: str
    command: str
    params: Mapping[str, Any]
    payload: Any
    """The run's arguments, decoded."""
    run: Run

    @classmethod
    def of(cls, assignment: Assignment) -> "TaskView":
        """The view of an assignment. Raises `Invalid` for a payload that is not JSON."""
        run, task, payload, _ = assignment
        return cls(task.namespace, task.name, task.command, task.params, from_json(payload), run)


class TaskHandler:
    """A handler whose function takes (context, task)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (context, TaskView.of(context.assignment)), {}

    def encode(self, result: Any) -> bytes | None:
        return to_json(result)


class FunctionExecutor:
    """Does tasks of `kind` by `function(context, task)`: awaited if async, else called in a thread."""

    def __init__(self, kind: str, function: Callable[..., Any], grace_ms: int = 5_000) -> None:
        self.kind = kind
        self._handler = TaskHandler(function)
        self._async = is_async(function)
        self._threads = ThreadCalls(grace_ms)

    @property
    def abandoned(self) -> int:
        """Threads left behind after a cancel or timeout that still run."""
        return self._threads.abandoned

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        if self._async:
            return await on_loop(self._handler, assignment.payload, context)
        return await self._threads.run(self._handler, assignment.payload, context)

    async def close(self) -> None:
        self._threads.close()
