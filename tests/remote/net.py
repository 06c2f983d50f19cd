"""A scheduler, nodes of the API and remote workers as real processes; only the first two know the store."""

from pathlib import Path

from rota.domain.access import ANY, Actor, Grant
from rota.domain.people import Kind, Token
from rota.engine import people
from rota.engine.engine import Engine
from rota.wiring import locks
from tests.cli.processes import Process
from tests.scenario.ledger import Ledger

ROOT = Path(__file__).parents[2]
APP = "tests.scenario.tasks_ledger:app"
FAST = {"ROTA_WORKER__HEARTBEAT_INTERVAL": "300ms", "ROTA_WORKER__HEARTBEAT_TIMEOUT": "2s"}
ROOT_ACTOR = Actor("cli:root", (Grant("admin", ANY),))


class Net:
    """Starts them, and ends those that it started."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.store = f"sqlite:///{folder / 'rota.db'}"
        self.running: list[Process] = []

    def process(self, *args: str, **env: str) -> Process:
        # Nobody reads what they say meanwhile, and a full pipe would hold them up.
        told = {
            "PYTHONPATH": str(ROOT),
            "SCENARIO_LEDGER": str(self.ledger.path),
            "ROTA_OBSERVABILITY__LOG_LEVEL": "error",
        }
        made = Process(self.folder, args, told | env)
        self.running.append(made)
        return made

    def begin(self, ready: str, *args: str, **env: str) -> Process:
        made = self.process(*args, **env)
        made.until(ready)
        return made

    def scheduler(self) -> Process:
        return self.begin("stop:", "scheduler", "--store", self.store, "--quiet")

    def api(self, port: int) -> Process:
        return self.begin("stop:", "api", "--store", self.store, "--port", str(port), "--quiet")

    def worker(self, port: int, token: str, *args: str, **env: str) -> Process:
        """A worker in a folder where no store is."""
        url = f"http://127.0.0.1:{port}"
        told = ("worker", "--scheduler", url, "--app", APP, "--quiet", *args)
        return self.begin("Ctrl-C", *told, ROTA_TOKEN=token, **FAST | env)

    def stop(self) -> None:
        for one in self.running:
            one.end()


async def token(engine: Engine, *grants: Grant) -> tuple[str, str]:
    """Id and text of a worker's key."""
    minted = locks().mint(Kind.KEY)
    made = await people.mint(engine, minted, Token("", Kind.KEY, "w", grants=grants or (Grant("worker"),)), ROOT_ACTOR)
    return made.id, minted.text
