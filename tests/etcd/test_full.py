"""A cluster at its quota: what it says that it refused, and what it has written all the same."""

import asyncio

import pytest

from rota.domain.errors import Unavailable, Unclear
from rota.domain.records import Blob
from rota.domain.run import Run
from rota.ports.store import ALREADY, APPLIED, Already, Conflict
from rota.stores.etcd.client.faults import Full
from rota.testing.contracts.store.steps import NOW
from rota.testing.factories import make_run
from tests.services.etcd import EtcdServer
from tests.services.fixtures import needed
from tests.unit.stores.files import put, reached

SMALL = 8 << 20
WRITERS = 16


async def test_what_took_up_the_last_room_is_not_said_to_be_refused():
    server = needed(lambda: EtcdServer([f"--quota-backend-bytes={SMALL}"]))
    server.start()
    try:
        async with reached(server.url) as store:
            written: list[Blob] = []
            refused: list[Blob] = []

            async def write(writer):
                for number in range(SMALL // 100_000):
                    blob = Blob(f"{writer}-{number}/payload", bytes(100_000), NOW)
                    try:
                        assert (await put(store, blob))[0] in (APPLIED, ALREADY)
                    except Unavailable:
                        refused.append(blob)
                        return
                    written.append(blob)

            await asyncio.gather(*map(write, range(WRITERS)))
            assert len(refused) == WRITERS
            assert await store.get(Blob, [blob.id for blob in refused]) == [None] * WRITERS
            assert None not in await store.get(Blob, [blob.id for blob in written])
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("counts", "sees", "told"),
    [(True, True, [Already, Conflict]), (False, True, Unavailable), (True, False, Unclear), (False, False, Unclear)],
)
async def test_what_is_said_to_be_refused_is_looked_at_again(prefix, monkeypatch, counts, sees, told):
    async with reached(prefix) as store:
        await put(store, make_run(1), make_run(3)._replace(queue="other"))  # so that the lanes are known
        client = store._link.client
        send = client.txn

        async def look(txn):
            monkeypatch.undo()
            if not sees:
                raise Unavailable("does not answer")
            return await send(txn)

        async def full(txn):
            if counts:
                await send(txn)
            monkeypatch.setattr(client, "txn", look)
            raise Full("is full")

        monkeypatch.setattr(client, "txn", full)
        writing = put(store, make_run(2), make_run(1)._replace(queue="other"))
        if isinstance(told, list):
            assert list(map(type, await writing)) == told
        else:
            with pytest.raises(told, match="is full"):
                await writing
        held = await store.get(Run, [make_run(2).id, make_run(1).id])
        assert [one and one.record for one in held] == [make_run(2) if counts else None, make_run(1)]
