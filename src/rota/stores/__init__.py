"""Stores: they compare and set, they never decide. One is chosen by the scheme of its URL."""

from rota.domain.errors import Invalid
from rota.domain.names import without_password
from rota.ports.store import Store

CHOICES = {
    "sqlite": "sqlite:///rota.db",
    "postgresql": "postgresql://user:password@host/database",
    "redis": "redis://user:password@host:6379/0",
    "rediss": "rediss://user:password@host:6379/0",
    "etcd": "etcd://user:password@host:2379,host2:2379/prefix",
    "etcds": "etcds://user:password@host:2379,host2:2379/prefix",
}
"""A URL for each scheme there is."""

ROOM = {"redis": 200_000, "rediss": 200_000, "etcd": 100_000, "etcds": 100_000}
"""By scheme: how many ended runs are kept where nobody says it; others keep ENOUGH."""
ENOUGH = 10_000_000


def connect(url: str) -> Store:
    """The store that a URL names, not yet open. Raises `Invalid` that names the choices."""
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss"):
        from rota.stores.redis.store import RedisStore

        return RedisStore(url)
    if scheme in ("etcd", "etcds"):
        from rota.stores.etcd.store import EtcdStore

        return EtcdStore(url)
    if scheme in CHOICES:
        from rota.stores.sql.store import SqlStore

        return SqlStore(url)
    shown = without_password(url)
    raise Invalid("store", f"{shown!r} names no store; write a URL such as {', '.join(CHOICES.values())}")


async def migrate(url: str) -> list[str]:
    """Make or upgrade the tables behind a URL; the revisions that were applied, none where all was up to date."""
    from rota.stores.sql.store import SqlStore

    store = connect(url)
    if isinstance(store, SqlStore):
        return await store.migrate()
    await store.open()
    await store.close()
    return []
