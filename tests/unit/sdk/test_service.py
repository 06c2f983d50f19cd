"""A service's own scheduler: what may be said of it, and its life from start to close."""

from collections import Counter
from typing import Any

import pytest

from rota import Invalid, Refused, new
from rota.api.views import when
from rota.domain.run import State
from rota.engine.control import place_queue
from rota.service import FIELDS, STATUSES
from rota.settings.load import load
from tests.architecture.survey import ROOT
from tests.settings.samples import LIGHT


class Double:
    """The user's own executor."""

    type = "double"
    protocol = "local"

    async def execute(self, context, task):
        if task.payload["n"] < 0:
            raise ValueError("too small")
        return {"twice": 2 * task.payload["n"], "name": task.name}


class Bus(Double):
    type = "bus"
    protocol = "rpc"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'rota.db'}"


@pytest.fixture
def service(url):
    made = new({"database": {"url": url}, "task": {"max_retry": 5, "retry_delay": "7s"}}, pod="pod-1")
    made.register(Double())
    yield made
    made.close()


async def test_a_service_begins_with_the_fewest_running(url):
    """Until somebody says something else of its queue, which then stays."""
    made = new({"database": {"url": url}}, pod="pod-1")
    await made.astart(worker=False)
    assert {name: one.dispatch for name, one in (await made.engine.placed()).items()} == {"main/default": "least_load"}
    await place_queue(made.engine, "main", "default", "pull", "me")
    await made.aclose()
    await made.astart(worker=False)
    assert not await made.engine.placed()
    await made.aclose()


WHOLE = {
    "id": "double-it",
    "name": "Doubles a number",
    "type": "local",
    "cron_expression": "0 2 * * *",
    "timeout": "30s",
    "retry_policy": {"max_retries": 0, "delay": "1s", "backoff_rate": 1.5},
    "executor": "double",
    "payload": {"n": 4},
    "enabled": True,
    "created_at": "2026-11-20T00:00:00Z",
    "updated_at": None,
}


def test_a_service_starts_does_its_work_and_closes(service):
    service.define(WHOLE)
    service.start()
    service.start()
    worker = service.roles.worker.session
    assert worker.startswith("pod-1-")
    done = service.submit("double-it")
    assert done.result(timeout=30) == {"twice": 8, "name": "double-it"}
    shown = service.instance(done.id)
    told = ("definition_id", "status", "worker", "retry_count", "error")
    assert [shown[name] for name in told] == ["double-it", "success", "pod-1", 0, ""]
    assert shown["result"] == {"code": 0, "message": "success", "data": {"twice": 8, "name": "double-it"}}
    assert shown["scheduled_at_ms"] <= shown["started_at_ms"] <= shown["ended_at_ms"]
    failed = service.submit("double-it", {"n": -1})
    with pytest.raises(Exception, match="too small"):
        failed.result(timeout=30)
    shown = service.instance(failed.id)
    assert (shown["status"], shown["result"]["code"], shown["result"]["data"]) == ("failed", 1, None)
    assert "too small" in shown["error"]
    service.close()
    service.close()
    assert service.roles is None


async def test_one_only_works_and_one_only_schedules(url):
    worker, leader = (new({"database": {"url": url}}, pod=pod) for pod in ("w", "s"))
    worker.register(Double())
    try:
        await leader.astart(worker=False)
        await worker.astart(scheduler=False)
        assert leader.roles
        assert worker.roles
        assert (leader.roles.worker, worker.roles.scheduler) == (None, None)
        worker.define(WHOLE)
        assert (await (await worker.asubmit("double-it")).aresult(timeout=30))["twice"] == 8
    finally:
        await worker.aclose()
        await leader.aclose()


async def test_it_lives_and_dies_with_a_web_program(service):
    service.define(WHOLE)
    async with service.lifespan(None):
        assert service.roles
        assert service.roles.worker.session.startswith("pod-1-")
        assert (await (await service.asubmit("double-it")).aresult(timeout=30))["twice"] == 8
    assert service.roles is None


