"""The one place where the engine meets concrete stores and executors. It knows everything and decides nothing."""

import inspect
import logging
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rota.domain.errors import Invalid
from rota.domain.facts import Fact, Trouble
from rota.domain.names import check_name
from rota.domain.task import ALIASES
from rota.engine.control import check_slots
from rota.engine.engine import Engine
from rota.executors import by_kind, forms
from rota.executors.commands import ScriptExecutor, ShellExecutor
from rota.executors.custom import FunctionExecutor
from rota.executors.outgoing import Outgoing
from rota.executors.python import PythonExecutor
from rota.executors.samples import SAMPLES
from rota.observe.traces import active, traced
from rota.ports.desk import Desk
from rota.ports.executor import Executor, Handlers
from rota.ports.runtime import Emit
from rota.ports.store import Store
from rota.scheduler.dispatch import Deliver
from rota.scheduler.node import Scheduler
from rota.scheduler.options import Options as SchedulerOptions
from rota.stores import ENOUGH, ROOM, connect
from rota.worker.context import current
from rota.worker.desks import LocalDesk
from rota.worker.options import Options as WorkerOptions
from rota.worker.pulse import Listen
from rota.worker.runtime import Worker

if TYPE_CHECKING:
    from rota.api.door import Door
    from rota.api.limits import Rates
    from rota.api.push import Pusher
    from rota.identity import Identity
    from rota.worker.poster import Poster

T = TypeVar("T")

log = logging.getLogger("rota")

DATA = Path("rota-data")
DATABASE = "rota.db"
HERE = f"sqlite:///{DATA / DATABASE}"
SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock that counts sleep too; on macOS, which has no other, the monotonic one does."""
FORMS = forms.FORMS
"""What is checked of a task, by its kind."""


def default_store() -> str:
    """URL of the store where none is named: the environment's `ROTA_STORE`, else the database in `rota-data` here."""
    return os.environ.get("ROTA_STORE") or HERE


def made_in(folder: Path) -> str:
    """URL of the database in a folder, which is made for its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{folder / DATABASE}"


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        """Milliseconds that never go back, and that a suspended machine counts too."""
        return time.clock_gettime_ns(SINCE_BOOT) // 1_000_000


class SystemChance:
    """The operating system's randomness."""

    bits = staticmethod(secrets.randbits)
    fraction = staticmethod(random.random)  # jitter is no secret


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
    made: list[Executor] = [PythonExecutor(known, kinds.target)]
    if kinds.scripts_dir:
        folder = Path(kinds.scripts_dir)
        if not folder.is_dir():
            raise Invalid("scripts_dir", f"{folder} is not a folder; make it, or leave the option out")
        made.append(ScriptExecutor(folder.resolve()))
    if kinds.shell:
        made.append(ShellExecutor())
    if kinds.http:
        made.append(Outgoing("http", kinds.allow))
    if kinds.grpc:
        made.append(Outgoing("grpc", kinds.allow))
    found = by_kind([*made, *own.values()])
    return traced(found) if active() else found


def own_executor(kind: str, function: Callable[..., Any]) -> FunctionExecutor:
    """An executor made of a user's function(context, task) -> result. Raises `Invalid` for what is none."""
    if kind in ALIASES:  # no task would come to it
        raise Invalid("executor", f"{kind!r} is another word for {ALIASES[kind]}; give it a kind of its own")
    if not callable(function):
        raise Invalid("executor", f"{function!r:.60} is not a function")
    try:
        # What a decorator made is called as it says itself, not as the function within.
        inspect.signature(function, follow_wrapped=False).bind("context", "task")
    except TypeError as error:
        raise Invalid("executor", f"{function!r:.60} cannot be called with (context, task): {error}") from None
    except ValueError:
        pass  # built in, and tells no signature
    return FunctionExecutor(kind, function)


def listening(*emits: Emit) -> Emit:
    """Listeners that cannot harm what they listen to; with none given, troubles go to the log."""

    def tell(fact: Fact) -> None:
        try:
            for emit in emits:
                emit(fact)
            if not emits and isinstance(fact, Trouble):
                log.warning("%s: %s: %s", fact.where, type(fact.error).__name__, fact.error)
        except Exception:
            log.exception("a listener failed")

    return tell


async def open_engine(url: str, *emits: Emit) -> Engine:
    """An engine over the store at `url`; whoever opens it closes `engine.store`."""
    store = connect(url)
    await store.open()
    return Engine(store, SystemClock(), SystemChance(), listening(*emits), FORMS)


@asynccontextmanager
async def opened(url: str, *emits: Emit) -> AsyncIterator[Engine]:
    """An engine over the store at `url`, closed at the end."""
    engine = await open_engine(url, *emits)
    try:
        yield engine
    finally:
        await engine.store.close()


