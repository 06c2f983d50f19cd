"""System C as its users start it: migrate, scheduler, api and workers as programs of their own, PostgreSQL and a queue.

The commands are those of docs/delivery.md.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.architecture.survey import ROOT
from tests.carried.conftest import Broker
from tests.cli.processes import Process

PAGE = (ROOT / "docs/delivery.md").read_text(encoding="utf-8")
ROLES = [line.split()[1:] for line in PAGE.splitlines() if re.match(r"rota \w+ --config rota\.toml$", line)]
MINT = re.search(r"\$\(rota (tokens add .*)\)", PAGE)
TASK = {
    "name": "data_processing",
    "description": "nightly",
    "task_type": "batch",
    "executor": "python",
    "command": "process_data.py",
    "schedule": "0 2 * * *",
    "priority": "normal",
    "retry_count": 3,
    "timeout_seconds": 3600,
}
SCRIPT = """
import pathlib, time
print("processing")
while not pathlib.Path("GATE").exists():
    time.sleep(0.05)
print("processed")
"""


class Company:
    """Its programs, each in a folder of its own, as on hosts of their own."""

    def __init__(self, folder: Path, database: str, broker: Broker) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self.running: list[Process] = []
        queue = f'[message_queue]\nurl = "{broker.url}"\n'
        self.files = {
            "center": f'[database]\nurl = "{database}"\n{queue}',
            "worker": f"{queue}[worker]\nheartbeat_interval = 0.5\nheartbeat_timeout = 3\nmax_concurrent_tasks = 5\n",
        }
        # Nobody reads what they say meanwhile, and a full pipe would hold them up.
        self.env = {"XDG_CONFIG_HOME": str(folder / "home"), "ROTA_OBSERVABILITY__LOG_LEVEL": "error"}
        self.env["ROTA_SECURITY__SECRET"] = self.rota("secrets", "key")

    def place(self, name: str) -> Path:
        """A folder with its configuration."""
        made = self.folder / name
        if not made.exists():
            (made / "scripts").mkdir(parents=True)
            (made / "scripts/process_data.py").write_text(SCRIPT.replace("GATE", str(self.gate)))
            (made / "rota.toml").write_text(self.files["worker" if name.startswith("worker") else "center"])
        return made

    def rota(self, *args: str) -> str:
        """What a command prints, once it has ended well."""
        command, env = [sys.executable, "-m", "rota", *args], getattr(self, "env", {})
        told = subprocess.run(
            command, cwd=self.place("center"), env={**_here(), **env}, capture_output=True, text=True, check=True
        )
        return told.stdout.strip()

    def start(self, name: str, *args: str, **env: str) -> Process:
        made = Process(self.place(name), args, self.env | env)
        self.running.append(made)
        return made

    def stop(self) -> None:
        for one in self.running:
            one.end()


def _here() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}


@pytest.fixture
def company(tmp_path: Path, database: str, server: Broker) -> Iterator[Company]:
    made = Company(tmp_path, database, server)
    yield made
    made.stop()


class Api:
    """Asks as the admin that the first start made."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def __call__(self, method: str, path: str, **given: Any) -> Any:
        answer = await self.http.request(method, path, **given)
        assert answer.is_success, answer.text
        return answer.json()

    async def until(self, state: str, ids: list[str], **more: Any) -> list[dict[str, Any]]:
        """Until all of these runs are in that state."""
        async with asyncio.timeout(45):
            while True:
                found = [await self("GET", f"/api/runs/{one}") for one in ids]
                if all(run["state"] == state and run.items() >= more.items() for run in found):
                    return found

    async def says(self, run: str, lines: list[str]) -> None:
        """Until these are the lines of a run."""
        async with asyncio.timeout(45):
            while [line["text"] for line in (await self("GET", f"/api/runs/{run}/logs"))["items"]] != lines:
                pass


async def test_four_programs_a_database_and_a_queue(company: Company, server: Broker):
    assert [role[0] for role in ROLES] == ["migrate", "scheduler", "api", "worker"]
    migrate, scheduler, api, worker = ROLES
    assert company.rota(*migrate).startswith("postgresql:")
    company.start("center", *scheduler, "--quiet").until("stop:")
    said = company.start("center", *api).until("stop:")
    base = next(line.partition("api: ")[2] for line in said if line.startswith("api: "))
    assert MINT
    token = company.rota(*MINT[1].split())
    first, second = (
        company.start(name, *worker, "--scripts", "scripts", "--quiet", ROTA_TOKEN=token)
        for name in ("worker-1", "worker-2")
    )
    first.until("Ctrl-C")
    keys = json.loads((company.folder / "home/rota/credentials.json").read_text())
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {keys[base]}"}, timeout=20) as http:
        ask = Api(http)
        await ask("POST", "/api/tasks", json=TASK)
        ids = [(await ask("POST", "/api/tasks/data_processing/trigger", json={}))["id"] for _ in range(4)]
        await ask.until("running", ids)
        await ask.says(ids[0], ["processing"])  # what is on its way as the broker dies may be lost
        # The broker dies, and is away for longer than a worker may be silent; what runs goes on.
        server.stop()
        company.gate.touch()
        more = [(await ask("POST", "/api/tasks/data_processing/trigger", json={}))["id"] for _ in range(4)]
        assert not second.has_ended_within(5)
        server.start()
        ended = await ask.until("success", ids + more)
        assert {(run["tries"], run["lost"]) for run in ended} == {(1, 0)}
        assert {run["attempt"] for run in ended if run["id"] in ids} == {1}
        await ask.says(ids[0], ["processing", "processed"])
        # A worker dies, and the other one takes its runs.
        company.gate.unlink()
        ids = [(await ask("POST", "/api/tasks/data_processing/trigger", json={}))["id"] for _ in range(6)]
        await ask.until("running", ids)
        first.tell(signal.SIGKILL)
        company.gate.touch()
        ended = await ask.until("success", ids)
        assert {run["tries"] for run in ended} == {1}
        assert {run["attempt"] for run in ended} == {1, 2}
        second.tell(signal.SIGTERM)
        assert second.ended()[0] == 0
