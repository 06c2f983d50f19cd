"""Attacks over a real connection. The numbers are those of the threat model's list."""

import asyncio
import logging
from dataclasses import replace

import httpx
import pytest

from rota.api import guard
from rota.api.app import Options, make_app
from rota.api.door import Door
from rota.api.limits import Rates
from rota.api.places import GuardOptions
from rota.domain.access import Grant
from rota.domain.people import Kind, Token, User
from rota.domain.records import Audit
from rota.engine import people
from rota.identity import Identity
from tests.identity.support import NO_RATES, PASSWORD, ROOT, SECRET, serving, spoken

EVIL = "https://evil.example"
SCANNED = [
    "/admin", "/api", "/api/v1/users", "/api/debug", "/api/test", "/api/migrate", "/api/profile", "/debug/pprof",
    "/docs", "/redoc", "/openapi.json", "/swagger", "/graphql", "/console", "/actuator", "/actuator/env", "/env",
    "/.env", "/.git/config", "/config", "/status", "/server-status", "/phpinfo", "/test/transport", "/server/acquire",
    "/jobs", "/job/run", "/run", "/execute", "/shell", "/static/../etc/passwd", "/favicon.ico", "/robots.txt",
    "/login.html", "/register", "/api/register", "/api/users/", "/api/tokens/", "/api/auth", "/api/auth/",
    "/api/audit/", "/metrics/", "/health/x",
]  # fmt: skip


def secret_of(key: str) -> str:
    return key.split("_", 3)[3]


class TestStrangers:
    @pytest.mark.parametrize(
        "path",
        [
            "/api/tasks/xhealth", "//health/../api/runs", "/health/", "/Health", "/health/%2e%2e/api/runs", "/health;a",
            "/%68ealth", "/health%2f..%2fapi%2fusers", "/api/users%00", "/metrics", "/docs", "/openapi.json", "/debug",
            "/api/system/events", "/login/../api/users", "/nothing",
        ],
    )  # fmt: skip
    async def test_no_trick_with_the_path_leads_in(self, served, path):
        """2, 3"""
        answer = await served.ask("GET", path)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_health_is_public(self, served):
        assert (await served.ask("GET", "/health")).status_code == 200

    async def test_an_upgrade_is_refused_before_it_happens(self, served):
        """3"""
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + "a" * 22 + "==",
        )
        said = await spoken(served, "GET /api/system/events HTTP/1.1", "Host: 127.0.0.1", *upgrade)
        assert said.split()[1] in (b"401", b"403")

    @pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT", "HEAD", "OPTIONS", "POST"])
    async def test_every_method_is_refused(self, served, method):
        """4"""
        answer = await served.ask(method, "/api/users/anna", headers={"X-HTTP-Method-Override": "GET"})
        assert answer.status_code == 401

    async def test_trace_is_no_method_of_ours(self, served):
        """4"""
        assert (await served.ask("TRACE", "/health")).status_code == 405
        assert (await served.ask("BREW", "/health", "admin")).status_code in (400, 405)

    async def test_an_override_header_changes_no_method(self, served):
        """4"""
        made = await served.user("anna")
        answer = await served.ask("GET", f"/api/users/{made.id}", "admin", headers={"X-HTTP-Method-Override": "DELETE"})
        assert (answer.status_code, answer.json()["id"]) == (200, "anna")

    @pytest.mark.parametrize("text", ["Bearer", "Bearer default_token", "Basic YWRtaW46YWRtaW4=", "Bearer null"])
    async def test_no_common_credential_opens(self, served, text):
        """5"""
        answer = await served.ask("GET", "/api/tasks", headers={"Authorization": text})
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("name", "password"), [("admin", "admin"), ("admin", "123456"), ("admin", ""), ("root", "root")]
    )
    async def test_there_is_no_default_login(self, served, name, password):
        """7"""
        assert (await served.logged_in(name, password)).status_code == 401

    async def test_nothing_but_what_is_documented_is_there(self, served):
        """9"""
        found = {path: (await served.ask("GET", path, "admin")).status_code for path in SCANNED}
        assert {path: status for path, status in found.items() if status != 404} == {}

    async def test_the_credential_is_looked_at_before_the_body(self, served):
        """11"""
        answer = await served.ask("POST", "/api/users", content=b"{" * 1_000_000)
        assert answer.status_code == 401

    async def test_a_key_counts_nowhere_but_in_its_header(self, served, caplog):
        """18, 60"""
        key = served.keys["admin"]
        with caplog.at_level(logging.DEBUG):
            for path in (f"/api/users?token={key}", f"/api/users?access_token={key}&key={key}"):
                assert (await served.ask("GET", path)).status_code == 401
            assert (await served.ask("GET", "/api/users", headers={"Referer": f"/?token={key}"})).status_code == 401
            assert (await served.ask("GET", "/api/users", key)).status_code == 200
            assert (await served.logged_in("anna", PASSWORD)).status_code == 401
        said = "\n".join(one.getMessage() for one in caplog.records if not one.name.startswith(("httpx", "httpcore")))
        assert secret_of(key) not in said
        assert PASSWORD not in said
        assert "GET /api/users 200" in said

    async def test_a_log_line_cannot_be_forged(self, served, caplog):
        """46"""
        with caplog.at_level(logging.INFO, "rota.api"):
            await served.ask("GET", "/x%0d%0aINFO forged%1b[31m%E2%80%AE" + "y" * 5_000)
        (line,) = (one.getMessage() for one in caplog.records if one.name == "rota.api")
        assert "\n" not in line
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 500


