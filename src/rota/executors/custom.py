"""The user's own executors: a word for a kind of task, and a function that does such tasks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rota.domain.run import Outcome, Run
from rota.executors.calls import Calls
from rota.executors.outcomes import GRACE_MS, from_json, to_json
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


class TaskHandler:
    """A handler whose function takes (context, task) and returns JSON."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        run, task, *_ = context.assignment
        return (context, TaskView(task.namespace, task.name, task.command, task.params, from_json(payload), run)), {}

    def encode(self, result: Any) -> bytes | None:
        return to_json(result)


class FunctionExecutor(Calls):
    """Does tasks of `kind` by `function(context, task)`: awaited if async, else called in a thread."""

    def __init__(self, kind: str, function: Callable[..., Any], grace_ms: int = GRACE_MS) -> None:
        super().__init__(grace_ms)
        self.kind = kind
        self.handler = TaskHandler(function)

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        return await self.call(self.handler, assignment.payload, context)
