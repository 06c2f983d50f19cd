"""Tasks whose handler this worker turned out to lack: it asks for no run of theirs for a while."""

from rota.domain.facts import Trouble
from rota.domain.run import Run
from rota.ports.runtime import Clock, Emit

EXCLUDE_MS = 60_000


class Lacking:
    """What they are, by id, and until when."""

    def __init__(self, worker: str, clock: Clock, emit: Emit | None) -> None:
        self._worker = worker
        self._clock = clock
        self._emit = emit
        self._until: dict[str, int] = {}
        self._told: set[str] = set()

    def add(self, run: Run, error: str) -> None:
        """No run of its task for a while; a warning the first time."""
        task = f"{run.namespace}/{run.task}"
        self._until[task] = self._clock.monotonic() + EXCLUDE_MS
        if task not in self._told and self._emit:
            self._emit(Trouble(f"task {task}", LookupError(f"worker {self._worker} has {error}")))
        self._told.add(task)

    def tasks(self) -> tuple[str, ...]:
        """Those of now."""
        now = self._clock.monotonic()
        self._until = {task: until for task, until in self._until.items() if until > now}
        return tuple(self._until)
