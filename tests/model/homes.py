"""Where the stores of an example live: a copy of a file with its tables made, so that an example begins at once."""

import asyncio
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

from rota.ports.store import Store
from rota.stores import connect
from rota.stores.sql.store import SqlStore
from tests.contract.places import UrlPlace, itself
from tests.services.etcd import Prefixes
from tests.services.postgresql import Databases
from tests.services.redis import Spaces


class FileHome:
    """A new file for each example. Its stores are closed only when the example is over."""

    def __init__(self, path: Path, make: Callable[[str], Store], wrap: Callable[[Store], Store]) -> None:
        self.path = path
        self.make = make
        self.wrap = wrap
        self.stores: list[Store] = []

    async def open(self) -> Store:
        store = self.make(f"sqlite:///{self.path}")
        self.stores.append(store)
        await store.open()
        return self.wrap(store)

    async def leave(self) -> None:
        for store in self.stores:
            await store.close()
        self.path.unlink()


class DatabaseHome:
    """A database with empty tables for each example."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self.url = ""
        self.stores: list[Store] = []

    async def open(self) -> Store:
        self.url = self.url or await self.databases.make()
        store = connect(self.url)
        self.stores.append(store)
        await store.open()
        return store

    async def leave(self) -> None:
        for store in self.stores:
            await store.close()
        await self.databases.take_back(self.url)


class SpaceHome(UrlPlace):
    """An empty place on a Redis or etcd server for each example."""

    def __init__(self, spaces: Spaces | Prefixes, wrap: Callable[[Store], Store] = itself) -> None:
        super().__init__(spaces.make(), wrap)
        self.spaces = spaces

    async def leave(self) -> None:
        await self.close()
        self.spaces.take_back(self.url)


def inline(url: str) -> Store:
    """A store that works in the caller's thread: thousands of calls are not worth as many changes of thread."""
    return SqlStore(url, inline=True)


class Homes:
    """Homes in one folder, one for each example."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.make: Callable[[str], Store] = inline
        self.wrap: Callable[[Store], Store] = itself
        self.numbers = count()
        asyncio.run(self._make())

    async def _make(self) -> None:
        store = connect(f"sqlite:///{self.folder}/empty.db")
        await store.open()
        await store.close()

    def another(self) -> FileHome:
        path = self.folder / f"{next(self.numbers)}.db"
        shutil.copy(self.folder / "empty.db", path)
        return FileHome(path, self.make, self.wrap)
