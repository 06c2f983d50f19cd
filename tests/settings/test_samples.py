"""The sample configurations that users bring with them load as they are, and say what they say."""

import signal

import pytest

from rota.domain.retry import Defaults, Retry
from rota.settings.load import load
from tests.settings.samples import DEVELOPMENT, LIGHT, PRODUCTION


def test_the_development_sample(write):
    found = load(write(DEVELOPMENT, "development.toml")).settings
    assert found.store == "postgresql://localhost:5432/scheduler_dev?pool=10"
    worker = found.worker_options("w")
    assert (worker.slots, worker.beat_ms, worker.ttl_ms) == (5, 30_000, 90_000)
    assert found.defaults() == Defaults(3_600_000)
    assert (found.database.pool_size, found.dispatcher.max_workers) == (10, 50)
    assert (found.message_queue.type, found.message_queue.port) == ("rabbitmq", 5672)
    assert found.message_queue.password.get_secret_value() == "guest"
    assert (found.api.host, found.api.port) == ("127.0.0.1", 8080)


def test_what_a_sample_says_in_vain_is_told_at_the_start(write, start):
    write(DEVELOPMENT, "development.toml")
    process = start("up", "--config", "development.toml", "--store", "sqlite:///x.db")
    process.until("stop: Ctrl-C")
    process.tell(signal.SIGTERM)
    assert process.ended()[2].splitlines()[0] == (
        "warning: not used, as this version of Rota has not got what it is for: dispatcher.max_workers"
    )


def test_the_production_sample_takes_its_password_from_the_environment(write, monkeypatch, problems):
    (missing,) = problems(PRODUCTION, "production.toml")
    assert missing == (
        "production.toml: message_queue.password needs the environment variable RABBITMQ_PASSWORD; "
        "set it, or write ${RABBITMQ_PASSWORD:-default}"
    )
    monkeypatch.setenv("RABBITMQ_PASSWORD", "hidden")
    found = load(write(PRODUCTION, "production.toml")).settings
    assert found.message_queue.password.get_secret_value() == "hidden"
    assert found.store == "postgresql://db.internal:5432/scheduler?pool=50&connect_timeout=30"
    assert found.api.cors_origins == ("https://scheduler.example.com",)
    assert found.observability.log_level == "info"
    assert (found.observability.metrics_enabled, found.observability.tracing_enabled) == (True, True)


@pytest.mark.parametrize("name", ["light.yaml", "light.yml"])
def test_the_sample_of_the_light_framework(write, name):
    found = load(write(LIGHT, name)).settings
    worker, scheduler = found.worker_options("w"), found.scheduler_options("s")
    assert (worker.beat_ms, worker.ttl_ms, worker.slots, worker.scan_ms) == (10_000, 30_000, 10, 5_000)
    assert (scheduler.ttl_ms, scheduler.renew_ms, scheduler.scan_ms) == (10_000, 3_000, 5_000)
    assert found.defaults() == Defaults(300_000, Retry(retries=3, delay_ms=10_000, rate=2.0))
    assert (found.redis.addr, found.redis.db, found.redis.pool_size) == ("localhost:6379", 0, 10)
    assert found.redis.password.get_secret_value() == ""