class TestFloods:
    async def test_guessing_ends(self, house):
        """20"""
        async with serving(house, rates=Rates(login="10/minute")) as served:
            await served.user("anna", password=PASSWORD)
            statuses = [(await served.logged_in("anna", "wrong")).status_code for _ in range(15)]
            assert statuses[:10] == [401] * 10
            assert 429 in statuses[10:]
            last = await served.logged_in("anna", PASSWORD)
            assert (last.status_code, 0 < int(last.headers["retry-after"]) <= 60) == (429, True)

    async def test_guessing_of_one_user_from_everywhere_ends(self, house):
        async with serving(house, rates=Rates(login="", user="3/minute")) as served:
            await served.user("anna", password=PASSWORD)
            statuses = [
                (await served.logged_in(name, "wrong")).status_code for name in ("anna", "Anna", "ANNA", "anna", "bert")
            ]
            assert statuses == [401, 401, 401, 429, 401]

    @pytest.mark.parametrize(("kind", "first"), [("actor", 200), ("address", 200), ("failed", 401)])
    async def test_everybody_has_a_rate(self, house, kind, first):
        async with serving(house, rates=Rates(**{kind: "3/minute"})) as served:
            await served.everybody()
            key = "" if kind == "failed" else "admin"
            answers = [await served.ask("GET", "/api/users", key) for _ in range(4)]
            assert [one.status_code for one in answers] == [first] * 3 + [429]
            assert 0 < int(answers[-1].headers["retry-after"]) <= 60
            other = await served.ask("GET", "/api/tasks", "viewer")
            assert other.status_code == (429 if kind == "address" else 200)

    async def test_who_is_limited_stays_so_until_that_very_rate_changes(self, house):
        rates = replace(NO_RATES, failed="1/minute")
        app = make_app(house.engine, Door(house.engine, Identity(SECRET)), Options(SECRET, GuardOptions(rates=rates)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as stranger:
            assert [(await stranger.get("/api/users")).status_code for _ in range(2)] == [401, 429]
            app.adjust(GuardOptions(origins=(EVIL,), rates=replace(rates, actor="9/minute")))
            assert (await stranger.get("/api/users")).status_code == 429
            app.adjust(GuardOptions(rates=replace(rates, failed="2/minute")))
            assert [(await stranger.get("/api/users")).status_code for _ in range(3)] == [401, 401, 429]

    async def test_all_logins_of_a_user_count_as_one(self, house):
        """A rate by user is none where each login begins anew."""
        async with serving(house, rates=replace(NO_RATES, actor="3/minute")) as served:
            await served.user("anna", Grant("viewer"), password=PASSWORD)
            keys = [(await served.logged_in()).json()["access_token"] for _ in range(2)]
            told = [(await served.ask("GET", "/api/tasks", key)).status_code for key in (*keys, *keys)]
            assert told == [200, 200, 200, 429]

    async def test_refusals_are_in_the_audit_once_and_under_a_flood_as_a_number(self, served):
        for number in range(40):
            await served.ask("GET", f"/api/users/u{number}", "viewer")
        async with asyncio.timeout(10):
            while not (entries := await served.entries("denied")):
                await served.ask("GET", "/health")
        assert len(entries) <= 11
        first = entries[-1]
        assert (first.actor, first.target, first.origin) == ("token:viewer", "GET /api/users/u0", "127.0.0.1")


class TestWhatIsKept:
    async def test_no_secret_is_in_the_store(self, served):
        """19, 60"""
        await served.user("anna", Grant("viewer"), password=PASSWORD)
        logged_in = (await served.logged_in()).json()
        await served.ask(
            "POST",
            "/api/auth/password",
            logged_in["access_token"],
            json={"current": PASSWORD, "new": f"new {PASSWORD}"},
        )
        secrets = [secret_of(text) for text in served.keys.values()] + [PASSWORD, logged_in["refresh_token"]]
        kept = [record for kind in (User, Token, Audit) for record in await served.house.all(kind)]
        assert len(kept) > 10
        assert [one for one in kept for secret in secrets if secret in repr(one)] == []
        assert [one for one in await served.house.all(Audit) if "argon2" in repr(one)] == []
        (anna,) = await served.house.all(User)
        assert anna.password.startswith("$argon2id$")
        assert all(len(one.digest) == 64 for one in await served.house.all(Token) if one.kind == "key")


class TestLongAnswers:
    @pytest.mark.parametrize("end", ["revoked", "lowered"])
    async def test_one_ends_when_its_credential_does(self, house, monkeypatch, end):
        """17: a stream that was opened before is no way around a revoked key, or a right that was taken."""
        monkeypatch.setattr(guard, "RECHECK_S", -1.0)
        door = Door(house.engine, Identity(SECRET))
        going, sent = asyncio.Event(), []

        async def endless(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"data", "more_body": True})
                await going.wait()

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        tasks = tuple(Grant("viewer", task=name) for name in ("mine", "other"))
        await people.add_user(house.engine, User("anna", tasks), ROOT)
        token, text = await door.mint(Token("", Kind.KEY, "k", owner="anna", grants=tasks), ROOT)
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {text}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/api/system/events", "headers": headers}
        guarded = guard.Guard(endless, door, GuardOptions(rates=NO_RATES))
        task = asyncio.create_task(guarded(scope, receive, send))
        async with asyncio.timeout(10):
            while len(sent) < 2:
                await asyncio.wait([task], timeout=0)
            if end == "revoked":
                await people.revoke(house.engine, token.id, "cli:root")
            else:
                await people.change_user(house.engine, "anna", ROOT, tasks[:1])
            house.clock.advance(5_000)
            going.set()
            await task
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
