"""Metrics for Prometheus, counted from the facts of this process and, at a scrape, from the store.

Labels are bounded: states, queues and tasks by name up to `NAMES` of each, the others as `other`. Names follow the
convention (`rota_`, base units, `_total`); `task_failures_total` is there under the name that alert rules know.
"""

from collections import Counter as Tallied
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rota.domain.facts import (
    Beaten,
    Fact,
    LeaderChanged,
    ReportsRefused,
    RunsClaimed,
    RunsSettled,
    RunsSubmitted,
    SchedulesFired,
    SessionChanged,
    Trouble,
)
from rota.domain.run import Run, State

NAMES = 1_000
"""Tasks and queues that have a line of their own."""
WAITS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3_600)
TYPE = "text/plain; version=0.0.4; charset=utf-8"

Numbers = Callable[[], Awaitable[Mapping[tuple[str, str], float]]]
"""What the store says now: by name of a gauge and value of its label (empty for those without)."""


class Metrics:
    """Listens to facts and tells them as numbers. Safe to call from any thread."""

    def __init__(self, numbers: Numbers | None = None) -> None:
        self._numbers = numbers
        self._names: dict[str, set[str]] = {"queue": set(), "task": set()}
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=WAITS_S, registry=registry)

        self._submitted = counter("rota_runs_submitted", "Runs made by submissions here", "queue")
        self._claimed = counter("rota_attempts_claimed", "Attempts begun by claims here", "queue")
        self._settled = counter("rota_attempts_settled", "Attempts that ended here, by what became of the run", "state")
        self._failures = counter("task_failures", "Attempts that failed, whether tried again or not", "task")
        self._retries = counter("rota_retries", "Attempts that will be tried again", "queue")
        self._lasted = seconds("rota_attempt_duration_seconds", "From start to end of an attempt", "queue")
        self._waited = seconds("rota_queue_wait_seconds", "From ready to claimed", "queue")
        self._late = seconds("rota_schedule_delay_seconds", "From nominal time to the first claim")
        self._fired = counter("rota_schedules_fired", "Schedules that made runs or skips")
        self._refused = counter("rota_reports_refused", "Reports under old fences, which changed nothing")
        self._sessions = counter("rota_sessions", "Sessions opened and closed here", "event")
        self._elections = counter("rota_elections", "Terms granted to this node")
        self._leading = Gauge("rota_leader", "1 while this node leads", registry=registry)
        self._beat = seconds("rota_beat_seconds", "How long a sign of life took to be answered")
        self._troubles = counter("rota_troubles", "Errors that a loop met and went on after", "where")
        self._gauges = {
            name: Gauge(f"rota_{name}", text, labels, registry=registry) for name, (text, *labels) in GAUGES.items()
        }

    def __call__(self, fact: Fact) -> None:
        """Count one fact."""
        match fact:
            case RunsSubmitted(runs):
                self._count(self._submitted, "queue", (run.queue for run in runs))
            case RunsClaimed(runs):
                self._begun(runs)
            case RunsSettled(runs):
                self._ended(runs)
            case SchedulesFired(schedules):
                self._fired.inc(len(schedules))
            case ReportsRefused(runs):
                self._refused.inc(len(runs))
            case SessionChanged(open=opened):
                self._sessions.labels("opened" if opened else "closed").inc()
            case LeaderChanged(leading=leading):
                self._leading.set(leading)
                self._elections.inc(leading)
            case Beaten(took_ms):
                self._beat.observe(took_ms / 1_000)
            case Trouble(where):
                self._troubles.labels(where.partition(" ")[0]).inc()

    async def text(self) -> bytes:
        """All metrics in Prometheus's text format, the store's numbers read anew."""
        if self._numbers:
            found = await self._numbers()
            for gauge in self._gauges.values():
                gauge.clear()
            for (name, label), value in found.items():
                gauge = self._gauges[name]
                (gauge.labels(self._bounded("queue", label)) if label else gauge).set(value)
        return generate_latest(self.registry)

    def _begun(self, runs: Any) -> None:
        self._count(self._claimed, "queue", (run.queue for run in runs))
        for run in runs:
            if run.ready_at is not None:
                self._waited.labels(self._bounded("queue", run.queue)).observe((run.claimed_at - run.ready_at) / 1_000)
            if run.nominal_at is not None and run.attempt == 1:
                self._late.observe(max(run.claimed_at - run.nominal_at, 0) / 1_000)

    def _ended(self, runs: Any) -> None:
        self._count(self._settled, "", (run.state for run in runs))
        for run in runs:
            if run.started_at is not None and run.ended_at is not None:
                taken = (run.ended_at - run.started_at) / 1_000
                self._lasted.labels(self._bounded("queue", run.queue)).observe(taken)
        self._count(self._failures, "task", (run.task for run in runs if _failed(run)))
        self._count(self._retries, "queue", (run.queue for run in runs if run.state is State.RETRYING))

    def _count(self, counter: Counter, label: str, values: Any) -> None:
        for value, number in Tallied(values).items():
            counter.labels(self._bounded(label, value)).inc(number)

    def _bounded(self, label: str, value: str) -> str:
        """The value, or `other` where there are too many: whoever names tasks must not fill the memory of all."""
        names = self._names.get(label)
        if names is None or value in names:
            return value
        if len(names) >= NAMES:
            return "other"
        names.add(value)
        return value


def _failed(run: Run) -> bool:
    return run.state in (State.FAILED, State.RETRYING)


GAUGES: dict[str, tuple[str, ...]] = {
    "runs": ("Runs that are not over, by state", "state"),
    "queue_pending": ("Runs that wait in a queue", "queue"),
    "queue_running": ("Runs that are being worked on", "queue"),
    "workers": ("Workers that are alive",),
    "tasks": ("Task definitions",),
    "schedules": ("Schedules",),
    "unaccounted": ("Occurrences that are neither run nor skipped; anything but 0 is a fault",),
}
