import httpx
import pytest

from examples.fastapi_app import api, rota


@pytest.fixture
async def client(tmp_path, monkeypatch):
    monkeypatch.setattr(rota, "store", f"sqlite:///{tmp_path / 'rota.db'}")
    transport = httpx.ASGITransport(app=api)
    async with api.router.lifespan_context(api), httpx.AsyncClient(transport=transport, base_url="http://test") as one:
        yield one


async def test_a_web_program_submits_works_and_answers(client):
    taken = await client.post("/texts", json={"text": "the cat and the hat"})
    assert taken.status_code == 202
    run_id = taken.json()["run"]
    await rota.client.ended(run_id, timeout=30)
    answer = (await client.get(f"/texts/{run_id}")).json()
    assert answer == {"state": "success", "result": {"the": 2, "cat": 1, "and": 1, "hat": 1}}


async def test_a_run_that_does_not_exist_is_not_found(client):
    answer = await client.get("/texts/0123456789abcdef0123456789abcdef")
    assert answer.status_code == 404
    assert "no run" in answer.json()["detail"]
