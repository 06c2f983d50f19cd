"""Equal processes on one Redis, each scheduler and worker. Any of them may be killed: the others go on.

    python -m examples.pods rota.yaml pod-1     # pod-2, pod-3, … in terminals of their own

docs/embedding.md shows a rota.yaml. Work for them: `rota client --config rota.yaml --name thumbnail --type thumbnail`.
"""

import signal
import sys
from threading import Event
from typing import Any

from rota import Context, Service, new


class Thumbnails:
    """Stands for work that takes its time."""

    type = "thumbnail"
    protocol = "local"

    def __init__(self, pod: str) -> None:
        self._pod = pod

    def execute(self, context: Context, task: Any) -> dict[str, Any]:
        """Say who did it. What is cancelled, or must leave, stops at once."""
        said = task.payload or {}
        context.progress(f"{said.get('file', 'nothing')} on {self._pod}")
        Event().wait(said.get("seconds", 0))
        return {"file": said.get("file"), "pod": self._pod}


def make(config: str, pod: str) -> Service:
    """The service as every process has it."""
    service = new(config, pod=pod, name="pods")
    service.register(Thumbnails(pod))
    service.define(
        {
            "id": "thumbnail",
            "name": "Thumbnails of new pictures",
            "type": "local",
            "executor": "thumbnail",
            "timeout": "1m",
            "retry_policy": {"max_retries": 3, "delay": "1s", "backoff_rate": 2.0},
        }
    )
    service.define(
        {"id": "tick", "executor": "thumbnail", "cron_expression": "* * * * * *", "payload": {"file": "tick"}}
    )
    return service


def main(config: str, pod: str) -> None:
    """Live until told to stop."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    service = make(config, pod)
    service.start()
    print(f"{pod} works", flush=True)
    stop.wait()
    service.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
