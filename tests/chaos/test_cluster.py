import asyncio
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.chaos.cluster import Cluster


async def test_who_dies_young_is_known_to_be_gone(tmp_path: Path) -> None:
    """Its birth and its death are told in one breath."""
    cluster, told = Cluster(tmp_path, "sqlite://", 1), asyncio.StreamReader()
    nursery: Any = SimpleNamespace(stdin=BytesIO(), stdout=told)
    cluster._nursery = nursery
    told.feed_data(b'{"pid": 7, "name": "worker1"}\n{"pid": 7, "code": 1}\n')
    told.feed_eof()
    listening = asyncio.create_task(cluster._listen())
    child = await cluster.start("worker")
    await listening
    assert (child.role, child.code, child.gone.is_set(), cluster.living) == ("worker", 1, True, {})
