"""Users, tokens, and the keys that the command line keeps."""

import json
import re
import shlex
import stat
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from rota.api.guard import PUBLIC
from rota.cli.main import app
from rota.domain.records import Audit
from rota.engine.engine import every
from rota.engine.seal import seal
from rota.ports.store import Change, Group, Term
from tests.architecture.survey import ROOT
from tests.cli.work import in_store

PASSWORD = "seven lamps over water"


def typed(text: str, *args: str) -> Any:
    """A command, and what is piped into it."""
    return CliRunner().invoke(app, args, input=f"{text}\n", prog_name="rota")


class TestUsers:
    def test_they_are_made_changed_and_listed(self, here):
        made = here.json("users", "add", "anna", "--grant", "developer", "--grant", "viewer@*/task:report")
        assert made["grants"][1] == {"role": "viewer", "namespace": "*", "task": "report", "queue": ""}
        assert "developer of main, viewer of *, task report" in here("users", "list").out
        assert typed(PASSWORD, "users", "change", "anna", "--password").exit_code == 0
        changed = here.json("users", "change", "anna", "--grant", "viewer", "--disable")
        assert (changed["grants"][0]["role"], changed["disabled"], changed["has_password"]) == ("viewer", True, True)
        assert [one["id"] for one in here.json("users", "list")] == ["anna"]
        assert "argon2" not in here("users", "list", "--wide").out + here("audit", "--json").out

    @pytest.mark.parametrize("grant", ["boss", "viewer@", "viewer@a b", "admin@*/host:x", "viewer/task:", "Viewer", ""])
    def test_a_grant_that_is_none_is_refused(self, here, grant):
        assert "grant" in here.refused("users", "add", "anna", "--grant", grant)

    def test_what_is_refused(self, here):
        here("users", "add", "boss", "--grant", "admin@*")
        assert "last admin" in here.refused("users", "change", "boss", "--disable")
        assert "nothing to change" in here.refused("users", "change", "boss")
        assert "there is a user boss already" in here.refused("users", "add", "boss")
        assert "no user 'eve'" in here.refused("users", "change", "eve", "--disable")
        assert "password" in typed("short", "users", "add", "anna", "--password").stderr


class TestTokens:
    def test_they_are_made_listed_and_revoked(self, here):
        secret = here.line("tokens", "add", "ci", "--grant", "operator/queue:mail", "--expires", "90d")
        (listed,) = here.json("tokens", "list")
        assert secret.startswith(f"rota_key_{listed['id']}_")
        assert (listed["name"], [one["queue"] for one in listed["grants"]]) == ("ci", ["mail"])
        assert secret.split("_", 3)[3] not in here("tokens", "list", "--json").out + here("audit", "--json").out
        for part in ("", listed["id"][:5], listed["id"][-5:]):
            assert "no token" in here.refused("tokens", "revoke", part)
        assert here("tokens", "revoke", listed["id"][:6]).code == 0
        here("tokens", "add", "second", "--grant", "viewer")
        assert here("tokens", "revoke", here.json("tokens", "list")[0]["id"][-8:]).code == 0
        assert here.json("tokens", "list") == []
        assert "no token" in here.refused("tokens", "revoke", listed["id"])

    def test_what_is_refused(self, here):
        assert "could do nothing" in here.refused("tokens", "add", "ci")
        assert "--owner" in here.refused("tokens", "add", "l", "--link")
        assert "no user 'eve'" in here.refused("tokens", "add", "l", "--link", "--owner", "eve")


