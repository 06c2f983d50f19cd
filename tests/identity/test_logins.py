"""Logins, refresh tokens, keys, and how soon they open nothing any more."""

import asyncio
from typing import Any

import jwt
import pytest

from rota.api.door import ACCESS_MS, COOKIE_MS, MEMORY_MS, Door
from rota.api.limits import Rates
from rota.domain.access import ANY, Grant
from rota.domain.people import SESSION_MS, Kind, Token
from rota.engine import people
from rota.identity import Identity
from rota.testing.clock import START_AT
from tests.identity.support import PASSWORD, ROOT, SECRET, Served, live_tokens, serving

STATED_MS = 5_000
NOW_S = START_AT // 1_000
GOOD: dict[str, Any] = {"iss": "rota", "aud": "rota-access", "gen": 0, "iat": NOW_S, "exp": NOW_S + 600}


@pytest.fixture
async def anna(served: Served) -> dict[str, Any]:
    """Anna, a viewer, has logged in."""
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    answer: dict[str, Any] = (await served.logged_in()).json()
    return answer


async def status(served: Served, text: str, path: str = "/api/auth/me") -> int:
    return (await served.ask("GET", path, text)).status_code


async def session(served: Served) -> str:
    (found,) = [one.id for one in await live_tokens(served.engine) if one.kind is Kind.SESSION]
    return found


