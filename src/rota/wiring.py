"""The one place where the engine meets concrete stores and executors. It knows everything and decides nothing."""

import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rota.domain.errors import Invalid
from rota.domain.facts import Fact, Trouble
from rota.engine.engine import Engine
from rota.executors import by_kind
from rota.executors.custom import FunctionExecutor
from rota.executors.grpc import GrpcExecutor, GrpcOptions
from rota.executors.http import HttpExecutor, HttpOptions
from rota.executors.python import PythonExecutor, PythonOptions
from rota.executors.samples import SAMPLES
from rota.executors.script import ScriptExecutor
from rota.executors.shell import ShellExecutor
from rota.ports.desk import Desk
from rota.ports.executor import Executor, Handlers
from rota.ports.runtime import Emit
from rota.ports.store import Store
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options as SchedulerOptions
from rota.stores import connect
from rota.worker.desks import LocalDesk
from rota.worker.options import Options as WorkerOptions
from rota.worker.pulse import Listen
from rota.worker.runtime import Worker

log = logging.getLogger("rota")


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        """Milliseconds that never go back, and that a suspended machine counts too."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SystemChance:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def bits(self, count: int) -> int:
        """`count` random bits."""
        return self._source.getrandbits(count)

    def fraction(self) -> float:
        """From [0, 1)."""
        return random.random()  # jitter is no secret


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which executors a worker is started with, beside `python`."""

    scripts_dir: str = ""
    """Folder of the `script` executor; empty: none."""
    shell: bool = False
    http: bool = False
    grpc: bool = False
    allow: tuple[str, ...] = ()
    """Networks and hosts that `http` and `grpc` may reach although they are not public."""
    target: str = ""
    """`module:attribute` of the app, for child processes."""
    samples: bool = False
    """Whether `python` knows the sample handlers too, where the app has none of their names."""


def executors(handlers: Handlers, kinds: Kinds, own: Mapping[str, Executor]) -> Mapping[str, Executor]:
    """The executors of a worker, by kind. Raises `Invalid` for a scripts folder that does not exist."""
    known = {**SAMPLES, **handlers} if kinds.samples else handlers
    made: list[Executor] = [PythonExecutor(known, PythonOptions(app=kinds.target))]
    if kinds.scripts_dir:
        folder = Path(kinds.scripts_dir)
        if not folder.is_dir():
            raise Invalid("scripts_dir", f"{folder} is not a folder; make it, or leave the option out")
        made.append(ScriptExecutor(folder.resolve()))
    if kinds.shell:
        made.append(ShellExecutor())
    if kinds.http:
        made.append(HttpExecutor(HttpOptions(allow=kinds.allow)))
    if kinds.grpc:
        made.append(GrpcExecutor(GrpcOptions(allow=kinds.allow)))
    return by_kind([*made, *own.values()])


def own_executor(kind: str, function: Callable[..., Any]) -> Executor:
    """An executor made of a user's function(context, task) -> result."""
    return FunctionExecutor(kind, function)


def engine_over(store: Store, emit: Emit | None = None) -> Engine:
    """An engine over an open store."""
    return Engine(store, store.logs, SystemClock(), SystemChance(), listening(emit))


def listening(emit: Emit | None) -> Emit:
    """A listener that cannot harm what it listens to; with none given, troubles go to the log."""

    def tell(fact: Fact) -> None:
        try:
            if emit:
                emit(fact)
            elif isinstance(fact, Trouble):
                log.warning("%s: %s: %s", fact.where, type(fact.error).__name__, fact.error)
        except Exception:
            log.exception("a listener failed")

    return tell


async def open_engine(url: str, emit: Emit | None = None) -> Engine:
    """An engine over the store at `url`; whoever opens it closes `engine.store`."""
    store = connect(url)
    await store.open()
    return engine_over(store, emit)


@asynccontextmanager
async def opened(url: str, emit: Emit | None = None) -> AsyncIterator[Engine]:
    """An engine over the store at `url`, closed at the end."""
    engine = await open_engine(url, emit)
    try:
        yield engine
    finally:
        await engine.store.close()


class Beside:
    """Connections of their own for the pulse and the leader; a store in memory is shared, it has but one."""

    def __init__(self, url: str, engine: Engine) -> None:
        self._url = url
        self._engine = engine

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine for another loop."""
        if self._engine.store.shared:
            yield self._engine
            return
        async with opened(self._url, self._engine.emit) as engine:
            yield engine

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """A store for another loop."""
        async with self.engine() as engine:
            yield engine.store

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[tuple[Desk, Listen]]:
        """A desk for another loop."""
        async with self.engine() as engine:
            yield LocalDesk(engine), engine.store.watch


def make_worker(url: str, engine: Engine, made: Mapping[str, Executor], options: WorkerOptions) -> Worker:
    """A worker with a desk beside the store."""
    runtime = (engine.clock, engine.chance, engine.emit)
    return Worker(LocalDesk(engine), engine.store.watch, Beside(url, engine).desk, made, options, runtime)


def make_scheduler(url: str, engine: Engine, options: SchedulerOptions) -> Scheduler:
    """A scheduler node."""
    return Scheduler(engine, Beside(url, engine).store, options)


def default_name() -> str:
    """A worker's or node's name where none was given: the host's."""
    return os.uname().nodename.split(".")[0] or "rota"