class TestKeys:
    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        for name in ("ROTA_TOKEN", "ROTA_SERVER"):
            monkeypatch.delenv(name, raising=False)

    def test_there_is_none_at_first(self, rota):
        assert "rota login" in rota.refused("token")

    def test_the_first_start_leaves_one_that_opens(self, rota, start, tmp_path):
        process = start("up", "--port", "0")
        said = process.until("stop:")
        url = next(line.partition(" ")[2].strip() for line in said if line.startswith("api:"))
        link = next(line for line in said if "/login#rota_link_" in line)
        # Attack 8: nothing else listens, and nothing beyond loopback.
        sockets = psutil.Process(process.pid).net_connections("inet")
        listening = [f"http://{one.laddr.ip}:{one.laddr.port}" for one in sockets if one.status == psutil.CONN_LISTEN]
        assert listening == [url]
        kept = tmp_path / "rota-data"
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in kept.iterdir()}
        assert modes["rota-credentials.json"] == modes["rota-secret"] == modes["rota.db"] == 0o600
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        key = rota.line("token")
        bearer = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{url}/api/auth/me", headers=bearer).json()["user"] == "admin"
        code = {"code": link.partition("#")[2]}
        assert [httpx.post(f"{url}/api/auth/link", json=code).status_code for _ in range(2)] == [200, 401]
        assert rota("users", "add", "anna", "--grant", "viewer").code == 0
        assert typed(PASSWORD, "users", "change", "anna", "--password").exit_code == 0
        logged_in = typed(PASSWORD, "login", "--server", url, "--user", "anna")
        assert (logged_in.exit_code, logged_in.stdout[:11]) == (0, "token:anna/")
        assert rota.line("token", "--server", url) != key
        file = tmp_path / "config" / "rota" / "credentials.json"
        assert (list(json.loads(file.read_text())), stat.S_IMODE(file.stat().st_mode)) == ([url], 0o600)
        wrong = typed("wrong password", "login", "--server", url, "--user", "anna")
        assert (wrong.exit_code, "wrong name or password" in wrong.stderr) == (1, True)
        assert typed(key, "login", "--server", url).stdout.startswith("token:admin/first at ")
        assert rota.line("token", "--server", url) == key

    def test_a_second_start_tells_no_link(self, rota, start):
        first = start("up", "--port", "0")
        first.until("stop:")
        first.end()
        assert not [line for line in start("up", "--port", "0").until("stop:") if "rota_link" in line]

    @pytest.mark.parametrize("secret", ["sh0rt!", "change-me-change-me-change-me-change-me", "a" * 64])
    def test_a_bad_secret_starts_nothing(self, start, tmp_path, secret):
        """Attack 6"""
        (tmp_path / "rota.toml").write_text(f'[security]\nsecret = "{secret}"\n')
        code, out, err = start("up", "--port", "0").ended()
        assert (code, out, "security.secret" in err, secret in err) == (2, "", True, False)

    def test_credentials_that_others_can_read_are_refused(self, rota):
        file = Path("rota-data/rota-credentials.json")
        file.parent.mkdir()
        file.write_text('{"http://127.0.0.1:8080": "rota_key_x"}')
        file.chmod(0o644)
        assert "can be read by others" in rota.refused("token")


def test_the_doctor_finds_what_was_changed_behind_the_back(here):
    for name in ("a", "b"):
        here("tasks", "create", name)

    async def sealed(engine: Any) -> None:
        lead = await engine.store.lead("scheduler", "test", 60_000)
        await seal(engine, Term("scheduler", lead.number))

    async def changed(engine: Any) -> None:
        held = (await every(engine, Audit))[0]
        await engine.store.commit([Group((Change(held, None),))])

    in_store(sealed)
    assert [one for one in here("doctor").out.splitlines() if "entries in 1 seal; waiting for theirs: " in one]
    in_store(changed)
    answer = here("doctor")
    assert (answer.code, "1 entry of it removed" in answer.out) == (1, True)


def test_every_example_of_the_page_runs(rota, start):
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    start("up", "--port", "0").until("stop:")
    lines = [line for block in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S) for line in block.splitlines()]
    assert len(lines) >= 9
    for line in lines:
        _, _, *args = shlex.split(line)
        answer = rota(*args)
        assert answer.code == 0, (line, answer)


def test_the_page_names_every_public_path():
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    assert [path for path in PUBLIC if f"`{path}`" not in page] == []
