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
from rota.domain.run import State
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
    queue = runs[0].queue
    assert value(metrics, "rota_runs_submitted_total", queue=queue) == 2
    assert value(metrics, "rota_attempts_claimed_total", queue=queue) == 2
    assert value(metrics, "rota_queue_wait_seconds_sum", queue=queue) == 1.0
    assert value(metrics, "rota_attempts_settled_total", state="success") == 1
    assert value(metrics, "rota_attempt_duration_seconds_sum", queue=queue) == 2.0
    assert value(metrics, "rota_retries_total", queue=queue) == 1
    assert value(metrics, "task_failures_total", task=runs[1].task) == 1


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
    assert value(metrics, "rota_runs_submitted_total", queue="other") == 5
    assert value(metrics, "rota_runs_submitted_total", queue="q0") == 1


async def test_the_stores_numbers_are_read_at_each_scrape():
    found = {("workers", ""): 3.0, ("runs", "pending"): 7.0, ("queue_pending", "a"): 7.0}

    async def numbers():
        return found

    metrics = Metrics(numbers)
    text = (await metrics.text()).decode()
    assert 'rota_runs{state="pending"} 7.0' in text
    assert "rota_workers 3.0" in text
    found[("runs", "running")] = found.pop(("runs", "pending"))
    text = (await metrics.text()).decode()
    assert 'rota_runs{state="running"} 7.0' in text
    assert "pending" not in text.partition("# HELP rota_queue_pending")[0].partition("# TYPE rota_runs gauge")[2]
