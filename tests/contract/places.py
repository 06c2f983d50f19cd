from collections.abc import Callable

from rota.ports.store import Store
from rota.stores import connect


def itself(store: Store) -> Store:
    return store


class UrlPlace:
    """A place by its URL; every store on it may be wrapped, and all are closed in the end."""

    def __init__(self, url: str, wrap: Callable[[Store], Store] = itself) -> None:
        self.url = url
        self.wrap = wrap
        self.stores: list[Store] = []

    async def open(self) -> Store:
        store = connect(self.url)
        self.stores.append(store)
        await store.open()
        return self.wrap(store)

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
