"""`Base`: the ways to one database, under the verbs that all SQL databases share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from rota.domain.errors import Incompatible
from rota.ports.store import Watch
from rota.stores.hub import Hub
from rota.stores.sql import schema
from rota.stores.sql.db import Db

T = TypeVar("T")


class Base(ABC):
    """One database. Its transactions raise what the port says, whatever the driver raised."""

    place: str
    """How it is named in messages, without a password."""
    shared: bool
    """See `rota.ports.store.Store`."""

    def __init__(self) -> None:
        self.hub = Hub()

    @abstractmethod
    async def open(self) -> None:
        """Allow calls."""

    @abstractmethod
    async def close(self) -> None:
        """Let calls under way end, and go; harmless twice."""

    @abstractmethod
    async def read(self, work: Callable[[Db], T], whole: bool = False, late: bool = False) -> T:
        """What `work` finds; if `whole`, at one instant, however many queries that takes; `late`: by a replica, too."""

    @abstractmethod
    async def write(self, work: Callable[[Db], T], hints: Mapping[str, int] = {}) -> T:
        """What `work` returns, once it is committed, durably; then hints are passed on."""

    @abstractmethod
    async def alter(self, work: Callable[[Db], T]) -> T:
        """As `write`, for the schema: however long it takes, and by one process at a time."""

    @abstractmethod
    def borrow(self, connection: Any) -> AbstractContextManager[Db]:
        """The transaction of a user's own connection; what raises in the block leaves it as it was.

        In a greenlet. Raises `Invalid` for a connection that has none, or that leads elsewhere.
        """

    @abstractmethod
    def post(self, db: Db, hints: Mapping[str, int]) -> None:
        """Have hints passed on by the commit of such a transaction, where a database does so."""

    @abstractmethod
    def now(self, db: Db) -> int:
        """The time by which terms lapse, the same for all who share the database."""

    @abstractmethod
    def listen(self, topics: Sequence[str]) -> None:
        """Begin to hear the hints of other processes; from any thread."""

    @abstractmethod
    async def diagnose(self) -> list[tuple[str, str]]:
        """Levels and findings for `rota doctor`. Raises `StoreError`."""

    async def prepare(self) -> list[str]:
        """Make or upgrade the tables; the revisions that were applied. An old database may be someone else's."""
        try:
            found = await self.read(lambda db: db.rows(schema.NEWEST))
        except Incompatible:
            found = []
        if found and found[0][0] == schema.REVISIONS[-1]:
            return []
        return await self.alter(partial(schema.prepare, place=self.place))

    def watch(self, topics: Sequence[str]) -> Watch:
        """A new ear."""
        self.listen(topics)
        return self.hub.watch(topics)