@asynccontextmanager
async def beside(url: str, engine: Engine) -> AsyncIterator[Engine]:
    """An engine for the loop of a pulse or leader, with connections of its own; a store in memory has but one."""
    if engine.store.shared:
        yield engine
        return
    async with opened(url, engine.tell) as another:
        yield another


async def inside(engine: Engine, connection: Any, verb: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
    """What a verb returns, done in the transaction of a user's own connection. Raises `Invalid` for a wrong one."""
    from rota.stores.sql.store import within

    return await within(engine.store, connection, lambda store: verb(engine.over(store)))


def make_worker(url: str, engine: Engine, made: Mapping[str, Executor], options: WorkerOptions) -> Worker:
    """A worker with a desk beside the store. Raises `Invalid` for slots or queues that it cannot have."""
    check_slots(options.slots)
    for queue in options.queues:
        check_name("queues", queue)

    @asynccontextmanager
    async def desk() -> AsyncIterator[tuple[Desk, Listen]]:
        async with beside(url, engine) as another:
            yield LocalDesk(another), another.store.watch

    runtime = (engine.clock, engine.chance, engine.emit)
    return Worker(LocalDesk(engine), engine.store.watch, desk, made, options, runtime)


def make_pusher(engine: Engine) -> "Pusher":
    """What posts runs to workers at a URL. Whoever makes it closes it."""
    from rota.api.push import Pusher

    def means() -> "tuple[Door, Poster]":
        from rota.worker.poster import Poster

        return make_door(engine), Poster(engine.clock, engine.chance)

    return Pusher(engine, means)


def make_scheduler(url: str, engine: Engine, options: SchedulerOptions, deliver: Deliver | None = None) -> Scheduler:
    """A scheduler node."""

    @asynccontextmanager
    async def store() -> AsyncIterator[Store]:
        async with beside(url, engine) as another:
            yield another.store

    return Scheduler(engine, store, fitted(url, options), deliver)


def fitted(url: str, options: SchedulerOptions) -> SchedulerOptions:
    """The options, with the number of ended runs that fits the store where they do not say one."""
    kept = options.retention
    most = ROOM.get(url.partition(":")[0], ENOUGH) if kept.runs is None else kept.runs
    return replace(options, retention=replace(kept, runs=most))


def make_door(engine: Engine, secret: bytes = b"", rates: "Rates | None" = None) -> "Door":
    """What lets people in. Without a secret, what it signs nobody else believes. Raises `Invalid` for a short one."""
    from rota.api.door import Door

    return Door(engine, locks(secret), rates)


def about_run() -> dict[str, str]:
    """What log lines say of the attempt that is under way."""
    if (context := current.get()) is None:
        return {}
    return {"run": context.run_id, "task": context.task, "attempt": str(context.attempt)}


def own_secret(url: str) -> bytes:
    """The secret where the settings have none, kept in a private file beside an SQLite database.

    Raises `Invalid` where there is no such place.
    """
    from rota.identity.files import signing_secret

    if file := database(url):
        return signing_secret(file.with_name("rota-secret"))
    if url.startswith("sqlite"):
        return os.urandom(32)  # a store in memory lives no longer than this
    remedy = "make one with `rota secrets key`, and give all nodes the same by ROTA_SECURITY__SECRET"
    raise Invalid("security.secret", f"is missing, and this store has no folder to keep one in; {remedy}")


def locks(secret: bytes = b"") -> "Identity":
    """What makes keys and hashes passwords; without a secret, what it signs nobody else believes."""
    from rota.identity import Identity

    return Identity(secret or os.urandom(32))


def in_memory(url: str) -> bool:
    """Whether a store is known to the process alone that opens it."""
    return url in ("sqlite://", "sqlite:///", "sqlite:///:memory:")


def database(url: str) -> Path | None:
    """The file of an SQLite store; None for others, and for those in memory."""
    scheme, _, rest = url.partition(":///")
    name = rest.partition("?")[0]
    return Path(name) if scheme.partition("+")[0] == "sqlite" and name not in ("", ":memory:") else None


def credentials_place(url: str = "") -> Path:
    """The private file of this machine's keys: beside an SQLite database, else in the user's configuration."""
    if file := database(url):
        return file.with_name("rota-credentials.json")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rota" / "credentials.json"


async def first_start(url: str, engine: Engine, server: str) -> str:
    """Where nobody is yet: make an admin, keep its key where the command line finds it; the link to log in by, once.

    `server`: the address, such as http://127.0.0.1:8080. Empty where there is somebody already.
    """
    from rota.engine.people import begin
    from rota.identity.files import keep_credential

    key, link = locks().mint("key"), locks().mint("link")
    if not await begin(engine, key, link):
        return ""
    keep_credential(credentials_place(url), server, key.text)
    return f"{server}/login#{link.text}"


def default_name() -> str:
    """A worker's or node's name where none was given: the host's."""
    return os.uname().nodename.split(".")[0] or "rota"