class TestLogin:
    async def test_it_opens_what_the_user_may(self, served, anna):
        me = (await served.ask("GET", "/api/auth/me", anna["access_token"])).json()
        assert (me["name"], me["user"], [one["role"] for one in me["grants"]]) == ("user:anna", "anna", ["viewer"])

    async def test_unknown_wrong_and_disabled_look_alike(self, served, anna):
        """20; that they take as long is proved where passwords are."""
        await served.user("bert", password=PASSWORD)
        await people.change_user(served.engine, "bert", ROOT, disabled=True)
        pairs = [("anna", "wrong"), ("nobody", PASSWORD), ("bert", PASSWORD)]
        answers = [await served.logged_in(*pair) for pair in pairs]
        assert {(one.status_code, one.text) for one in answers} == {(401, answers[0].text)}

    async def test_every_login_is_a_new_one_and_its_cookie_is_for_us_alone(self, served, anna):
        """21"""
        answers = [await served.logged_in(cookie=True) for _ in range(2)]
        cookies = [one.headers["set-cookie"] for one in answers]
        assert cookies[0].partition(";")[0] != cookies[1].partition(";")[0]
        for cookie, answer in zip(cookies, answers, strict=True):
            parts = {one.strip().lower() for one in cookie.split(";")[1:]}
            assert {"httponly", "samesite=strict", "path=/"} <= parts
            assert not [one for one in parts if one.startswith("domain")]
            assert "access_token" not in answer.json()
        given = {"Cookie": cookies[0].partition(";")[0]}
        assert (await served.ask("GET", "/api/auth/me", headers=given)).json()["user"] == "anna"

    async def test_a_cookie_token_is_no_bearer_token_and_the_other_way(self, served, anna):
        """15"""
        cookie = (await served.logged_in(cookie=True)).headers["set-cookie"].partition(";")[0].partition("=")[2]
        assert await status(served, cookie) == 401
        answer = await served.ask("GET", "/api/auth/me", headers={"Cookie": f"rota_session={anna['access_token']}"})
        assert answer.status_code == 401
        assert await status(served, anna["refresh_token"]) == 401

    async def test_a_link_opens_once(self, served, anna):
        answer = await served.ask("POST", "/api/tokens", "admin", json={"name": "l", "kind": "link", "owner": "anna"})
        code = answer.json()["secret"]
        assert await status(served, code) == 401
        first, second = [await served.ask("POST", "/api/auth/link", json={"code": code}) for _ in range(2)]
        assert (first.status_code, first.json()["user"], second.status_code) == (200, "anna", 401)

    async def test_of_two_who_open_a_link_at_once_one_comes_in(self, served, anna):
        body = {"name": "l", "kind": "link", "owner": "anna"}
        code = (await served.ask("POST", "/api/tokens", "admin", json=body)).json()["secret"]
        asked = [served.ask("POST", "/api/auth/link", json={"code": code}) for _ in range(4)]
        assert sorted([one.status_code for one in await asyncio.gather(*asked)]) == [200, 401, 401, 401]

    async def test_an_old_link_opens_nothing(self, served, anna):
        body = {"name": "l", "kind": "link", "owner": "anna"}
        code = (await served.ask("POST", "/api/tokens", "admin", json=body)).json()["secret"]
        served.house.clock.advance(3_600_000)
        assert (await served.ask("POST", "/api/auth/link", json={"code": code})).status_code == 401

    async def test_another_password_ends_all_logins(self, served, anna):
        body = {"current": PASSWORD, "new": "a wholly different thing"}
        for wrong in ({"current": "wrong", "new": body["new"]}, {"current": PASSWORD, "new": "short"}):
            assert (await served.ask("POST", "/api/auth/password", anna["access_token"], json=wrong)).status_code == 422
        assert (await served.ask("POST", "/api/auth/password", anna["access_token"], json=body)).status_code == 204
        assert await status(served, anna["access_token"]) == 401
        assert [(await served.logged_in("anna", one)).status_code for one in (PASSWORD, body["new"])] == [401, 200]

    async def test_who_stole_a_login_does_not_guess_the_password(self, house):
        async with serving(house, rates=Rates("", "", "", "3/minute", "")) as served:
            await served.user("anna", Grant("viewer"), password=PASSWORD)
            key = (await served.logged_in()).json()["access_token"]
            body = {"current": "guessed", "new": "a wholly different thing"}
            asked = [await served.ask("POST", "/api/auth/password", key, json=body) for _ in range(3)]
            assert [one.status_code for one in asked] == [422, 422, 429]
            assert 0 < int(asked[-1].headers["retry-after"]) <= 60

    async def test_a_login_by_a_password_that_is_just_changed_does_not_last(self, served, anna, monkeypatch):
        log_in = people.log_in

        async def late(engine: Any, owner: str, password: str) -> Any:
            await people.change_user(engine, owner, ROOT, password="another")
            return await log_in(engine, owner, password)

        monkeypatch.setattr(people, "log_in", late)
        assert (await served.logged_in()).status_code == 401
        assert [one for one in await live_tokens(served.engine, "anna") if one.kind is Kind.SESSION] == []

    async def test_of_two_who_log_in_at_once_both_come_in(self, served, anna):
        get = served.house.store.get

        async def late(kind: Any, ids: Any) -> Any:
            found, served.house.store.get = await get(kind, ids), get
            assert await people.log_in(served.engine, "anna")
            return found

        served.house.store.get = late
        assert await people.log_in(served.engine, "anna")


class TestRefresh:
    async def refreshed(self, served: Served, text: str) -> Any:
        return await served.ask("POST", "/api/auth/refresh", json={"refresh_token": text})

    async def test_a_chain_of_refreshes_goes_on(self, served, anna):
        told = anna
        for _ in range(3):
            served.house.clock.advance(ACCESS_MS)
            assert await status(served, told["access_token"]) == 401
            told = (await self.refreshed(served, told["refresh_token"])).json()
            assert await status(served, told["access_token"]) == 200

    async def test_a_refresh_token_that_comes_twice_ends_the_login(self, served, anna):
        second = (await self.refreshed(served, anna["refresh_token"])).json()
        third = (await self.refreshed(served, second["refresh_token"])).json()
        assert (await self.refreshed(served, anna["refresh_token"])).status_code == 401
        assert (await self.refreshed(served, third["refresh_token"])).status_code == 401
        assert await status(served, third["access_token"]) == 401
        (entry,) = await served.entries("revoke")
        assert "came twice" in entry.after

    async def test_of_two_at_once_at_most_one_goes_on(self, served, anna):
        both = await asyncio.gather(*(self.refreshed(served, anna["refresh_token"]) for _ in range(2)))
        assert sorted(one.status_code for one in both)[1] == 401

    async def test_a_note_of_its_last_use_meanwhile_is_no_theft(self, served, anna):
        name = await session(served)

        get = served.house.store.get

        async def late(kind: Any, ids: Any) -> Any:
            found = await get(kind, ids)
            if kind is Token and list(ids) == [name]:
                served.house.store.get = get
                await people.used(served.engine, {name: served.house.clock.now() + 1})
            return found

        served.house.store.get = late
        told = (await self.refreshed(served, anna["refresh_token"])).json()
        assert await status(served, told["access_token"]) == 200

    async def test_a_long_silence_ends_it(self, served, anna):
        served.house.clock.advance(SESSION_MS)
        assert (await self.refreshed(served, anna["refresh_token"])).status_code == 401

    async def test_other_tokens_do_not_refresh(self, served, anna):
        for text in (anna["access_token"], served.keys["admin"], "", "x.y.z"):
            assert (await self.refreshed(served, text)).status_code == 401


