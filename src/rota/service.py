"""A service's own scheduler: equal processes on one store, each scheduler and worker, that their program starts and
closes. It speaks of definitions and instances where the rest of Rota says tasks and runs; see docs/embedding.md.
"""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rota.domain.durations import to_ms
from rota.domain.errors import Invalid, Refused
from rota.domain.names import check_name
from rota.domain.retry import Retry, check_retry
from rota.domain.run import TERMINAL, State
from rota.embed import Roles, Rota
from rota.engine.control import place_queue
from rota.engine.submit import Order
from rota.ports.executor import Context
from rota.sdk.handle import Handle
from rota.sdk.options import check_executor, check_options, module_name
from rota.sdk.portal import synchronous
from rota.sdk.registry import to_payload
from rota.sdk.schedules import to_trigger
from rota.settings import here
from rota.wiring import FORMS, Kinds

if TYPE_CHECKING:
    from rota.settings.load import Loaded
    from rota.settings.tree import Settings

Config = Mapping[str, Any] | str | Path | None
TYPES = ("http", "rpc", "local")
FIELDS = (
    "id", "name", "type", "cron_expression", "timeout", "retry_policy", "executor", "payload", "enabled",
    "created_at", "updated_at",
)  # fmt: skip
"""Of a definition. The last two are told by the store, and passed over here."""
SAID = {
    "name": "id",
    "description": "name",
    "expression": "cron_expression",
    "schedule": "cron_expression",
    "retries": "max_retries",
    "command": "executor",
}
"""What a field of a task is called in a definition."""
STATUSES = {State.SCHEDULED: "pending", State.BLOCKED: "pending", State.SKIPPED: "cancelled"}
"""The status of an instance by its run's state, where it has another name."""


class TaskExecutor(Protocol):
    """A way of doing tasks."""

    type: str
    """Its name: the `executor` of the definitions that are done by it."""
    protocol: str
    """`http`, `rpc` or `local`: the `type` of these definitions."""

    def execute(self, context: Context, task: Any) -> Any:
        """The result, JSON; or a coroutine of it. Raises anything for a failure, which is retried by the policy."""


def new(config: "Config | Settings" = None, *, pod: str = "", name: str = "", version: str = "") -> "Service":
    """A service by a configuration: a dict of sections, a file's path, settings, or None for those of this folder.

    `pod` names this process, by its host if not given; `name` and `version` are of the program, as `Rota`'s are.
    Raises `Invalid` that says all that is wrong.
    """
    return Service(config, pod, name, version, sys._getframe(1).f_globals.get("__name__", ""))


