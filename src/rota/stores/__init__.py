"""Stores: they compare and set, they never decide. One is chosen by the scheme of its URL."""

from rota.domain.errors import Invalid
from rota.ports.store import Store

SCHEMES = ("sqlite",)


def connect(url: str) -> Store:
    """The store that a URL names, not yet open. Raises `Invalid` that names the choices."""
    if _scheme(url) == "sqlite":
        from rota.stores.sql.store import SqlStore

        return SqlStore(url)
    raise Invalid("store", f"{url!r} is no store; write one of {', '.join(f'{name}:…' for name in SCHEMES)}")


async def migrate(url: str) -> list[str]:
    """Make or upgrade the tables behind a URL; the revisions that were applied, none where all was up to date."""
    from rota.stores.sql.store import SqlStore

    store = connect(url)
    return await store.migrate() if isinstance(store, SqlStore) else []


def _scheme(url: str) -> str:
    return url.partition(":")[0]