class TestForgery:
    """12 to 15"""

    def forged(
        self, session: str, key: Any = SECRET, algorithm: str = "HS256", headers: Any = None, **claims: Any
    ) -> str:
        said = {"sub": "anna", "sid": session, **GOOD, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, algorithm, headers)

    async def test_what_we_sign_ourselves_opens(self, served, anna):
        assert await status(served, self.forged(await session(served))) == 200

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": NOW_S}, {"exp": NOW_S - 1}, {"exp": None}, {"exp": str(NOW_S + 600)}, {"exp": float("inf")},
            {"exp": NOW_S + 600.5}, {"exp": NOW_S + 100 * 366 * 86_400}, {"exp": True}, {"iat": NOW_S + 60},
            {"iat": None}, {"iat": "0"}, {"aud": "rota-refresh"}, {"aud": ["rota-access", "x"]}, {"aud": None},
            {"iss": "other"}, {"iss": None}, {"sub": "admin"}, {"sub": None}, {"sid": None}, {"sid": ["x"]},
            {"gen": None}, {"gen": "0"}, {"sid": "0" * 32},
        ],
    )  # fmt: skip
    async def test_other_claims_open_nothing(self, served, anna, claims):
        assert await status(served, self.forged(await session(served), **claims)) == 401

    async def test_another_installation_signs_nothing_here(self, served, anna):
        assert await status(served, self.forged(await session(served), b"another installation's secret 123")) == 401

    @pytest.mark.parametrize(
        "headers",
        [
            {"kid": "../../dev/null"}, {"kid": "' OR 1=1"}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"},
            {"jwk": {"kty": "oct", "k": "AAAA"}}, {"crit": ["exp"]},
        ],
    )  # fmt: skip
    async def test_headers_choose_no_key(self, served, anna, headers):
        forged = self.forged(await session(served), b"0" * 32, headers=headers)
        assert await status(served, forged) == 401

    @pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
    async def test_no_other_algorithm_is_taken(self, served, anna):
        sid = await session(served)
        whole = self.forged(sid)
        body = whole.split(".")[1]
        for text in (
            jwt.encode({"sub": "anna", "sid": sid, **GOOD}, "", "none"),
            self.forged(sid, algorithm="HS512"),
            f"{whole.rpartition('.')[0]}.",
            f"eyJhbGciOiJub25lIn0.{body}.",
            f"eyJhbGciOiJOb05lIn0.{body}.AAAA",
            whole[:-2],
            "a" * 5_000,
            "[" * 3_000,
        ):
            assert await status(served, text) == 401, text[:60]


