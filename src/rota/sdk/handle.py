"""A submitted run in the hands of the program that submitted it."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from rota.domain.durations import to_ms
from rota.domain.errors import RunFailed
from rota.domain.run import Run, State
from rota.sdk.client import Client
from rota.sdk.portal import Portal, synchronous
from rota.sdk.signature import Signature


class Handle:
    """Wait for a run, read its result, cancel it. Methods beginning with `a` are for async programs."""

    def __init__(
        self,
        run_id: str,
        created: bool,
        client: Callable[[], Awaitable[Client]],
        signature: Signature | None,
        portal: Portal,
    ) -> None:
        self.id = run_id
        """The run's id."""
        self.created = created
        """False where a unique or idempotency key led to an earlier run."""
        self.portal = portal
        self._client = client
        self._signature = signature

    async def arun(self) -> Run:
        """The run's record as it is now."""
        return await (await self._client()).run(self.id)

    async def astate(self) -> State:
        """The run's state now."""
        return (await self.arun()).state

    async def aresult(self, timeout: float | timedelta | str | None = None) -> Any:
        """The task's result once the run has ended, converted by the function's return type where that is known.

        Raises `RunFailed` where it ended without success, `TimeoutError` after `timeout` (seconds, a timedelta or text
        such as `90s`; None: no limit).
        """
        seconds = None if timeout is None else to_ms(timeout, "timeout") / 1_000
        client = await self._client()
        run = await client.ended(self.id, seconds)
        if run.state is not State.SUCCESS:
            raise RunFailed(run.id, run.state, run.reason, run.error)
        data = await client.result(run)
        if self._signature is None:
            return json.loads(data) if data is not None else None
        return self._signature.decode_result(data)

    async def acancel(self) -> str:
        """`cancelled`: no attempt will ever start; `cancelling`: its worker is told."""
        return await (await self._client()).cancel(self.id)

    run = synchronous(arun)
    state = synchronous(astate)
    result = synchronous(aresult)
    cancel = synchronous(acancel)

    def __repr__(self) -> str:
        return f"<Handle of run {self.id}>"