class Service(Rota):
    """An app that is started and closed. Define what it does before it starts."""

    def __init__(self, config: "Config | Settings", pod: str, name: str, version: str, module: str) -> None:
        super().__init__(
            name=name or module_name(module or "__main__"), version=version, kinds=Kinds(http=True, grpc=True)
        )
        self._module, self.node = module, check_name("pod", pod) if pod else self.node
        self._protocols: dict[str, str] = {}
        self.registry.forms = FORMS
        if found := _loaded(config):
            self.configure(found)

    def _begin(self) -> None:
        super()._begin()
        self._life = AsyncExitStack()
        self.roles: Roles | None = None
        """What it does at the moment; None: it is not started."""

    def register(self, executor: TaskExecutor) -> None:
        """Make definitions be done by an executor, before the start. Raises `Invalid`, `Refused` after it."""
        check_executor(executor, "type", "protocol", "execute")
        if self.roles is not None:
            raise Refused(f"executor {executor.type!r:.60} is too late: register it before the start")
        if executor.protocol not in TYPES:
            raise Invalid("protocol", f"{executor.protocol!r:.60} is none of {', '.join(TYPES)}")
        self.executor(executor.type)(executor.execute)
        self._protocols[executor.type] = executor.protocol

    def define(self, definition: Mapping[str, Any]) -> None:
        """Make known what has these FIELDS. Raises `Invalid`; nothing is defined then."""
        if not isinstance(definition, Mapping):
            raise Invalid("definition", f"{definition!r:.60} is no dict of fields and values")
        check_options(definition, FIELDS)
        name = definition.get("id") or definition.get("name")
        if name is None:
            raise Invalid("id", "is missing")
        if any(name == known for known in self.registry.declared):
            raise Invalid("id", f"{name!r} is defined already")
        try:
            self.registry.declare(_any, **self._options(name, definition))
        except Invalid as error:
            raise Invalid(SAID.get(error.field, error.field), f"{error.message}; in definition {name!r:.80}") from None

    def _options(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """What the declaration of its task says. Raises `Invalid`."""
        kind, executor = definition.get("type", "local"), definition.get("executor") or ""
        if kind not in TYPES:
            raise Invalid("type", f"{kind!r:.60} is none of {', '.join(TYPES)}")
        own = self._protocols.get(str(executor), "local" if kind == "local" else "")
        if own and own != kind:
            raise Invalid("type", f"is {kind!r}, but executor {executor!r} is registered for {own!r}")
        options: dict[str, Any] = {"name": name, "executor": executor or name}
        if not own:
            options |= {"executor": kind, "command": executor}
        if "id" in definition and "name" in definition:
            options["description"] = definition["name"]
        if "timeout" in definition:
            options["timeout"] = definition["timeout"]
        if definition.get("retry_policy") is not None:
            options["retries"] = self._retry(definition["retry_policy"])
        if definition.get("payload") is not None:
            options["payload"] = definition["payload"]
        if not isinstance(enabled := definition.get("enabled", True), bool):
            raise Invalid("enabled", f"{enabled!r:.60} is neither True nor False")
        if cron := definition.get("cron_expression"):
            to_trigger(cron, {})
            options |= {"schedule": cron} if enabled else {}
        return options

    def _retry(self, said: object) -> Retry:
        """A policy, by the configuration where it says nothing."""
        if not isinstance(said, Mapping):
            raise Invalid("retry_policy", f"{said!r:.60} is no dict of max_retries, delay and backoff_rate")
        known = self.registry.defaults.policy
        check_options(said, ("max_retries", "delay", "backoff_rate"))
        retries, rate = said.get("max_retries", known.retries), said.get("backoff_rate", known.rate)
        delay_ms = to_ms(said["delay"], "delay") if "delay" in said else known.delay_ms
        return check_retry(Retry(retries=retries, delay_ms=delay_ms, rate=rate))

    @asynccontextmanager
    async def running(self, *, worker: bool = True, **options: Any) -> AsyncIterator[Roles]:
        """As of any app. Raises `Invalid` where it is to work, and nobody registered the executor of a definition."""
        self._check_executors(worker)
        async with super().running(worker=worker, **options) as roles:
            yield roles

    def _check_executors(self, worker: bool) -> None:
        # Now, not as it is defined: executors may be registered after that, and who only schedules needs none.
        for name, made in self.registry.declared.items() if worker else ():
            task = made.task
            if made.signature.function is _any and task.executor not in {"http", "grpc", *self._own}:
                known = ", ".join(self._own) or "none"
                problem = f"{task.executor!r} is registered by nobody, known are: {known}; in definition {name!r:.80}"
                raise Invalid("executor", problem)

    async def astart(self, *, scheduler: bool = True, worker: bool = True) -> None:
        """Connect, and schedule and work in the background from now on. Harmless twice. Raises as `running`."""
        if self.roles is None:
            self._check_executors(worker)
            await self.aopen()
            place = self.registry.namespace, "default", "least_load"
            await place_queue(self.engine, *place, f"service:{self.node}", first=True)
            self.roles = await self._life.enter_async_context(self.running(scheduler=scheduler, worker=worker))

    async def aclose(self) -> None:
        """Let what runs finish for a while, hand the rest back, leave. Harmless twice."""
        self.roles = None
        await self._life.aclose()
        await super().aclose()

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """As of any app: `FastAPI(lifespan=service.lifespan)`."""
        self._check_executors(True)
        async with self:
            await self.astart()
            yield

    async def asubmit(self, definition: str, payload: Any = None) -> Handle:
        """Have an instance of a definition run now, with a payload of its own if one is given."""
        data = b"" if payload is None else to_payload(payload, "payload")
        order = Order(definition, self.registry.namespace, data)
        return self.handle((await (await self.aclient()).submit(order)).id)

    async def ainstance(self, run_id: str) -> dict[str, Any]:
        """An instance as it is now. Raises `NotFound`."""
        from rota.api.views import instant  # programs that do not ask need not wait for it

        client = await self.aclient()
        run = await client.run(run_id)
        over, done, data = run.state in TERMINAL, run.state is State.SUCCESS, await client.result(run)
        message = str(run.state) if done else run.error or run.reason
        result = {"code": int(not done), "message": message, "data": json.loads(data) if data else None}
        return {
            "id": run.id,
            "definition_id": run.task,
            "status": STATUSES.get(run.state, str(run.state)),
            "worker": run.session or run.worker,
            **instant("scheduled_at", run.created_at if run.nominal_at is None else run.nominal_at),
            **instant("started_at", run.started_at),
            **instant("ended_at", run.ended_at),
            "retry_count": max(run.tries - over, 0),
            "result": result if over else None,
            "error": run.error,
        }

    start = synchronous(astart)
    submit = synchronous(asubmit)
    instance = synchronous(ainstance)


def _any(**_: Any) -> None:
    """What stands for a definition's executor: it takes any object."""


def _loaded(config: Any) -> "Loaded | None":
    from rota.settings.load import Loaded, load
    from rota.settings.tree import Settings

    if config is None:
        return here()
    if isinstance(config, Mapping):
        return load(config)
    if isinstance(config, Settings):
        return Loaded(config, {}, None, "", {})
    if isinstance(config, str | Path):
        return load(Path(config))
    forms = "a dict of sections, a file's path, settings that were loaded, or nothing"
    raise Invalid("config", f"{config!r:.60} is no configuration; write {forms}")