class TestSoon:
    """17: what is taken away opens nothing, here at once and on other nodes within the stated bound."""

    async def stops(self, served: Served, text: str, take_away: Any) -> None:
        other = Door(served.house.another(), Identity(SECRET))
        headers = {"authorization": f"Bearer {text}"}
        before = await other.authenticate(headers, "")
        assert before
        assert await status(served, text) == 200
        await take_away()
        assert MEMORY_MS < STATED_MS
        served.house.clock.advance(STATED_MS)
        after = await other.authenticate(headers, "")
        assert after is None or after.grants != before.grants

    async def test_a_revoked_key(self, served):
        key = served.keys["viewer"]
        await self.stops(served, key, lambda: served.ask("DELETE", f"/api/tokens/{key.split('_')[2]}", "admin"))
        assert await status(served, key) == 401

    async def test_a_disabled_user(self, served, anna):
        gone = {"disabled": True}
        await self.stops(
            served, anna["access_token"], lambda: served.ask("PATCH", "/api/users/anna", "admin", json=gone)
        )
        again = await served.ask("POST", "/api/auth/refresh", json={"refresh_token": anna["refresh_token"]})
        assert again.status_code == 401

    async def test_a_lowered_role_of_a_user_and_of_their_keys(self, served):
        await served.user("cleo", Grant("developer"), password=PASSWORD)
        access = (await served.logged_in("cleo")).json()["access_token"]
        key = await served.key("ci", Grant("developer"), owner="cleo")
        lower = {"grants": [{"role": "viewer"}]}
        await self.stops(served, key, lambda: served.ask("PATCH", "/api/users/cleo", "admin", json=lower))
        for text in (access, key):
            made = await served.ask("POST", "/api/tasks", text, json={"name": "x", "command": "y"})
            assert made.status_code in (401, 403)

    async def test_a_logout(self, served, anna):
        await self.stops(
            served, anna["access_token"], lambda: served.ask("POST", "/api/auth/logout", anna["access_token"])
        )
        assert await status(served, anna["access_token"]) == 401
        again = await served.ask("POST", "/api/auth/refresh", json={"refresh_token": anna["refresh_token"]})
        assert again.status_code == 401

    async def test_a_look_under_way_does_not_bring_it_back(self, served):
        key, get = await served.key("k", Grant("viewer")), served.house.store.get

        async def slow(kind: Any, ids: Any) -> Any:
            found = await get(kind, ids)
            if kind is Token:
                served.house.store.get = get
                assert (await served.ask("DELETE", f"/api/tokens/{ids[0]}", "admin")).status_code == 204
            return found

        served.keys["admin"] = await served.key("root", Grant("admin", ANY))
        assert await status(served, served.keys["admin"]) == 200
        served.house.store.get = slow
        await status(served, key)
        assert await status(served, key) == 401

    async def test_an_expired_key(self, served):
        key = await served.key("brief", Grant("viewer"), expires_at=served.house.clock.now() + 1_000)
        await self.stops(served, key, lambda: served.ask("GET", "/health"))

    async def test_an_old_cookie(self, served, anna):
        cookie = (await served.logged_in(cookie=True)).headers["set-cookie"].partition(";")[0]
        served.house.clock.advance(COOKIE_MS)
        assert (await served.ask("GET", "/api/auth/me", headers={"Cookie": cookie})).status_code == 401


