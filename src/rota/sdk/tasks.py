"""A declared task: still the function it was, and the way to have it run elsewhere."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack

from rota.domain.durations import to_instant, to_limit_ms, to_ms
from rota.domain.errors import Invalid
from rota.domain.priority import priority
from rota.domain.retry import Retry
from rota.engine.submit import Order, Receipt
from rota.ports.loops import at_once
from rota.sdk.client import Client
from rota.sdk.handle import Handle
from rota.sdk.options import check_options
from rota.sdk.portal import Portal
from rota.sdk.registry import Declared, to_retry

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

CALLS = 'write tuples of positional or dicts of named arguments, as in [(1,), {"a": 1}]'


class RunOptions(TypedDict, total=False):
    """What one submission may say otherwise than its task. Times in seconds, as timedelta or as text (`90s`).

    None is the same as leaving the option out; only as `timeout` it means no limit.
    """

    delay: float | timedelta | str | None
    """Run it so much later."""
    at: datetime | None
    """Run it then; with a time zone."""
    queue: str | None
    priority: str | int | None
    retries: int | Retry | None
    timeout: float | timedelta | str | None
    key: str | None
    """Idempotency key: the same key and arguments again give the same run, for 24 hours."""
    connection: Any
    """Submit in the transaction that is under way on it: the run exists exactly if that commits."""
    unique: str | None
    """At most one run with this key that has not ended; a second submission gives the first one's run."""


class TaskFunction(Generic[P, T]):
    """What `@app.task` makes of a function. Calling it calls the function, here and now."""

    def __init__(
        self,
        declared: Declared,
        client: Callable[[], Coroutine[Any, Any, Client]],
        portal: Portal,
        options: RunOptions | None = None,
    ) -> None:
        self._declared = declared
        self.task, _, self.signature, _ = declared
        function: Callable[P, T] = self.signature.function
        self.function = function
        self.portal = portal
        self._client = client
        self._options: RunOptions = options or {}
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", self.task.name)
        self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"<Task {self.task.name}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.function(*args, **kwargs)

    def with_options(self, **options: Unpack[RunOptions]) -> "TaskFunction[P, T]":
        """The same task with other rules for the submissions made through what is returned."""
        check_options(options, RunOptions.__annotations__)
        merged: RunOptions = {**self._options, **options}
        return TaskFunction(self._declared, self._client, self.portal, merged)

    async def asubmit(self, /, *args: Any, **kwargs: Any) -> Handle:
        """Have it run by a worker. Raises `Invalid` where the arguments do not fit the function."""
        client = await self._client()
        order = self._order(client, self._payload(args, kwargs))
        receipt = await client.submit(order, self._options.get("connection"))
        return self._handle(receipt)

    async def asubmit_many(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[Handle]:
        """Have it run once for each tuple of positional, or mapping of named arguments.

        All are checked before the first is written; beyond 1,000 they are written in several commits.
        """
        client = await self._client()
        payloads = [self._placed(call, place) for place, call in enumerate(_listed(calls))]
        orders = [self._order(client, payload) for payload in payloads]
        receipts = await client.submit_many(orders, self._options.get("connection"))
        return [self._handle(receipt) for receipt in receipts]

    def submit(self, /, *args: Any, **kwargs: Any) -> Handle:
        """Have it run by a worker. Raises `Invalid` where the arguments do not fit the function."""
        return self._called(self.asubmit(*args, **kwargs))

    def submit_many(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[Handle]:
        """As `asubmit_many`."""
        return self._called(self.asubmit_many(calls))

    def _called(self, work: Coroutine[Any, Any, R]) -> R:
        """By the background loop; where it uses a connection of the caller's, in the caller's thread."""
        if self._options.get("connection") is None:
            return self.portal.call(work)
        with closing(work):
            self.portal.call(self._client())
            return at_once(work)

    def _payload(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Of one call; empty where the task's own is meant."""
        bare = self.task.payload and not args and not kwargs
        return b"" if bare else self.signature.encode_arguments(args, kwargs)

    def _placed(self, call: object, place: int) -> bytes:
        """The payload of one of many calls."""
        try:
            return self._payload(*_arguments(call))
        except Invalid as error:
            raise type(error)(error.field, f"{error.message}; in calls[{place}]") from None

    def _order(self, client: Client, payload: bytes) -> Order:
        order = Order(task=self.task.name, namespace=self.task.namespace, payload=payload)
        return _with(order, self._options, client.engine.clock.now()) if self._options else order

    def _handle(self, receipt: Receipt) -> Handle:
        return Handle(receipt.id, receipt.created, self._client, self.signature, self.portal)


def _listed(calls: object) -> Iterable[object]:
    if isinstance(calls, Iterable) and not isinstance(calls, str | bytes | Mapping):
        return calls
    raise Invalid("calls", f"{calls!r:.60} is no list of calls; {CALLS}")


def _arguments(call: object) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """By position and by name."""
    if isinstance(call, Mapping):
        return (), call
    if isinstance(call, tuple | list):
        return call, {}
    raise Invalid("calls", f"{call!r:.60} is no call; {CALLS}")


def _with(order: Order, options: RunOptions, now: int) -> Order:
    timeout = to_limit_ms(options["timeout"], "timeout") or 0 if "timeout" in options else None
    urgency, retries = options.get("priority"), options.get("retries")
    if retries is not None:
        to_retry(retries, "retries")
    return order._replace(
        due_at=_due(options, now),
        queue=options.get("queue"),
        priority=priority(urgency) if urgency is not None else None,
        retry=retries,
        timeout_ms=timeout,
        key=options.get("key"),
        unique=options.get("unique"),
    )


def _due(options: RunOptions, now: int) -> int | None:
    delay, at = options.get("delay"), options.get("at")
    if delay is not None:
        if at is not None:
            raise Invalid("delay", "says when, and so does at; give one of them")
        return now + to_ms(delay, "delay")
    return to_instant(at, "at") if at is not None else None
