"""Metrics for Prometheus, counted from the facts of this process and, at a scrape, from the store.

Labels are bounded: states, and queues and tasks by name up to `NAMES` of each, the others as `other`. Names follow the
convention (`rota_`, base units, `_total`); `task_failures_total` is there under the name that alert rules know. A batch
of runs is counted by itself first, in plain numbers, so that a run costs about a microsecond in all.
"""

import asyncio
import time
from bisect import bisect_left
from collections import Counter as Tallied
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from rota.domain import facts
from rota.domain.errors import RotaError
from rota.domain.run import Reason, Run, State

NAMES = 1_000
"""Tasks and queues that have a line of their own."""
OTHER = ("other", "other")
WAITS_MS = (1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 3_600_000)
FRESH_S = 5.0
"""The store's numbers are read so often at most, however many ask."""
QUEUE, TASK = ("namespace", "queue"), ("namespace", "task")

Key = tuple[str, ...]
"""Values of labels."""
Numbers = Callable[[], Awaitable[Mapping[tuple[str, Key], float]]]
"""What the store says now: by name of a gauge and values of its labels."""


class Spread(Collector):
    """A histogram of lengths of time. Many at once go in faster than one by one into the library's own."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Key = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._cells: dict[Key, list[float]] = defaultdict(lambda: [0.0] * (len(WAITS_MS) + 2))
        """How many per bucket, those beyond all of them, and the sum in ms."""
        if not labels:
            self.add((), ())  # it is told of from the start
        registry.register(self)

    def add(self, key: Key, lengths_ms: Iterable[int]) -> None:
        """Count these."""
        cell = self._cells[key]
        for length in lengths_ms:
            cell[bisect_left(WAITS_MS, length)] += 1
            cell[-1] += length

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        bounds = [str(bound / 1_000) for bound in WAITS_MS] + ["+Inf"]
        for key, cell in list(self._cells.items()):
            family.add_metric(key, list(zip(bounds, accumulate(cell[:-1]), strict=True)), cell[-1] / 1_000)
        yield family


class Metrics(Collector):
    """Listens to facts and tells them as numbers. Safe to call from any thread."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"
    """Of `text`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.numbers: Numbers | None = None
        """Where the gauges of the store come from, if this process tells them."""
        self._clock, self._read_at = clock, -FRESH_S
        self._reading, self._lock = asyncio.Lock(), Lock()
        self._names: dict[Key, set[Key]] = {QUEUE: set(), TASK: set()}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = partial(Counter, registry=registry)
        self._submitted = counter("rota_runs_submitted", "Runs submitted here; not in users' own transactions", QUEUE)
        self._claimed = counter("rota_attempts_claimed", "Attempts begun by claims here", QUEUE)
        self._settled = counter("rota_runs_settled", "Ends of attempts here, by what the run became", ("state",))
        self._undone = counter("rota_dispatch_failures", "Attempts that were given back or lost", ("reason",))
        self._failures = counter("task_failures", "Attempts that failed, to be tried again or not", TASK)
        self._retries = counter("rota_retries", "Attempts that will be tried again", QUEUE)
        self._lasted = Spread(registry, "rota_attempt_duration_seconds", "From start to end of an attempt", QUEUE)
        self._waited = Spread(registry, "rota_queue_wait_seconds", "From ready to claimed", QUEUE)
        self._late = Spread(registry, "rota_schedule_delay_seconds", "From nominal time to the first claim")
        self._fired = counter("rota_schedules_fired", "Schedules that made runs or skips")
        self._refused = counter("rota_reports_refused", "Reports under old fences, which changed nothing")
        self._sessions = counter("rota_sessions", "Sessions opened and closed here", ("event",))
        self._elections = counter("rota_elections", "Terms granted to this node")
        self._leading = Gauge("rota_leader", "1 while this node leads", registry=registry)
        self._beat = Spread(registry, "rota_beat_seconds", "How long a sign of life took to be answered")
        self._troubles = counter("rota_troubles", "Errors that a loop met and went on after", ("where",))
        self._said: Mapping[tuple[str, Key], float] = {}
        registry.register(self)

    def __call__(self, fact: facts.Fact) -> None:
        """Count one fact."""
        with self._lock:
            match fact:
                case facts.RunsSubmitted(runs):
                    self._count(self._submitted, QUEUE, [(run.namespace, run.queue) for run in runs])
                case facts.RunsClaimed(runs):
                    self._begun(runs)
                case facts.RunsSettled(runs):
                    self._ended(runs)
                case facts.SchedulesFired(schedules):
                    self._fired.inc(len(schedules))
                case facts.ReportsRefused(runs):
                    self._refused.inc(len(runs))
                case facts.SessionChanged(open=opened):
                    self._sessions.labels("opened" if opened else "closed").inc()
                case facts.LeaderChanged(leading=leading):
                    self._leading.set(leading)
                    self._elections.inc(leading)
                case facts.Beaten(took_ms):
                    self._beat.add((), (took_ms,))
                case facts.Trouble(where):
                    self._troubles.labels(where.partition(" ")[0]).inc()

    def collect(self) -> Iterator[Metric]:
        """The gauges of the store, as it said last; nothing of what it did not say."""
        for name, (text, *labels) in GAUGES.items():
            family = GaugeMetricFamily(f"rota_{name}", text, labels=labels)
            for (one, key), value in self._said.items():
                if one == name:
                    family.add_metric(key, value)
            yield family

    async def text(self) -> bytes:
        """All metrics in Prometheus's text format, the store's numbers at most FRESH_S old."""
        async with self._reading:
            if self.numbers and self._clock() - self._read_at >= FRESH_S:
                await self._read(self.numbers)
                self._read_at = self._clock()
        return generate_latest(self.registry)

    async def _read(self, numbers: Numbers) -> None:
        up: tuple[str, Key] = ("store_up", ())
        found: dict[tuple[str, Key], float] = {}
        try:
            for (name, key), value in (await numbers()).items():
                bounded = (name, self._bounded(QUEUE, key) if len(key) > 1 else key)
                found[bounded] = found.get(bounded, 0.0) + value
            self._said = found | {up: 1.0}
        except RotaError:
            self._said = {up: 0.0}

    def _begun(self, runs: Sequence[Run]) -> None:
        self._count(self._claimed, QUEUE, [(run.namespace, run.queue) for run in runs])
        self._spread(self._waited, runs, [(run.claimed_at or 0) - (run.ready_at or 0) for run in runs])
        first = [run for run in runs if run.nominal_at is not None and run.attempt == 1]
        self._late.add((), [max((run.claimed_at or 0) - (run.nominal_at or 0), 0) for run in first])

    def _ended(self, runs: Sequence[Run]) -> None:
        for state, number in Tallied([run.state for run in runs]).items():
            self._settled.labels(state.value).inc(number)
        self._spread(self._lasted, runs, [_took(run) for run in runs])
        if others := [run for run in runs if run.state is not State.SUCCESS]:
            self._not_well(others)

    def _not_well(self, runs: Sequence[Run]) -> None:
        again = [run for run in runs if run.state is State.RETRYING and run.reason != Reason.SNOOZED]
        failed = [run for run in runs if run.state is State.FAILED] + again
        self._count(self._failures, TASK, [(run.namespace, run.task) for run in failed])
        self._count(self._retries, QUEUE, [(run.namespace, run.queue) for run in again])
        for reason, number in Tallied([run.reason for run in runs if run.reason in UNDONE]).items():
            self._undone.labels(str(reason)).inc(number)

    def _count(self, counter: Counter, labels: Key, values: Sequence[Key]) -> None:
        for value, number in Tallied(values).items():
            counter.labels(*self._bounded(labels, value)).inc(number)

    def _spread(self, spread: Spread, runs: Sequence[Run], lengths_ms: Sequence[int | None]) -> None:
        """A length each, by their queues; None: there is none."""
        found: dict[Key, list[int]] = {}
        for run, length in zip(runs, lengths_ms, strict=True):
            if length is not None:
                found.setdefault((run.namespace, run.queue), []).append(length)
        for key, some in found.items():
            spread.add(self._bounded(QUEUE, key), some)

    def _bounded(self, labels: Key, value: Key) -> Key:
        """The value, or `other` where there are too many: whoever names tasks must not fill the memory of all."""
        names = self._names[labels]
        if value not in names:
            if len(names) >= NAMES:
                return OTHER
            names.add(value)
        return value


def _took(run: Run) -> int | None:
    """How long the attempt took that has just ended, in ms; None where none has."""
    began, ended = run.started_at, run.ended_at
    if run.history and run.history[-1].number == run.attempt:
        # In the history already: it will be tried again, or it ended before, and the run only now.
        began, ended = (run.history[-1].started_at, run.history[-1].ended_at) if ended is None else (None, None)
    return None if began is None or ended is None else ended - began


UNDONE = frozenset({Reason.LOST, Reason.POISON, Reason.RETURNED, Reason.NO_HANDLER})
GAUGES: dict[str, tuple[str, ...]] = {
    "store_up": ("Whether the store could be read and written at the last look",),
    "runs": ("Runs that are not over, by state", "state"),
    "queue_pending": ("Runs that wait in a queue", *QUEUE),
    "queue_running": ("Runs of a queue that are being worked on", *QUEUE),
    "workers": ("Workers that are alive",),
    "tasks": ("Task definitions",),
    "schedules": ("Schedules",),
    "unaccounted": ("Occurrences and attempts that nobody answers for; anything but 0 is a fault",),
}