class TestRights:
    """16, 23, 24, 26, 27"""

    async def test_a_name_is_matched_whole(self, served):
        key = await served.key("etl", Grant("viewer", "etl"))
        found = {
            space: (await served.ask("GET", f"/api/tasks/x?namespace={space}", key)) for space in ("etl2", "et", "lte")
        }
        assert {one.status_code for one in found.values()} == {404}

    async def test_tokens_of_others_do_not_exist(self, served, anna):
        other = await served.key("other", Grant("viewer"))
        for name in (other.split("_")[2], "0" * 16):
            answer = await served.ask("DELETE", f"/api/tokens/{name}", anna["access_token"])
            assert (answer.status_code, answer.json()["detail"].replace(name, "")) == (
                404,
                "no token ''; see `rota tokens list`",
            )
        assert await status(served, other) == 200
        mine = (await served.ask("GET", "/api/tokens", anna["access_token"])).json()["items"]
        assert {one["owner"] for one in mine} == {"anna"}
        assert (await served.ask("GET", "/api/tokens", "viewer")).json()["items"] == []
        assert len((await served.ask("GET", "/api/tokens", "admin")).json()["items"]) > len(mine)

    async def test_a_user_makes_keys_within_their_own_rights_only(self, served, anna):
        async def made(**body: Any) -> int:
            answer = await served.ask("POST", "/api/tokens", anna["access_token"], json={"name": "k", **body})
            return int(answer.status_code)

        viewer = [{"role": "viewer"}]
        assert await made(grants=viewer) == 201
        for grants in ([{"role": "admin"}], [{"role": "viewer", "namespace": "*"}], [{"role": "worker"}]):
            assert await made(grants=grants) == 403
        assert await made(grants=viewer, owner="") == 403
        assert await made(grants=viewer, owner="admin") == 403
        assert await made(grants=[]) == 422
        assert await made(grants=[{"role": "owner"}]) == 422
        assert await made(grants=viewer, expires_at=1) == 422

    async def test_a_stolen_key_revokes_nothing_but_itself(self, served, anna):
        body = {"name": "k", "grants": [{"role": "viewer"}]}
        keys = [(await served.ask("POST", "/api/tokens", anna["access_token"], json=body)).json() for _ in range(2)]
        for name, wanted in ((keys[1]["id"], 404), (await session(served), 404), (keys[0]["id"], 204)):
            assert (await served.ask("DELETE", f"/api/tokens/{name}", keys[0]["secret"])).status_code == wanted
        assert await status(served, keys[0]["secret"]) == 401
        assert (await served.ask("DELETE", f"/api/tokens/{keys[1]['id']}", anna["access_token"])).status_code == 204

    async def test_a_key_makes_no_other_keys(self, served, anna):
        body = {"name": "k", "grants": [{"role": "viewer"}]}
        key = (await served.ask("POST", "/api/tokens", anna["access_token"], json=body)).json()["secret"]
        assert (await served.ask("POST", "/api/tokens", key, json=body)).status_code == 403
        assert (await served.ask("POST", "/api/tokens", "viewer", json=body)).status_code == 403

    @pytest.mark.parametrize("role", ["viewer", "operator", "developer", "worker"])
    async def test_nobody_raises_themselves(self, served, role):
        await served.user("eve", Grant(role), password=PASSWORD)
        access = (await served.logged_in("eve")).json()["access_token"]
        for name in ("eve", "admin"):
            body = {"grants": [{"role": "admin", "namespace": "*"}]}
            assert (await served.ask("PATCH", f"/api/users/{name}", access, json=body)).status_code == 403
        assert (await served.ask("POST", "/api/users", access, json={"name": "x", "grants": []})).status_code == 403

    async def test_an_admin_of_one_namespace_rules_no_users(self, served):
        key = await served.key("local", Grant("admin", "main"))
        for path in ("/api/users", "/api/audit", "/api/audit/chain", "/api/users/eve"):
            assert (await served.ask("GET", path, key)).status_code == 403

    async def test_the_last_admin_stays(self, served):
        await served.user("boss", Grant("admin", ANY))
        bodies: list[dict[str, Any]] = [{"disabled": True}, {"grants": []}, {"grants": [{"role": "admin"}]}]
        for body in bodies:
            answer = await served.ask("PATCH", "/api/users/boss", "admin", json=body)
            assert (answer.status_code, "last admin" in answer.json()["detail"]) == (409, True)

    async def test_members_that_are_not_theirs_to_set_are_refused(self, served, anna):
        for extra in ({"id": "x"}, {"created_at": 1}, {"role": "admin"}, {"password_hash": "x"}, {"owner": "x"}):
            made = await served.ask("POST", "/api/users", "admin", json={"name": "n", "grants": [], **extra})
            assert made.status_code == 422, extra
            changed = await served.ask("PATCH", "/api/users/anna", "admin", json=extra)
            assert changed.status_code == 422, extra
        for extra in ({"digest": "x"}, {"generation": 1}, {"used_at": 1}, {"id": "0" * 16}):
            body = {"name": "n", "grants": [{"role": "viewer"}], **extra}
            assert (await served.ask("POST", "/api/tokens", "admin", json=body)).status_code == 422

    async def test_a_worker_does_nothing_but_work_and_others_do_not(self, served):
        for path in ("/api/tasks", "/api/users", "/api/auth/me", "/api/audit", "/api/tokens"):
            assert (await served.ask("GET", path, "worker")).status_code == 403
