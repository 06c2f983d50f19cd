"""`python -m tests.services start|stop`: private servers for development, which stay until they are stopped.

Each prints the line by which tests and benchmarks find it.
"""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.services.etcd import EtcdServer
from tests.services.postgresql import Server
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import DURABLE, RedisServer

SERVICES: dict[str, Callable[[], Server | RedisServer | EtcdServer | RabbitServer]] = {
    "POSTGRESQL": lambda: Server(settings=()),
    "REDIS": lambda: RedisServer(DURABLE),
    "ETCD": EtcdServer,
    "RABBITMQ": RabbitServer,
}
KNOWN = Path(tempfile.gettempdir()) / f"rota-services-{psutil.Process().uids().real}.json"


def start() -> None:
    """Start what does not run yet; print a line for each."""
    known = _known()
    for name, make in SERVICES.items():
        if name not in known:
            server = make()
            known[name] = {"url": server.url, "pid": str(server.start()), "folder": str(server.folder)}
            if isinstance(server, RabbitServer) and server.names:
                known[name]["names"] = str(server.names.pid)
            KNOWN.write_text(json.dumps(known))
        sys.stdout.write(f"export ROTA_TEST_{name}={known[name]['url']}\n")


def stop() -> None:
    """End those that `start` began, and remove what they kept."""
    for one in _known().values():
        for pid in filter(None, (one["pid"], one.get("names"))):
            process = psutil.Process(int(pid))
            process.send_signal(signal.SIGTERM if "names" in one else signal.SIGINT)
            process.wait(60)
        shutil.rmtree(one["folder"], ignore_errors=True)
    KNOWN.unlink(missing_ok=True)


def _known() -> dict[str, dict[str, str]]:
    """What still runs of what was started."""
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    return {name: one for name, one in known.items() if _lives(one)}


def _lives(one: dict[str, str]) -> bool:
    try:
        return one["folder"] in " ".join(psutil.Process(int(one["pid"])).cmdline())
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