async def test_it_keeps_its_name_in_a_block_too(service):
    async with service.running(scheduler=False) as roles:
        assert roles.worker
        assert roles.worker.session.startswith("pod-1-")


def test_what_a_definition_says_is_kept(service):
    service.define(WHOLE)
    (task,), (schedule,) = service.registry.tasks, service.registry.schedules
    assert (task.name, task.description, task.executor, task.command) == ("double-it", "Doubles a number", "double", "")
    assert (task.payload, task.clocks.attempt_ms) == (b'{"n":4}', 30_000)
    assert (task.retry.retries, task.retry.delay_ms, task.retry.rate) == (0, 1_000, 1.5)
    assert (schedule.name, when(schedule.trigger)) == ("double-it", "0 2 * * *")


@pytest.mark.parametrize(
    ("said", "executor", "command"),
    [
        ({"type": "http", "executor": "https://example.org/hook"}, "http", "https://example.org/hook"),
        ({"type": "rpc", "executor": "a:1/pkg.Service/Call"}, "grpc", "a:1/pkg.Service/Call"),
        ({"type": "rpc", "executor": "bus"}, "bus", ""),
        ({"executor": "double"}, "double", ""),
        ({}, "some", ""),
    ],
)
def test_types_choose_who_does_it(service, said, executor, command):
    service.register(Bus())
    service.define({"name": "some", "enabled": False, "cron_expression": "0 2 * * *", **said})
    (task,) = service.registry.tasks
    assert (task.executor, task.command) == (executor, command)
    assert service.registry.schedules == []
    assert (task.retry.retries, task.retry.delay_ms) == (5, 7_000)


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"name": "x", "cron_expresion": "0 2 * * *"}, "did you mean 'cron_expression'"),
        ({"type": "local"}, "^id: is missing$"),
        ({"id": "a b"}, "^id: 'a b' is not a name"),
        ({"name": "x", "type": "shell"}, "none of http, rpc, local"),
        ({"name": "x", "type": "http"}, "executor: is missing"),
        (
            {"name": "x", "type": "http", "executor": "localhost/x"},
            "executor: 'no scheme' is not http.*; in definition 'x'",
        ),
        ({"name": "x", "type": "rpc", "executor": "dns:///a:1/b"}, "executor: .*host:port/package.Service/Method"),
        ({"name": "x", "type": "http", "executor": "double"}, "is registered for 'local'"),
        ({"name": "x", "cron_expression": "never"}, "cron_expression: 'never' has 1 field"),
        ({"name": "x", "timeout": "soon"}, "timeout"),
        ({"name": "x", "payload": [1]}, "no dict"),
        ({"name": "x", "payload": {"m": 1, "n": float("nan")}}, "^payload: 'n' is not JSON: .*; in definition 'x'"),
        ({"name": "x", "payload": {"m": cyclic()}}, "^payload: 'm' is not JSON: "),
        ({"name": "x", "retry_policy": {"retries": 1}}, "max_retries"),
        ({"name": "x", "retry_policy": {"delay": "soon"}}, "^delay: 'soon' is not .*; in definition 'x'$"),
        ({"name": "x", "retry_policy": [1]}, r"^retry_policy: \[1\] is no dict of max_retries"),
        ({"name": "x", "executor": ["double"]}, r"^executor: \['double'\] is not a name"),
        ({"name": "x", "enabled": "no"}, "^enabled: 'no' is neither True nor False"),
        ({"name": "x", "enabled": False, "cron_expression": "never"}, "^cron_expression: 'never' has 1 field"),
        ({"id": "x", "name": 5}, "^name: text is wanted"),
        ("x", "^definition: 'x' is no dict of fields"),
        ({"name": "x", "retry_policy": {"max_retries": -1}}, "between 0"),
    ],
)
def test_what_is_wrong_is_named_and_defines_nothing(service, said, word):
    with pytest.raises(Invalid, match=word):
        service.define(said)
    assert service.registry.tasks == []


