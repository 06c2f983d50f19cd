from threading import Thread

from rota.domain.errors import Unavailable
from rota.domain.facts import (
    Beaten,
    LeaderChanged,
    ReportsRefused,
    RunsClaimed,
    RunsSettled,
    RunsSubmitted,
    SchedulesFired,
    SessionChanged,
    Trouble,
)
from rota.domain.run import Attempt, State
from rota.observe.metrics import NAMES, Metrics
from rota.testing.factories import make_run


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_runs_are_counted_on_their_way():
    metrics, runs = Metrics(), [make_run(1), make_run(2)]
    metrics(RunsSubmitted(runs))
    metrics(RunsClaimed([run._replace(ready_at=1_000, claimed_at=1_500) for run in runs]))
    ended = [
        runs[0]._replace(state=State.SUCCESS, started_at=1_500, ended_at=3_500),
        runs[1]._replace(state=State.RETRYING),
    ]
    metrics(RunsSettled(ended))
    queue = {"namespace": "main", "queue": runs[0].queue}
    assert value(metrics, "rota_runs_submitted_total", **queue) == 2
    assert value(metrics, "rota_attempts_claimed_total", **queue) == 2
    assert value(metrics, "rota_queue_wait_seconds_sum", **queue) == 1.0
    assert value(metrics, "rota_runs_settled_total", state="success") == 1
    assert value(metrics, "rota_attempt_duration_seconds_sum", **queue) == 2.0
    assert value(metrics, "rota_retries_total", **queue) == 1
    assert value(metrics, "task_failures_total", namespace="main", task=runs[1].task) == 1


def test_scheduled_runs_tell_how_late_they_began():
    metrics = Metrics()
    first = make_run(1)._replace(nominal_at=10_000, ready_at=10_005, claimed_at=10_020, attempt=1)
    metrics(RunsClaimed([first, first._replace(attempt=2, claimed_at=99_000)]))
    assert value(metrics, "rota_schedule_delay_seconds_count") == 1
    assert value(metrics, "rota_schedule_delay_seconds_sum") == 0.02


def test_other_facts_are_counted():
    metrics = Metrics()
    for fact in (
        SchedulesFired([]),
        ReportsRefused(["a", "b"]),
        SessionChanged("s", True, ""),
        LeaderChanged("node", 3, True),
        Beaten(20),
        Trouble("claim of x", OSError()),
    ):
        metrics(fact)
    assert value(metrics, "rota_reports_refused_total") == 2
    assert value(metrics, "rota_sessions_total", event="opened") == 1
    assert (value(metrics, "rota_leader"), value(metrics, "rota_elections_total")) == (1, 1)
    assert value(metrics, "rota_beat_seconds_sum") == 0.02
    assert value(metrics, "rota_troubles_total", where="claim") == 1
    metrics(LeaderChanged("other", 4, False))
    assert (value(metrics, "rota_leader"), value(metrics, "rota_elections_total")) == (0, 1)


def test_labels_are_bounded():
    metrics = Metrics()
    metrics(RunsSubmitted([make_run(1)._replace(queue=f"q{number}") for number in range(NAMES + 5)]))
    assert value(metrics, "rota_runs_submitted_total", namespace="other", queue="other") == 5
    assert value(metrics, "rota_runs_submitted_total", namespace="main", queue="q0") == 1


def test_an_attempt_counts_for_what_it_took_however_its_run_goes_on():
    metrics, run = Metrics(), make_run(1)._replace(attempt=1, started_at=1_000)
    tried = run._replace(
        state=State.RETRYING, reason="error", history=(Attempt(1, 0, "w", "s", 900, 1_000, 3_000, "error", "", 0),)
    )
    cancelled = tried._replace(state=State.CANCELLED, reason="cancelled", ended_at=60_000)
    metrics(RunsSettled([tried, cancelled, run._replace(state=State.PENDING, reason="lost", attempt=2)]))
    about = {"namespace": "main", "queue": run.queue}
    assert value(metrics, "rota_attempt_duration_seconds_count", **about) == 1
    assert value(metrics, "rota_attempt_duration_seconds_sum", **about) == 2.0
    assert value(metrics, "rota_attempt_duration_seconds_bucket", **about, le="1.0") == 0
    assert value(metrics, "rota_attempt_duration_seconds_bucket", **about, le="5.0") == 1
    assert value(metrics, "rota_attempt_duration_seconds_bucket", **about, le="+Inf") == 1
    assert value(metrics, "rota_dispatch_failures_total", reason="lost") == 1


def test_who_snoozes_has_not_failed():
    metrics, run = Metrics(), make_run(1)
    metrics(RunsSettled([run._replace(state=State.RETRYING, reason="snoozed")]))
    assert value(metrics, "task_failures_total", namespace="main", task=run.task) is None


def test_all_threads_count():
    metrics, run = Metrics(), make_run(1)._replace(ready_at=0, claimed_at=7)

    def claim():
        for _ in range(500):
            metrics(RunsClaimed([run]))

    threads = [Thread(target=claim) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert value(metrics, "rota_queue_wait_seconds_count", namespace="main", queue=run.queue) == 2_000


class Store:
    def __init__(self):
        self.away = False
        self.found = {("workers", ()): 3.0, ("runs", ("pending",)): 7.0, ("queue_pending", ("main", "a")): 7.0}
        self.looks = 0

    async def numbers(self):
        self.looks += 1
        if self.away:
            raise Unavailable("gone")
        return self.found


async def test_the_stores_numbers_are_read_every_five_seconds_at_most():
    store, now = Store(), [0.0]
    metrics = Metrics(lambda: now[0])
    metrics.numbers = store.numbers
    text = (await metrics.text()).decode()
    assert 'rota_runs{state="pending"} 7.0' in text
    assert 'rota_queue_pending{namespace="main",queue="a"} 7.0' in text
    assert "rota_workers 3.0" in text
    store.found[("runs", ("running",))] = store.found.pop(("runs", ("pending",)))
    now[0] = 4.9
    assert 'rota_runs{state="pending"} 7.0' in (await metrics.text()).decode()
    assert store.looks == 1
    now[0] = 5.0
    text = (await metrics.text()).decode()
    assert 'rota_runs{state="running"} 7.0' in text
    assert 'rota_runs{state="pending"}' not in text
    assert store.looks == 2


async def test_while_the_store_is_away_the_rest_is_told():
    store = Store()
    metrics = Metrics()
    metrics.numbers, store.away = store.numbers, True
    metrics(RunsSubmitted([make_run(1)]))
    text = (await metrics.text()).decode()
    assert "rota_store_up 0.0" in text
    assert "rota_workers 0.0" not in text
    assert "rota_runs_submitted_total{" in text
