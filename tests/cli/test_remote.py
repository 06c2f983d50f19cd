"""People's commands over the API of a server: nothing but its address and a token is known here."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from rota.cli.remote import address, open_to_all
from rota.domain.errors import Invalid
from tests.architecture.survey import ROOT
from tests.cli.conftest import Terminal
from tests.cli.test_main import ALL
from tests.remote.support import certificate

HERE = {("token",), ("login",)}
"""Commands that know of servers, but are about this machine."""
PEOPLE = {path for path, one in ALL.items() if "--server" in {name for each in one.params for name in each.opts}} - HERE


class Far(NamedTuple):
    """A terminal far from the store, which knows the server and an admin's token by its environment."""

    rota: Terminal
    url: str
    token: str
    home: Path


@pytest.fixture
def served(rota, start, tmp_path, monkeypatch):
    """The address of a server, and a terminal beside its store."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    told = start("up", "--port", "0", "--shell").until("stop:")
    return next(line.partition(" ")[2].strip() for line in told if line.startswith("api:")), rota


@pytest.fixture
def far(served, tmp_path, monkeypatch):
    url, rota = served
    token = rota.line("tokens", "add", "boss", "--grant", "admin@*")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path / "far")
    monkeypatch.setenv("ROTA_SERVER", url)
    monkeypatch.setenv("ROTA_TOKEN", token)
    return Far(rota, url, token, tmp_path)


def trouble(terminal: Terminal, *args: str) -> str:
    """The one line of a command that ends with exit code 1."""
    answer = terminal(*args)
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1), answer
    assert answer.err.startswith("error: ")
    return answer.err


class Doing:
    """Commands that must succeed; which ones there were is remembered."""

    def __init__(self, rota: Terminal) -> None:
        self.rota = rota
        self.met: set[tuple[str, ...]] = set()

    def __call__(self, *args: str) -> Any:
        answer = self.rota(*args, "--json")
        assert answer.code == 0, (args, answer)
        self.met.add(next(path for path in PEOPLE if args[: len(path)] == path))
        return answer.json


def test_every_command_works_over_a_server(far):
    done = Doing(far.rota)
    define(done)
    let_run(done)
    look_around(done, far.url)
    # Last, for a worker that has left ends `rota up`.
    (worker,) = done("workers", "list")
    assert done("workers", "resize", worker["worker"], "3")["slots"] == 3
    assert done("workers", "label", worker["worker"], "gpu")["labels"] == ["gpu"]
    assert done("workers", "drain", worker["session"][-8:])["draining"] is True
    assert {" ".join(path) for path in PEOPLE - done.met} == set()


def define(done: Doing) -> None:
    done("tasks", "create", "copy", "--executor", "shell", "--command", "echo copied", "--schedule", "@daily")
    done("tasks", "create", "etl/load", "--schedule", "@daily", "--schedule", "@hourly")
    assert [one["name"] for one in done("tasks", "list", "--namespace", "etl")] == ["load"]
    assert done("tasks", "show", "etl/load")["schedules"] == ["load", "load:2"]
    assert done("tasks", "update", "copy", "--timeout", "none", "--priority", "high")["clocks"]["attempt_ms"] is None
    assert {one["paused"] for one in done("tasks", "pause", "etl/load", "--why", "move")} == {"move"}
    assert {one["state"] for one in done("tasks", "resume", "etl/load")} == {"on"}
    assert done("tasks", "reset", "copy")["name"] == "copy"
    done("schedules", "create", "copy", "every 6h", "--name", "often", "--overlap", "allow", "--start-deadline", "1h")
    assert done("schedules", "update", "often", "--start-deadline", "none")["policy"]["start_deadline_ms"] is None
    assert len(done("schedules", "preview", "often", "--count", "4")) == 4
    assert {one["name"] for one in done("schedules", "list", "--task", "copy")} == {"copy", "often"}
    assert done("schedules", "pause", "often")["state"] == "paused"
    assert done("schedules", "resume", "often", "--catch-up")["state"] == "on"
    assert done("schedules", "explain", "often")["story"]
    assert done("schedules", "show", "often")["when"] == "every 6h"
    assert done("schedules", "reset", "often")["name"] == "often"
    assert done("schedules", "delete", "often") == {"deleted": "main/often"}


def let_run(done: Doing) -> None:
    run = done("tasks", "trigger", "copy", "--wait", "--key", "first")
    assert (run["state"], run["actor"]) == ("success", "token:boss")
    assert done("tasks", "trigger", "copy", "--key", "first")["id"] == run["id"]
    assert [one["text"] for one in done("runs", "logs", run["id"][-8:])] == ["copied"]
    assert [one["run"] for one in done("runs", "logs", "--search", "COPIED")] == [run["id"]]
    assert done.rota("runs", "logs", run["id"], "--follow").out.endswith(" copied\n")
    assert done("runs", "show", run["id"][:30])["id"] == run["id"]
    assert done("runs", "retry", run["id"])["origin"] == run["id"]
    later = done("tasks", "trigger", "copy", "--delay", "1h")["id"]
    assert done("runs", "cancel", later)["state"] == "cancelled"
    assert "cancelled" in done("runs", "explain", later)["story"][-1]
    assert later in {one["id"] for one in done("runs", "list", "--state", "cancelled", "--since", "1h")}


def look_around(done: Doing, url: str) -> None:
    assert done("queues", "pause", "mail", "--why", "stock")["paused"] == "stock"
    assert done("queues", "strict", "mail")["strict"] is True
    assert done("queues", "dispatch", "mail", "pull")["dispatch"] == "pull"
    assert done("queues", "resume", "mail")["paused"] == ""
    assert {one["name"] for one in done("queues", "list")} == {"default", "mail"}
    assert len(done("client", "--count", "1200", "--queue", "slow", "--payload", '{"seconds": 0}')["ids"]) == 1_200
    assert done("stats")["tasks"] == 3
    assert {one["actor"] for one in done("audit", "--limit", "3")} == {"token:boss"}
    assert done("doctor")[0] == {"level": "ok", "check": "server", "text": f"{url} answers"}
    assert done("users", "add", "anna", "--grant", "viewer")["id"] == "anna"
    assert done("users", "change", "anna", "--grant", "operator")["grants"][0]["role"] == "operator"
    assert {one["id"] for one in done("users", "list")} == {"admin", "anna"}
    made = done("tokens", "add", "ci", "--grant", "viewer", "--expires", "90d")
    assert made["id"] in {one["id"] for one in done("tokens", "list")}
    assert done("tokens", "revoke", made["id"]) == {"revoked": made["id"]}
    assert done("tasks", "delete", "etl/load") == {"deleted": "etl/load"}


def test_what_a_viewer_may_not_is_trouble_and_changes_nothing(far):
    far.rota("tasks", "create", "copy", "--executor", "shell", "--command", "true")
    viewer = far.rota.line("tokens", "add", "eyes", "--grant", "viewer")
    assert [one["name"] for one in far.rota.json("tasks", "list", "--token", viewer)] == ["copy"]
    for args in (
        ("tasks", "create", "other"),
        ("tasks", "delete", "copy"),
        ("tasks", "trigger", "copy"),
        ("queues", "pause", "mail"),
        ("client",),
        ("users", "list"),
        ("audit",),
        ("doctor",),
    ):
        assert "token:eyes may not" in trouble(far.rota, *args, "--token", viewer)
    assert [one["name"] for one in far.rota.json("tasks", "list")] == ["copy"]


def test_a_token_that_opens_nothing_is_trouble_with_a_remedy(far):
    token = far.rota.line("tokens", "add", "gone", "--grant", "viewer")
    (entry,) = [one for one in far.rota.json("tokens", "list") if one["name"] == "gone"]
    assert far.rota("tasks", "list", "--token", token).code == 0
    assert far.rota("tokens", "revoke", entry["id"][:8]).code == 0
    for wrong in (token, "rota_key_x", "nonsense"):
        said = trouble(far.rota, "tasks", "list", "--token", wrong)
        assert f"`rota login --server {far.url}`" in said
        assert wrong not in said
    assert "is no token of Rota" in far.rota.refused("tasks", "list", "--token", "schlüssel")


def test_bad_input_is_refused_in_the_same_words_as_beside_the_store(far):
    assert "no task 'nobody'; see `rota tasks list`" in far.rota.refused("tasks", "show", "nobody")
    assert "queue: 'a b' is not a name" in far.rota.refused("tasks", "create", "x", "--queue", "a b")
    assert far.rota("tasks", "create", "x").code == 0
    assert "exists already" in far.rota.refused("tasks", "create", "x")
    assert "no run 'ffffffff'" in far.rota.refused("runs", "show", "ffffffff")
    first, second = far.rota.json("client", "--count", "2")["ids"]
    said = far.rota.refused("runs", "show", first[:6])
    assert first in said
    assert second in said


def test_a_server_that_does_not_answer_is_trouble_with_a_remedy(far):
    place = trouble(far.rota, "tasks", "list", "--server", "http://127.0.0.1:9", "--token", "x")
    assert "http://127.0.0.1:9 does not answer: " in place
    assert "`rota up` starts one, --server or ROTA_SERVER names another" in place
    assert "does not answer" in trouble(far.rota, "stats", "--server", far.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    "text", ["", "rota.example.org", "ftp://x", "http://", "http://ann:pw@x", "http://x?a=1", "http://[", "http://x:0"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Invalid):
        address(text)


def test_a_place_is_a_store_or_a_server(rota, monkeypatch):
    monkeypatch.setenv("ROTA_SERVER", "http://127.0.0.1:9")
    assert "leave --store out" in rota.refused("stats", "--store", "sqlite:///a.db", "--server", "http://x")
    assert "no database 'a.db'" in rota.refused("stats", "--store", "sqlite:///a.db")
    monkeypatch.delenv("ROTA_SERVER")
    assert "token: is for a server" in rota.refused("stats", "--token", "x")
    monkeypatch.setenv("XDG_CONFIG_HOME", os.getcwd())
    assert "there is no key for http://x" in rota.refused("stats", "--server", "http://x/")


def test_what_can_be_read_on_the_way_is_told():
    assert [one for one in ("http://x", "http://10.0.0.1:80") if not open_to_all(one)] == []
    closed = ("https://x", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost")
    assert [one for one in closed if open_to_all(one)] == []


def test_who_logs_in_where_others_can_read_it_is_warned(rota):
    answer = rota("login", "--server", "http://nowhere.invalid", given="key\n")
    first, second = answer.err.splitlines()
    assert first.startswith("warning: http://nowhere.invalid is not encrypted: others on the way can read password")
    assert second.startswith("error: http://nowhere.invalid does not answer")


def test_a_certificate_is_checked_and_its_authority_can_be_named(start, rota, tmp_path, monkeypatch):
    files = certificate(tmp_path)
    place = {"ROTA_API__TLS_CERTIFICATE": files["certificate"], "ROTA_API__TLS_KEY": files["key"]}
    told = start("up", "--port", "0", **place).until("stop:")
    url = next(line.partition(" ")[2].strip() for line in told if line.startswith("api:"))
    token = rota.line("tokens", "add", "boss", "--grant", "admin@*")
    asked = ("stats", "--server", url, "--token", token)
    said = trouble(rota, *asked)
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "SSL_CERT_FILE names the file of the authority" in said
    monkeypatch.setenv("SSL_CERT_FILE", files["certificate"])
    assert rota(*asked).code == 0


def test_the_key_of_this_machine_opens_by_curl_as_the_page_shows(served):
    url, rota = served
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^curl .*\$\(rota token\).*$", page, re.MULTILINE)
    text = line.replace("$(rota token)", rota.line("token")).replace("http://127.0.0.1:8080", url)
    found = subprocess.run(["sh", "-c", text], capture_output=True, check=True, text=True)
    assert '"items"' in found.stdout
    key = rota.line("token", "--server", url)
    assert httpx.get(f"{url}/api/auth/me", headers={"Authorization": f"Bearer {key}"}).json()["user"] == "admin"
    assert rota("stats", "--server", url).code == 0
