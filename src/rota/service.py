"""A service's own scheduler: equal processes on one store, each scheduler and worker, that their program starts and
closes. It speaks of definitions and instances where the rest of Rota says tasks and runs; see docs/embedding.md.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rota.domain.errors import Invalid, Refused
from rota.domain.retry import Retry, check_retry
from rota.domain.run import TERMINAL, State
from rota.domain.task import ALIASES
from rota.embed import Roles, Rota
from rota.engine.control import place_queue
from rota.engine.submit import Order
from rota.ports.executor import Context
from rota.sdk.duration import to_ms
from rota.sdk.handle import Handle
from rota.sdk.options import check_options, module_name
from rota.sdk.portal import synchronous
from rota.sdk.registry import to_payload
from rota.settings import here
from rota.wiring import FORMS, Kinds, default_name

if TYPE_CHECKING:
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
        ...


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
        self._module, self.pod = module, pod or default_name()
        self._protocols: dict[str, str] = {}
        self.registry.forms = FORMS
        self._life = AsyncExitStack()
        self.roles: Roles | None = None
        """What it does at the moment; None: it is not started."""
        if found := _loaded(config):
            self.configure(found)

    def register(self, executor: TaskExecutor) -> None:
        """Make definitions be done by an executor, before the start. Raises `Invalid`, `Refused` after it."""
        if self.roles is not None:
            raise Refused(f"executor {executor.type!r:.60} is too late: register it before the start")
        if executor.protocol not in TYPES:
            raise Invalid("protocol", f"{executor.protocol!r:.60} is none of {', '.join(TYPES)}")
        self.executor(executor.type)(executor.execute)
        self._protocols[executor.type] = executor.protocol

    def define(self, definition: Mapping[str, Any]) -> None:
        """Make known what has these FIELDS. Raises `Invalid`; nothing is defined then."""
        check_options(definition, FIELDS)
        kind, executor = definition.get("type", "local"), definition.get("executor", "")
        name = definition.get("id") or definition.get("name")
        if name is None:
            raise Invalid("id", "is missing")
        if any(name == known for known in self.registry.declared):
            raise Invalid("id", f"{name!r} is defined already")
        if kind not in TYPES:
            raise Invalid("type", f"{kind!r:.60} is none of {', '.join(TYPES)}")
        own = self._protocols.get(executor, "local" if kind == "local" else "")
        if own and own != kind:
            raise Invalid("type", f"is {kind!r}, but executor {executor!r} is registered for {own!r}")
        options: dict[str, Any] = {"name": name, "executor": executor or name}
        if not own:
            options |= {"executor": ALIASES.get(kind, kind), "command": executor}
        if "id" in definition and "name" in definition:
            options["description"] = definition["name"]
        if "timeout" in definition:
            options["timeout"] = definition["timeout"]
        if "retry_policy" in definition:
            options["retries"] = self._retry(definition["retry_policy"])
        if definition.get("payload") is not None:
            options["payload"] = definition["payload"]
        if definition.get("cron_expression") and definition.get("enabled", True):
            options["schedule"] = definition["cron_expression"]
        try:
            self.registry.declare(_any, **options)
        except Invalid as error:
            raise Invalid(SAID.get(error.field, error.field), f"{error.message}; in definition {name!r:.80}") from None

    def _retry(self, said: Mapping[str, Any]) -> Retry:
        """A policy, by the configuration where it says nothing."""
        known = self.registry.defaults.policy
        check_options(said, ("max_retries", "delay", "backoff_rate"))
        retries, rate = said.get("max_retries", known.retries), said.get("backoff_rate", known.rate)
        delay_ms = to_ms(said["delay"], "delay") if "delay" in said else known.delay_ms
        return check_retry(Retry(retries=retries, delay_ms=delay_ms, rate=rate))

    async def astart(self, *, scheduler: bool = True, worker: bool = True) -> None:
        """Connect, and schedule and work in the background from now on. Harmless twice."""
        if self.roles is None:
            await self.aopen()
            place = self.registry.namespace, "default", "least_load"
            await place_queue(self.engine, *place, f"service:{self.pod}", first=True)
            leading, working = self.scheduler_options(self.pod), self.worker_options(self.pod)
            running = self.running(
                scheduler=scheduler, worker=worker, scheduler_options=leading, worker_options=working
            )
            self.roles = await self._life.enter_async_context(running)

    async def aclose(self) -> None:
        """Let what runs finish for a while, hand the rest back, leave. Harmless twice."""
        self.roles = None
        await self._life.aclose()
        await super().aclose()

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


def _loaded(config: "Config | Settings") -> Any:
    from rota.settings.load import Loaded, load

    if config is None:
        return here()
    if isinstance(config, Mapping):
        return load(config)
    return load(Path(config)) if isinstance(config, str | Path) else Loaded(config, {}, None, "", {})
