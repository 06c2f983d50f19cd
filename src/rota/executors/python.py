"""`python`: registered functions of the app. Async ones on the loop, others in threads, on request in a child process.

A command is looked up in the handlers and nowhere else; nothing is ever imported by a name that came with a task.
"""

from dataclasses import dataclass

from rota.domain.run import Outcome
from rota.domain.task import Isolation
from rota.executors.calls import ThreadCalls, is_async, on_loop
from rota.executors.outcomes import failure, no_handler
from rota.executors.pool import Pool, PoolOptions
from rota.ports.desk import Assignment
from rota.ports.executor import Context, Handler, Handlers


@dataclass(frozen=True, slots=True)
class PythonOptions:
    """How a `PythonExecutor` works."""

    grace_ms: int = 5_000
    """From the request to stop until force."""
    app: str = ""
    """`module:attribute` whose object has `handlers`, for child processes. Empty: no process isolation."""
    spare: int = 2
    """Idle children kept for the next attempt."""


class PythonExecutor:
    """Runs handlers. `abandoned` counts threads still running that nobody waits for."""

    kind = "python"

    def __init__(self, handlers: Handlers, options: PythonOptions = PythonOptions()) -> None:
        self._handlers = handlers
        self._async: dict[str, tuple[Handler, bool]] = {}
        self._threads = ThreadCalls(options.grace_ms)
        children = PoolOptions(options.app, options.grace_ms, options.spare)
        self._pool = Pool(children) if options.app else None

    @property
    def abandoned(self) -> int:
        """Threads left behind after a cancel or timeout that still run."""
        return self._threads.abandoned

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        run, task, payload, _ = assignment
        name = task.command or task.name
        handler = self._handlers.get(name)
        if handler is None:
            return no_handler(f"no handler {name!r} in this worker's app: deploy its code, or register the name")
        isolation = task.isolation
        if isolation is Isolation.PROCESS or run.isolated:
            if self._pool is not None:
                return await self._pool.run(assignment, context)
            if isolation is Isolation.PROCESS:
                return failure(NO_APP, final=True)
        if isolation is not Isolation.THREAD and self._is_async(name, handler):
            return await on_loop(handler, payload, context)
        return await self._threads.run(handler, payload, context)

    async def close(self) -> None:
        self._threads.close()
        if self._pool is not None:
            await self._pool.close()

    def _is_async(self, name: str, handler: Handler) -> bool:
        known = self._async.get(name)
        if known is None or known[0] is not handler:
            known = self._async[name] = (handler, is_async(handler.function))
        return known[1]


NO_APP = (
    "isolation=process needs the app's import target, such as module:app, so that a child process finds the same "
    "handlers; start the worker with --app module:app"
)
