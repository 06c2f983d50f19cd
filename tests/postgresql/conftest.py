import asyncio
from collections.abc import Iterator

import pytest

from tests.services.fixtures import needed
from tests.services.postgresql import Server, do
from tests.unit.stores.test_postgresql import asked


class Pair:
    """A primary and its replica."""

    def __init__(self) -> None:
        self.primary = Server()
        self.primary.start()
        self.replica = Server(primary=self.primary)
        self.replica.start()
        self.url = f"{self.primary.url}?replica=127.0.0.1:{self.replica.port}"

    async def caught_up(self) -> None:
        """Until the replica has what the primary has now."""
        ((here,),) = await asked(self.primary.url, "SELECT pg_current_wal_lsn()")
        async with asyncio.timeout(30):
            while not (await asked(self.replica.url, "SELECT pg_last_wal_replay_lsn() >= $1", here))[0][0]:
                pass

    async def pause(self) -> None:
        await self.caught_up()
        await do(self.replica.url, "SELECT pg_wal_replay_pause()")

    async def resume(self) -> None:
        await do(self.replica.url, "SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    made = needed(Pair)
    yield made
    made.replica.remove()
    made.primary.remove()
