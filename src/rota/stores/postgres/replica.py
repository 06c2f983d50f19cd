"""Reads from a replica, for people who look, as long as it keeps up with its primary."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from rota.domain.errors import StoreError
from rota.stores.postgres.borrow import IDENTITY
from rota.stores.postgres.pool import Mode, Pool
from rota.stores.sql.db import Db

T = TypeVar("T")

LATE_S = 10.0
"""How far it may be behind. A leader commits every few seconds, so there is always something to be on time with."""
REST_S = 5.0
"""How long one that was late, or gave no answer, is not asked again."""
PATIENCE_S = 2.0
"""How long to wait for it before the primary is asked."""
LOOK = Mode("BEGIN READ ONLY", PATIENCE_S, writes=False)
STATE = f"""{IDENTITY.rstrip()}, pg_is_in_recovery()
    AND clock_timestamp() - pg_last_xact_replay_timestamp() < make_interval(secs => $2::float)
"""


class Replica:
    """One replica, or several of which the first that answers is asked."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._rests_until = 0.0

    async def read(self, mode: Mode, work: Callable[[Db], T], tables: tuple[str, tuple[int, ...]]) -> tuple[T] | None:
        """What `work` finds there, if it has these tables and keeps up; None: ask the primary."""
        if time.monotonic() >= self._rests_until:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):  # with all that the look takes, and whoever looks before
                    on_time = await self.keeps_up(tables)
                if on_time:
                    return (await self.pool.do(mode, work),)
            self._rests_until = time.monotonic() + REST_S
        return None

    async def keeps_up(self, tables: tuple[str, tuple[int, ...]]) -> bool:
        """Whether it is a replica of these tables that is not far behind. Raises `StoreError`."""
        schema, identity = tables
        ((*found, on_time),) = await self.pool.do(LOOK, lambda db: db.rows(STATE, (schema, LATE_S)))
        return tuple(found) == identity and bool(on_time)
