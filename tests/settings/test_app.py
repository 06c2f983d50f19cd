import asyncio
import logging
from pathlib import Path

import pytest

from rota import Retry, Rota
from rota.domain.errors import Invalid
from rota.engine.recover import open_sessions
from rota.wiring import Kinds
from tests.settings.test_follow import replace

DEFAULTS = """
[database]
url = "sqlite:///here.db"
[task]
default_timeout = "7s"
max_retry = 5
retry_delay = "2s"
backoff_rate = 3.0
"""


def declared(app: Rota) -> None:
    """Tasks that say nothing, something and all."""
    app.task(name="silent")(print)
    app.task(name="some", retries=1)(print)
    app.task(name="all", retries=Retry(retries=2), timeout="1h")(print)
    app.task(name="endless", timeout=None)(print)
    app.task(name="command", executor="shell", command="true")(print)


async def test_tasks_that_do_not_say_otherwise_get_the_defaults(write):
    write(DEFAULTS)
    app = Rota()
    declared(app)
    async with app:
        found = await app.engine.tasks([f"main/{name}" for name in ("silent", "some", "all", "endless", "command")])
    assert [task.clocks.attempt_ms for task in found.values()] == [7_000, 7_000, 3_600_000, None, 7_000]
    ours = Retry(retries=5, delay_ms=2_000, rate=3.0)
    assert [task.retry for task in found.values()] == [
        ours,
        Retry(retries=1, delay_ms=2_000, rate=3.0),
        Retry(retries=2),
        ours,
        Retry(retries=0, delay_ms=2_000, rate=3.0),
    ]
    assert app.store == "sqlite:///here.db"
    assert Path("here.db").exists()


async def test_a_store_in_the_code_stays_and_kinds_add_up(write):
    app = Rota("sqlite:///:memory:", config=write("[worker]\nhttp = true\nallow = ['10.0.0.0/8']", "my.toml"))
    app.kinds = Kinds(shell=True, allow=("a.example",))
    async with app:
        assert app.store == "sqlite:///:memory:"
        assert app.kinds == Kinds(shell=True, http=True, allow=("a.example", "10.0.0.0/8"))


async def test_an_app_with_broken_settings_does_not_open(write):
    with pytest.raises(Invalid, match=r"my\.toml: there is no section x"):
        async with Rota("sqlite:///:memory:", config=write("x = 1", "my.toml")):
            pass
    with pytest.raises(Invalid, match=r"no\.toml cannot be read"):
        async with Rota("sqlite:///:memory:", config="no.toml"):
            pass


async def test_a_running_app_obeys_and_follows_its_file(write):
    path = write(
        """
        [worker]
        max_concurrent_tasks = 2
        heartbeat_interval = "50ms"
        queues = ["mail"]
        [observability]
        log_level = "error"
        """
    )
    app = Rota("sqlite:///:memory:")
    async with app.running() as roles, asyncio.timeout(30):
        assert roles.worker
        (session,) = await open_sessions(app.engine)
        assert (session.slots, session.queues, session.ttl_ms) == (2, ("mail",), 10_000)
        assert logging.getLogger("rota").level == logging.ERROR
        replace(path, "[worker]\nmax_concurrent_tasks = 3\n[schedule]\nscan_interval = '1s'\n")
        while (await open_sessions(app.engine))[0].slots != 3:
            await asyncio.wait([asyncio.create_task(roles.worker.ended.wait())], timeout=0.5)
        assert roles.worker.scan_ms == 1_000
    assert logging.getLogger("rota").level == logging.INFO


async def test_what_the_code_says_of_a_worker_goes_before_the_file(write):
    write("[worker]\nmax_concurrent_tasks = 2\nqueues = ['mail']\n")
    app = Rota("sqlite:///:memory:")
    async with app.running(slots=4, queues=["fax"], scheduler=False):
        (session,) = await open_sessions(app.engine)
        assert (session.slots, session.queues) == (4, ("fax",))
