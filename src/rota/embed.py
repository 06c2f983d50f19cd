"""The app: tasks declared in code, and the roles that a program can take on."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from operator import methodcaller
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload
from weakref import WeakSet

from rota import wiring
from rota.domain.errors import Invalid, RotaError
from rota.domain.facts import Trouble
from rota.domain.names import check_name, without_password
from rota.engine.control import resize
from rota.engine.define import register
from rota.engine.engine import Engine
from rota.observe import traces
from rota.ports.executor import IMPORTING, Executor, Handlers
from rota.ports.runtime import Emit
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options as SchedulerOptions
from rota.sdk.client import Client
from rota.sdk.handle import Handle
from rota.sdk.options import check_executor, module_name
from rota.sdk.portal import Portal, synchronous
from rota.sdk.registry import TaskOptions, TaskRegistry
from rota.sdk.tasks import TaskFunction
from rota.settings import here, set_level
from rota.wiring import DATA, HERE, Kinds, default_name, default_store, made_in
from rota.worker.options import Options as WorkerOptions
from rota.worker.runtime import Worker
from rota.worker.stopping import DRAINED, Haste, until_stopped

if TYPE_CHECKING:
    from rota.settings.load import Loaded
    from rota.settings.tree import Settings

P = ParamSpec("P")
T = TypeVar("T")

OPENING_S = 0.01
"""How often a loop looks whether another one has opened the app."""


class Rota:
    """An app: its store, its tasks, its executors.

    `store` is a URL; if not given, the environment's `ROTA_STORE`, else the database that `rota up` keeps in
    `rota-data` below the current folder. After a fork the child begins anew: it connects by itself.
    `name` (the module's, if not given) and `version` say whose code registers the tasks: an older version never
    overwrites a newer one, and schedules that are gone from the code of an app of this name are paused. One app may
    submit only, or also schedule and work (`running`, `serve`, `lifespan`).
    `config` is a file of settings; if not given, the one of ROTA_CONFIG or of the current folder, see `rota.settings`.
    """

    def __init__(
        self,
        store: str = "",
        *,
        name: str = "",
        version: str = "",
        namespace: str = "main",
        kinds: Kinds | None = None,
        emit: Emit | None = None,
        config: str | Path = "",
    ) -> None:
        if not isinstance(store, str):
            raise Invalid("store", f"{store!r:.60} is no URL; write one such as {HERE}, or leave it out")
        self.store = store or default_store()
        self.names_store = bool(store)
        """Whether the code says where."""
        self._module = sys._getframe(1).f_globals.get("__name__", "")
        self.name = name or module_name(self._module or "__main__")
        self.node = default_name()
        """What its scheduler and worker are called."""
        self.portal = Portal()
        self.registry = TaskRegistry(namespace, self.name, version)
        self.kinds = kinds or Kinds()
        self._emits = [emit] if emit else []
        self.loaded: Loaded | None = None
        self._config = Path(config) if config else None
        self._own: dict[str, Executor] = {}
        self._begin()
        _apps.add(self)

    def _begin(self) -> None:
        """Not open yet. In the child of a fork what the parent opened is not ours to use, nor to close."""
        self._engine: Engine | None = None
        self._client: Client | None = None
        self._opening = threading.Lock()
        self._known = 0
        self.portal.forget()

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
            return TaskFunction(self.registry.declare(declared, **options), self.aclient, self.portal)

        return declare(*functions) if functions else declare

    def executor(self, kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function(context, task) -> result, sync or async, as the executor of a task type.

        It is the handler of that name, too: a `python` task whose command is that type is done by it.
        """
        if check_name("executor", kind) in self._own:
            raise Invalid("executor", f"{kind!r} is registered twice")

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            made = self._own[kind] = wiring.own_executor(kind, function)
            self.registry.provide(kind, made.handler)
            return function

        return add

    def use(self, executor: Executor) -> None:
        """Register an executor object, see `rota.ports.executor`. Raises `Invalid` for what is none."""
        check_executor(executor, "kind", "run", "close")
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
        if IMPORTING.get():
            raise RotaError(
                "a child process imports this program; what it does goes below `if __name__ == '__main__':`"
            )
        if self.loaded is None and (found := here(self._config)):
            self.configure(found)
        if self.store == HERE:
            made_in(DATA)
        engine = self._engine or await wiring.open_engine(self.store, *self._emits)
        engine.defaults = self.registry.defaults
        tasks = self.registry.tasks
        try:
            await register(engine, self.name, tasks, self.registry.schedules)
        except BaseException:
            if self._engine is None:
                await engine.store.close()
            raise
        self._known = len(tasks)
        if self._client is None:
            # What a command finds by itself: the store of settings that it finds, too, else its default.
            usual = self.loaded.settings.store if self.loaded and self.loaded.lead == "" else default_store()
            lead = "" if self.store == usual else f" --store {quote(without_password(self.store))}"
            self._engine, self._client = engine, Client(engine, f"app:{self.name}", wiring.inside, lead)

    def configure(self, loaded: "Loaded") -> None:
        """Obey these settings; what they do not say stays as the code says it. Before the app is opened."""
        found, self.loaded = loaded.settings, loaded
        self.store = self.store if self.names_store else found.store or self.store
        self.kinds = found.kinds(self.kinds)
        self.registry.defaults = found.defaults()
        if "observability.log_level" in loaded.origins:
            set_level(found)
        if found.observability.tracing_enabled:
            traces.start(found.observability.otlp_endpoint)

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
        return Handle(run_id, False, self.aclient, None, self.portal)

    @asynccontextmanager
    async def running(
        self,
        *,
        scheduler: bool = True,
        worker: bool = True,
        slots: int | None = None,
        queues: Sequence[str] | None = None,
        worker_options: WorkerOptions | None = None,
        scheduler_options: SchedulerOptions | None = None,
    ) -> AsyncIterator["Roles"]:
        """Schedule and work inside this program while the block lasts; at its end what runs is drained."""
        async with AsyncExitStack() as stack:
            if self._client is None:
                await stack.enter_async_context(self)
            if scheduler or worker:
                # What it declares is all that its app has; a program that only submits may know a part of the tasks.
                await register(self.engine, self.name, self.registry.tasks, self.registry.schedules, whole=True)
            roles = Roles(self, self.engine)
            stack.push_async_callback(roles.stop)
            if scheduler:
                await roles.start_scheduler(scheduler_options or self.scheduler_options())
                if self.loaded and (broker := self.loaded.settings.message_queue.address):
                    from rota.wiring.elsewhere import desk_behind

                    await stack.enter_async_context(desk_behind(broker, self.engine))
            if worker:
                await roles.start_worker(worker_options or self.worker_options(slots, queues))
            if self.loaded and self.loaded.path:
                from rota.settings.follow import following

                await stack.enter_async_context(following(self.loaded, roles.adjust))
            yield roles

    def worker_options(self, slots: int | None = None, queues: Sequence[str] | None = None) -> WorkerOptions:
        """What its worker is told, by the settings where this is not said."""
        who = self.node, (self.registry.namespace,)
        said = self.loaded.settings.worker_options(*who) if self.loaded else WorkerOptions(*who)
        names = (queues,) if isinstance(queues, str) else queues or said.queues
        return replace(said, slots=said.slots if slots is None else slots, queues=tuple(names))

    def scheduler_options(self) -> SchedulerOptions:
        """What its scheduler is told."""
        return self.loaded.settings.scheduler_options(self.node) if self.loaded else SchedulerOptions(self.node)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """For FastAPI and Starlette: `FastAPI(lifespan=app.lifespan)`."""
        async with self.running():
            yield

    def serve(self, **options: Any) -> None:
        """Schedule and work until SIGINT or SIGTERM, and say so on standard error; takes what `running` takes.

        Raises `RotaError` where the worker had to end by itself, `SystemExit` where a second signal ended what ran.
        """
        failed, haste = asyncio.run(self._serve(options))
        haste.over()
        if failed:
            raise RotaError(failed)
        if haste.asked:
            sys.exit(130)

    async def _serve(self, options: Mapping[str, Any]) -> tuple[str, Haste]:
        say = partial(print, "rota:", file=sys.stderr, flush=True)  # a worker puts its own stream in its place
        async with self.running(**options) as roles:
            others = partial(say, DRAINED) if roles.scheduler else None
            stopped = asyncio.create_task(until_stopped(roles.worker, others))
            await asyncio.sleep(0)  # it listens before it says how to stop it
            counts = f"tasks: {len(self.registry.tasks)}, schedules: {len(self.registry.schedules)}"
            say(f"{self.name} works on {without_password(self.store)}, in {os.getcwd()}; {counts}; Ctrl-C stops it")
            look = self.client.look("list")
            say(f"{look} shows its runs" if look else "all that it keeps is in memory, and ends with this program")
            failed, haste = await stopped, Haste(roles.worker, say)
            if haste.running:
                say(f"{haste.running} running, they may finish; Ctrl-C again ends them at once")
        haste.leave(130 if haste.asked else bool(failed))
        return failed, haste

    def executors(self) -> Mapping[str, Executor]:
        """The executors of this app's workers."""
        return wiring.executors(self.handlers, replace(self.kinds, target=self.target), self._own)

    def listen(self, emit: Emit) -> None:
        """One more listener of facts, before the app is opened; it is told first."""
        self._emits.insert(0, emit)

    @property
    def target(self) -> str:
        """`module:attribute` where a child process finds this app; empty where none can."""
        names = vars(sys.modules[self._module]) if self._module else {}
        if self.kinds.target or not (names.get("__spec__") or names.get("__file__")):
            return self.kinds.target
        module = module_name(self._module)
        return next((f"{module}:{name}" for name, value in names.items() if value is self), "")


_apps: WeakSet[Rota] = WeakSet()
os.register_at_fork(after_in_child=lambda: list(map(methodcaller("_begin"), _apps)))


class Roles:
    """The roles that a program has taken on, and their end."""

    def __init__(self, app: Rota, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self.listeners: list[Callable[[Settings], None]] = []
        self.worker: Worker | None = None
        self.scheduler: Scheduler | None = None

    async def start_scheduler(self, options: SchedulerOptions) -> None:
        """Become a scheduler node."""
        pusher = wiring.make_pusher(self._engine)
        self.scheduler = wiring.make_scheduler(self._app.store, self._engine, options, pusher)
        self._stops += [pusher.close, self.scheduler.stop]
        await self.scheduler.start()

    async def start_worker(self, options: WorkerOptions) -> None:
        """Become a worker."""
        made = self._app.executors()
        self.worker = wiring.make_worker(self._app.store, self._engine, made, options)
        # A scheduler ends before: it must fire nothing that the worker, as it drains, takes no more.
        self._stops[:0] = [*(executor.close for executor in made.values()), self.worker.stop]
        await self.worker.start()

    async def adjust(self, settings: "Settings", changed: Set[str]) -> None:
        """Take over the changed ones of the settings, as far as they can change alive."""
        if "observability.log_level" in changed:
            set_level(settings)
        for take_over in self.listeners:
            take_over(settings)
        if self.scheduler and any(key.startswith(("schedule.", "retention.")) for key in changed):
            await self.scheduler.adjust(wiring.fitted(self._app.store, settings.scheduler_options(self._app.node)))
        if self.worker and not self.worker.ended.is_set():
            self.worker.scan_ms = settings.schedule.scan_interval
            if "worker.max_concurrent_tasks" in changed:
                await resize(self._engine, self.worker.session, settings.worker.max_concurrent_tasks, "settings")

    async def stop(self) -> None:
        """End the roles, the scheduler first; harmless twice. Who is cancelled meanwhile hurries, and waits for it."""
        ending = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            if self.worker:
                self.worker.hurry()
            await asyncio.wait([ending])
            raise

    async def _end(self) -> None:
        """Each whatever becomes of the others."""
        while self._stops:
            try:
                await self._stops.pop()()
            except Exception as error:
                self._engine.tell(Trouble("stop", error))
