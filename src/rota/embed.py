"""The app: tasks declared in code, and the roles that a program can take on."""

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from rota.domain.errors import Invalid, RotaError
from rota.domain.facts import Fact, Trouble
from rota.engine.define import register
from rota.engine.engine import Engine
from rota.ports.executor import Executor, Handlers
from rota.ports.runtime import Emit
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options as SchedulerOptions
from rota.sdk.client import Client
from rota.sdk.handle import Handle
from rota.sdk.options import module_name
from rota.sdk.portal import Portal, synchronous
from rota.sdk.registry import TaskOptions, TaskRegistry
from rota.sdk.tasks import TaskFunction
from rota.wiring import Kinds, default_name, executors, make_scheduler, make_worker, open_engine, own_executor
from rota.worker.options import Options as WorkerOptions
from rota.worker.runtime import Worker

P = ParamSpec("P")
T = TypeVar("T")

OPENING_S = 0.01
"""How often a loop looks whether another one has opened the app."""


class Rota:
    """An app: its store, its tasks, its executors.

    `name` (the module's, if not given) and `version` say whose code registers the tasks: an older version never
    overwrites a newer one, and schedules that are gone from the code of an app of this name are paused. One app may
    submit only, or also schedule and work (`running`, `serve`, `lifespan`).
    """

    def __init__(
        self,
        store: str = "sqlite:///rota.db",
        *,
        name: str = "",
        version: str = "",
        namespace: str = "main",
        kinds: Kinds | None = None,
        emit: Emit | None = None,
    ) -> None:
        self.store = store
        self._module = sys._getframe(1).f_globals.get("__name__", "")
        self.name = name or module_name(self._module or "__main__")
        self.portal = Portal()
        self.registry = TaskRegistry(namespace, self.name, version)
        self.kinds = kinds or Kinds()
        self._emit = emit
        self._own: dict[str, Executor] = {}
        self._engine: Engine | None = None
        self._client: Client | None = None
        self._opening = threading.Lock()
        self._known = 0

    @property
    def handlers(self) -> Handlers:
        """Functions by task name, for workers and their child processes."""
        return self.registry.handlers

    async def aclient(self) -> Client:
        """What submits and waits; opens the app where that has not happened."""
        await self.aopen()
        return self.client

    @property
    def client(self) -> Client:
        """What submits and waits. Raises `RotaError` while the app is not open."""
        if self._client is None:
            raise RotaError("the app is not open; use `async with app:` or `app.open()` first")
        return self._client

    @property
    def engine(self) -> Engine:
        """The engine over the app's store. Raises `RotaError` while the app is not open."""
        return self.client.engine

    @overload
    def task(self, function: Callable[P, T], /) -> TaskFunction[P, T]: ...

    @overload
    def task(self, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, T]], TaskFunction[P, T]]: ...

    def task(self, *functions: Any, **options: Any) -> Any:
        """Declare a task: `@app.task` or `@app.task(schedule="0 2 * * *", retries=3, …)`. Raises `Invalid`."""

        def declare(declared: Callable[P, T]) -> TaskFunction[P, T]:
            made = self.registry.declare(declared, **options)
            return TaskFunction(declared, made.task, made.signature, self.aclient, self.portal)

        return declare(*functions) if functions else declare

    def executor(self, kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function(context, task) -> result, sync or async, as the executor of a task type."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            if kind in self._own:
                raise Invalid("executor", f"{kind!r} is registered twice")
            self._own[kind] = own_executor(kind, function)
            return function

        return add

    def use(self, executor: Executor) -> None:
        """Register an executor object, see `rota.ports.executor`."""
        self._own[executor.kind] = executor

    async def aopen(self) -> None:
        """Connect, and make the declared tasks and schedules known. Harmless twice, and from several loops at once.

        Tasks declared later are made known by the next submission, or the next call.
        """
        while self._client is None or self._known != len(self.registry.declared):
            if self._opening.acquire(blocking=False):
                try:
                    await self._connect()
                finally:
                    self._opening.release()
            else:
                await asyncio.sleep(OPENING_S)

    async def _connect(self) -> None:
        engine = self._engine or await open_engine(self.store, self._emit)
        tasks = self.registry.tasks
        try:
            await register(engine, self.name, tasks, self.registry.schedules)
        except BaseException:
            if self._engine is None:
                await engine.store.close()
            raise
        self._known = len(tasks)
        if self._client is None:
            self._engine, self._client = engine, Client(engine, f"app:{self.name}")

    async def settle_in(self) -> None:
        """Before it takes on a role: what this program declares is all that its app has, other schedules are gone.

        A program that only submits may know a part of the tasks, and says nothing of the others.
        """
        await register(self.engine, self.name, self.registry.tasks, self.registry.schedules, whole=True)

    async def aclose(self) -> None:
        """Disconnect. Harmless twice."""
        engine, self._engine, self._client = self._engine, None, None
        if engine:
            await engine.store.close()

    open = synchronous(aopen)

    def close(self) -> None:
        """Disconnect and end the background loop. Harmless twice."""
        self.portal.call(self.aclose())
        self.portal.close()

    async def __aenter__(self) -> "Rota":
        await self.aopen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
        self.portal.close()

    def handle(self, run_id: str) -> Handle:
        """A run by its id, for a program that did not submit it."""
        return Handle(run_id, False, self.client, None, self.portal)

    @asynccontextmanager
    async def running(
        self,
        *,
        scheduler: bool = True,
        worker: bool = True,
        slots: int = 10,
        queues: Sequence[str] = ("default",),
        worker_options: WorkerOptions | None = None,
        scheduler_options: SchedulerOptions | None = None,
    ) -> AsyncIterator["Roles"]:
        """Schedule and work inside this program while the block lasts; at its end what runs is drained."""
        async with AsyncExitStack() as stack:
            if self._client is None:
                await stack.enter_async_context(self)
            roles = Roles(self, self.engine)
            stack.push_async_callback(roles.stop)
            if scheduler:
                await roles.start_scheduler(scheduler_options or SchedulerOptions(name=default_name()))
            if worker:
                options = worker_options or WorkerOptions(
                    name=default_name(),
                    namespaces=(self.registry.namespace,),
                    queues=tuple(queues),
                    slots=slots,
                )
                await roles.start_worker(options)
            yield roles

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """For FastAPI and Starlette: `FastAPI(lifespan=app.lifespan)`."""
        async with self.running():
            yield

    def serve(self, **options: Any) -> None:
        """Schedule and work until SIGINT or SIGTERM; takes what `running` takes.

        Raises `RotaError` where the worker had to end by itself.
        """
        if failed := asyncio.run(self._serve(options)):
            raise RotaError(failed)

    async def _serve(self, options: Mapping[str, Any]) -> str:
        async with self.running(**options) as roles:
            return await roles.until_stopped()

    def executors(self) -> Mapping[str, Executor]:
        """The executors of this app's workers."""
        return executors(self.handlers, replace(self.kinds, target=self.target), self._own)

    def listen(self, emit: Emit) -> None:
        """One more listener of facts, before the app is opened; it is told first."""
        before = self._emit

        def both(fact: Fact) -> None:
            emit(fact)
            if before:
                before(fact)

        self._emit = both

    @property
    def target(self) -> str:
        """`module:attribute` where a child process finds this app; empty where none can."""
        if self.kinds.target or self._module in ("", "__main__"):
            return self.kinds.target
        module = vars(sys.modules[self._module])
        return next((f"{self._module}:{name}" for name, value in module.items() if value is self), "")


class Roles:
    """The roles that a program has taken on, and their end."""

    def __init__(self, app: Rota, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self.worker: Worker | None = None
        self.scheduler: Scheduler | None = None

    async def start_scheduler(self, options: SchedulerOptions) -> None:
        """Become a scheduler node."""
        await self._app.settle_in()
        self.scheduler = make_scheduler(self._app.store, self._engine, options)
        self._stops.append(self.scheduler.stop)
        await self.scheduler.start()

    async def start_worker(self, options: WorkerOptions) -> None:
        """Become a worker."""
        await self._app.settle_in()
        made = self._app.executors()
        self.worker = make_worker(self._app.store, self._engine, made, options)
        self._stops += [executor.close for executor in made.values()]
        self._stops.append(self.worker.stop)
        await self.worker.start()

    async def stop(self) -> None:
        """End the roles, last begun first, each whatever becomes of the others; harmless twice."""
        while self._stops:
            try:
                await self._stops.pop()()
            except Exception as error:
                self._engine.tell(Trouble("stop", error))

    async def until_stopped(self) -> str:
        """Until SIGINT or SIGTERM, or until the worker ends by itself; then why, empty for a signal or a drain."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked.set)
        waits = [asyncio.create_task(asked.wait())]
        if self.worker:
            waits.append(asyncio.create_task(self.worker.ended.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # the next one ends the program as usual
        return self.worker.failed if self.worker else ""
