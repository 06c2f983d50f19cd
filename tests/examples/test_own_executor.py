import json

import pytest

from examples.backup import make_sample
from examples.own_executor import app
from rota.domain.task import Task
from rota.engine.define import create_task
from rota.engine.submit import Order

QUERY = "SELECT name, count(*) AS number FROM measurement WHERE value >= :least GROUP BY name ORDER BY name"


@pytest.fixture
async def running(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "store", f"sqlite:///{tmp_path / 'rota.db'}")
    async with app.running() as roles:
        yield roles


async def ended(task: Task, payload: bytes = b""):
    await create_task(app.engine, task, [], "test")
    receipt = await app.client.submit(Order(task.name, payload=payload))
    return await app.client.ended(receipt.id, timeout=30)


async def test_a_query_gives_rows(running, tmp_path):
    database = tmp_path / "shop.db"
    make_sample(database, rows=200)
    task = Task("main", "many", "sql", QUERY, {"database": str(database)})
    run = await ended(task, b'{"least": 10.0}')
    assert run.state == "success"
    rows = json.loads(await app.client.result(run) or b"")
    assert len(rows) == 100
    assert rows[0] == {"name": "sensor 0", "number": 1}


@pytest.mark.parametrize("command", ["SELECT nothing FROM nowhere", "DELETE FROM measurement"])
async def test_a_wrong_query_fails_at_once(running, tmp_path, command):
    make_sample(tmp_path / "shop.db")
    run = await ended(Task("main", "wrong", "sql", command, {"database": str(tmp_path / "shop.db")}))
    assert (run.state, run.tries) == ("failed", 1)
    assert command in run.error