@pytest.mark.parametrize("executor", ["nope", "python"])
async def test_an_executor_that_nobody_registered_is_refused_at_the_start(service, executor):
    service.define({"id": "a", "executor": executor})
    refusal = f"executor: '{executor}' is registered by nobody, known are: double; in definition 'a'"
    with pytest.raises(Invalid, match=refusal):
        await service.astart()
    with pytest.raises(Invalid, match=refusal):
        await service.lifespan().__aenter__()
    with pytest.raises(Invalid, match=refusal):
        await service.running().__aenter__()
    await service.aopen()
    await service.asubmit("a")
    await service.astart(worker=False)
    await service.aclose()


async def test_an_executor_may_be_registered_after_the_definition(service):
    service.define({"id": "a", "executor": "late"})
    service.executor("late")(lambda context, task: "found")
    await service.astart()
    assert await (await service.asubmit("a")).aresult(timeout=30) == "found"
    await service.aclose()


def test_an_object_that_is_no_executor_is_refused(service):
    with pytest.raises(Invalid, match=r"^type: is missing; .* is no executor"):
        service.register(object())
    lame = type("Lame", (), {"type": "lame", "protocol": "local"})
    with pytest.raises(Invalid, match=r"^execute: is missing"):
        service.register(lame())
    with pytest.raises(Invalid, match=r"^kind: is missing"):
        service.use(lame())


def test_an_id_is_defined_once(service):
    service.define(WHOLE)
    with pytest.raises(Invalid, match=r"^id: 'double-it' is defined already$"):
        service.define({"id": "double-it"})
    (task,) = service.registry.tasks
    assert task.description == "Doubles a number"


def test_an_executor_is_of_a_known_protocol_and_registered_once(service):
    with pytest.raises(Invalid, match="twice"):
        service.register(Double())
    wrong = Bus()
    wrong.protocol = "smoke"
    with pytest.raises(Invalid, match="smoke"):
        service.register(wrong)
    wrong.type, wrong.protocol = "a b", "local"
    with pytest.raises(Invalid, match=r"^executor: 'a b' is not a name"):
        service.register(wrong)


async def test_an_executor_is_registered_before_the_start(url):
    made = new({"database": {"url": url}}, pod="pod-1")
    await made.astart(worker=False)
    with pytest.raises(Refused, match="'double' is too late: register it before the start"):
        made.register(Double())
    await made.aclose()
    made.register(Double())
    assert "double" in made.executors()


def test_a_configuration_comes_from_where_one_likes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rota.yaml").write_text(LIGHT)
    said = load(tmp_path / "rota.yaml").settings
    plain = {"redis": {"addr": "localhost:6379", "password": "", "db": 0, "pool_size": 10}}
    places = {new(config).store for config in (tmp_path / "rota.yaml", str(tmp_path / "rota.yaml"), said, None, plain)}
    assert places == {"redis://localhost:6379/0?prefix=&pool=10"}
    with pytest.raises(Invalid, match="config: there is no section reddis; did you mean 'redis'"):
        new({"reddis": {}})
    secret = new({"redis": {"addr": "h:1", "password": "a@b/", "prefix": "shop"}}).store
    assert secret == "redis://:a%40b%2F@h:1/0?prefix=shop&pool=10"


@pytest.mark.parametrize("config", [5, ["rota.yaml"], b"rota.yaml"])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(Invalid, match=r"^config: .* is no configuration; write a dict of sections, a file's path"):
        new(config)


@pytest.mark.parametrize("pod", ["a b", "pod/1", 5])
def test_a_pod_has_a_name(pod):
    with pytest.raises(Invalid, match=r"^pod: .* is not a name"):
        new({}, pod=pod)


def test_statuses_are_the_six_that_are_known():
    known = Counter(STATUSES.get(state, str(state)) for state in State)
    assert {*known} == {"pending", "running", "success", "failed", "retrying", "cancelled"}


def test_the_page_tells_of_every_field_and_status():
    text = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")
    assert [name for name in FIELDS if f"`{name}`" not in text] == []
    assert [name for name in STATUSES if f"`{name}`" not in text] == []
    (sample,) = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    assert sample.strip() == LIGHT.strip()
