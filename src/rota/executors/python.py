"""`python`: registered functions of the app. Async ones on the loop, others in threads, on request in a child process.

A command is looked up in the handlers and nowhere else; nothing is ever imported by a name that came with a task.
"""

from rota.domain.run import Outcome
from rota.domain.task import Isolation
from rota.executors.calls import Calls
from rota.executors.outcomes import GRACE_MS, failure, having, no_handler
from rota.executors.pool import Pool
from rota.ports.desk import Assignment
from rota.ports.executor import Context, Handlers


class PythonExecutor(Calls):
    """Runs handlers."""

    kind = "python"

    def __init__(self, handlers: Handlers, app: str = "", grace_ms: int = GRACE_MS) -> None:
        """`app`: `module:attribute` whose object has `handlers`, for child processes; empty: no process isolation."""
        super().__init__(grace_ms)
        self._handlers = handlers
        self._pool = Pool(app, grace_ms) if app else None

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        run, task, payload, _ = assignment
        name = task.command or task.name
        handler = self._handlers.get(name)
        if handler is None:
            return no_handler(f"no handler {name!r} in its app{having(self._handlers)}")
        if self._pool and (task.isolation is Isolation.PROCESS or run.isolated):
            return await self._pool.run(assignment, context)
        if task.isolation is Isolation.PROCESS:
            text = (
                "isolation=process needs the app's import target, such as module:app, so that a child process finds "
                "the same handlers; start the worker with --app module:app"
            )
            return failure(text, final=True)
        return await self.call(handler, payload, context, thread=task.isolation is Isolation.THREAD)

    async def close(self) -> None:
        await super().close()
        if self._pool:
            await self._pool.close()
