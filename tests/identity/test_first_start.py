"""The first start, and what is noted of the use of keys."""

from rota.domain.people import Token, User
from rota.engine import people
from rota.identity.keys import mint
from rota.testing.clock import START_AT
from tests.identity.support import live_tokens, serving


class TestLastUse:
    async def test_it_is_written_in_batches_at_most_once_a_minute(self, served):
        engine, clock = served.engine, served.house.clock
        for _ in range(5):
            await served.ask("GET", "/api/auth/me", "viewer")
            await served.ask("GET", "/api/auth/me", "operator")
        assert {one.used_at for one in await live_tokens(engine)} == {0}
        clock.advance(60_000)
        await served.ask("GET", "/api/auth/me", "viewer")
        await served.door.close()
        used = {one.name: one.used_at for one in await live_tokens(engine)}
        assert (used["viewer"], used["operator"], used["admin"]) == (clock.now(), START_AT, 0)


class TestFirstStart:
    async def test_it_makes_one_admin_whose_link_and_key_open(self, house):
        async with serving(house) as served:
            key, link = mint("key"), mint("link")
            assert await people.begin(served.engine, key, link)
            assert not await people.begin(served.engine, mint("key"), mint("link"))
            assert (await served.ask("GET", "/api/users", key.text)).json()["items"][0]["has_password"] is False
            told = await served.ask("POST", "/api/auth/link", json={"code": link.text, "cookie": False})
            assert (await served.ask("GET", "/api/users", told.json()["access_token"])).status_code == 200
            kept = [await house.all(kind) for kind in (User, Token)]
            assert key.text not in repr(kept)
            assert key.text.split("_", 3)[3] not in repr(kept)
