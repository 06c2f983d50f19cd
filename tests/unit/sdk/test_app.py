"""The app: opened and closed in any order, from anywhere, and nothing of it left behind."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rota import Invalid, Rota, RotaError, Unavailable
from rota.domain.facts import SessionChanged, Trouble
from rota.domain.records import Session
from rota.engine.control import drain
from rota.engine.recover import open_sessions
from rota.engine.submit import Order
from rota.ports.store import Where
from rota.scheduler.options import Options as SchedulerOptions
from rota.sdk.handle import Handle
from rota.testing.recorder import Recorder
from rota.worker.options import Options


async def hello(name: str = "you") -> str:
    return f"hello {name}"


def left(before: set[threading.Thread]) -> set[str]:
    """Threads of ours that are there since then, and do not end either."""
    ours = {one for one in set(threading.enumerate()) - before if not one.name.startswith("asyncio_")}
    for one in ours:
        one.join(2)
    return {one.name for one in ours if one.is_alive()}


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'rota.db'}"


@pytest.fixture(autouse=True)
def _nothing_left():
    """No thread, and nothing unclosed that would complain when it is collected: warnings are errors here."""
    before = set(threading.enumerate())
    gc.freeze()  # what other tests left is none of our business, and there is much of it
    yield
    gc.collect()
    gc.unfreeze()
    assert left(before) == set()


async def test_open_and_close_twice(url):
    app = Rota(url)
    say = app.task(hello)
    await app.aclose()
    for _ in range(3):
        await app.aopen()
        await app.aopen()
        assert await (await say.asubmit()).astate() == "pending"
        await app.aclose()
        await app.aclose()
    with pytest.raises(RotaError, match="not open"):
        _ = app.client


def test_open_and_close_without_a_loop(url):
    app = Rota(url)
    say = app.task(hello)
    for _ in range(2):
        app.open()
        app.open()
        assert say.submit().state() == "pending"
        app.close()
        app.close()


def test_a_submission_opens_the_app(url):
    app = Rota(url)
    assert app.task(hello).submit().state() == "pending"
    app.close()


async def test_who_waited_too_long_is_led_to_the_store(url, monkeypatch):
    """By an option where a command would look elsewhere."""
    for named, lead in ((url, ""), ("sqlite:///other.db", f" --store {url}")):
        monkeypatch.setenv("ROTA_STORE", named)
        async with Rota(url) as app:
            handle = await app.task(hello).asubmit()
            with pytest.raises(TimeoutError) as caught:
                await handle.aresult(0)
        assert str(caught.value).endswith(f"; `rota runs explain {handle.id}{lead}` says why")


async def test_who_waited_too_long_is_not_led_into_another_process():
    async with Rota("sqlite://") as app:
        handle = await app.task(hello).asubmit()
        with pytest.raises(TimeoutError) as caught:
            await handle.aresult(0)
    assert str(caught.value) == f"run {handle.id} has not ended in 0.0 s"


async def test_many_open_it_at_once(url):
    app = Rota(url)
    say = app.task(hello)
    await asyncio.gather(*(app.aopen() for _ in range(20)))
    first = app.client
    assert await (await say.asubmit()).astate() == "pending"
    assert app.client is first
    await app.aclose()


def test_many_threads_and_loops_open_it_at_once(url):
    """Two loops that both find it closed must not open it twice, nor wait for each other for ever."""
    app = Rota(url)
    say = app.task(hello)
    together = threading.Barrier(8)

    def synchronous(_: int) -> str:
        together.wait(20)
        return str(say.submit().state())

    def on_a_loop(_: int) -> str:
        async def submits() -> str:
            return str(await (await say.asubmit()).astate())

        together.wait(20)
        return asyncio.run(submits())

    with ThreadPoolExecutor(8) as pool:
        ways = [pool.submit([synchronous, on_a_loop][number % 2], number) for number in range(8)]
        assert [way.result(20) for way in ways] == ["pending"] * 8
    app.close()


async def test_an_app_that_cannot_open_leaves_nothing_open(tmp_path):
    app = Rota(f"sqlite:///{tmp_path / 'nowhere' / 'rota.db'}")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await app.aopen()


async def test_tasks_that_cannot_be_registered_leave_nothing_open(url, monkeypatch):
    async def refusing(*_: object, **__: object) -> None:
        raise Invalid("tasks", "not these")

    app, before = Rota(url), set(threading.enumerate())
    say = app.task(hello)
    with monkeypatch.context() as patched:
        patched.setattr("rota.embed.register", refusing)
        for _ in range(3):
            with pytest.raises(Invalid):
                await app.aopen()
        assert left(before) == set()
    assert await (await say.asubmit()).astate() == "pending"
    await app.aclose()


async def test_leaving_the_block_ends_the_synchronous_side_too(url):
    app = Rota(url)
    say = app.task(hello)
    async with app:
        handle = await asyncio.to_thread(say.submit)
        assert await handle.astate() == "pending"


@pytest.mark.parametrize("store", ["", "sqlite://"])
async def test_it_lives_and_dies_with_a_web_program(url, store):
    """As FastAPI and Starlette do it: enter with the program, submit meanwhile, leave."""
    app = Rota(store or url)
    say = app.task(hello)
    for _ in range(2):
        async with app.lifespan(object()):
            handle = await say.asubmit("web")
            assert await handle.aresult(20) == "hello web"
        with pytest.raises(RotaError):
            _ = app.client


async def test_roles_in_an_app_that_was_open_leave_it_open(url):
    app = Rota(url)
    say = app.task(hello)
    async with app:
        async with app.running():
            assert await (await say.asubmit()).aresult(20) == "hello you"
        handle = await say.asubmit()
        assert await handle.astate() == "pending"
        async with app.running(scheduler=False):
            assert await handle.aresult(20) == "hello you"


async def test_only_one_role(url):
    app = Rota(url)
    app.task(hello)
    async with app.running(worker=False) as roles:
        assert (roles.worker, bool(roles.scheduler)) == (None, True)
    async with app.running(scheduler=False) as roles:
        assert (bool(roles.worker), roles.scheduler) == (True, None)


async def test_one_queue_may_be_named_alone(url):
    app = Rota(url)
    async with app.running(scheduler=False, queues="mail"):
        assert [one.queues for one in await open_sessions(app.engine)] == [("mail",)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("slots", 0), ("slots", -1), ("slots", "x"), ("slots", True), ("slots", 10_001), ("queues", ["a b"])],
)
async def test_what_a_worker_cannot_have_is_refused(url, field, value):
    app = Rota(url)
    with pytest.raises(Invalid, match=rf"^{field}: .* is not a "):
        async with app.running(**{field: value}):
            pass
    with pytest.raises(RotaError, match="not open"):
        _ = app.engine


async def test_a_worker_that_cannot_begin_takes_all_back(url, monkeypatch):
    async def refusing(*_: object) -> None:
        raise Unavailable("no session today")

    app = Rota(url)
    app.task(hello)
    streams = (sys.stdout, sys.stderr)
    with monkeypatch.context() as patched:
        patched.setattr("rota.worker.desks.enter", refusing)
        with pytest.raises(Unavailable, match="no session"):
            async with app.running():
                pass
    assert (sys.stdout, sys.stderr) == streams
    async with app.running():
        pass


async def test_one_role_that_fails_to_stop_does_not_keep_the_others(url):
    class Sticky:
        kind = "sticky"

        async def run(self, assignment, context):
            raise AssertionError("nothing runs here")

        async def close(self) -> None:
            raise RuntimeError("it sticks")

    recorder = Recorder()
    app = Rota(url, emit=recorder)
    app.task(hello)
    app.use(Sticky())
    async with app.running():
        pass
    assert [str(fact.error) for fact in recorder.of(Trouble) if fact.where == "stop"] == ["it sticks"]
    assert [fact.open for fact in recorder.of(SessionChanged)] == [True, False]


async def test_the_sessions_of_an_app_are_closed_with_it(url):
    app = Rota(url)
    app.task(hello)
    async with app:
        for _ in range(3):
            async with app.running(worker_options=Options(name="w"), scheduler_options=SchedulerOptions(name="s")):
                pass
        found = (await app.engine.store.find(Session, Where())).items
        assert [(held.record.worker, held.record.open, held.record.reason) for held in found] == [
            ("w", False, "drained")
        ] * 3


SERVING = """
import asyncio
import sys
from rota import Rota
from rota.domain.facts import RunsClaimed, SessionChanged
from rota.worker.options import Options

def emit(fact):
    if isinstance(fact, (RunsClaimed, SessionChanged)):
        print(type(fact).__name__, getattr(fact, "reason", ""), file=sys.__stdout__, flush=True)

app = Rota(sys.argv[1], name="serving", emit=emit)

@app.task(name="lengthy", timeout=None)
async def lengthy() -> str:
    if sys.argv[2] not in ("patient", "held"):
        await asyncio.Event().wait()
    await asyncio.to_thread(sys.stdin.readline)
    return "finished"

app.serve(worker_options=Options(slots=2, drain_ms=50 if sys.argv[2] in ("stuck", "held") else 30_000))
print("served", flush=True)
"""


class Serving:
    """A program that serves, in a process of its own."""

    def __init__(self, url: str, how: str) -> None:
        command = [sys.executable, "-W", "error", "-c", SERVING, url, how]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """The rest of what it says, once it has ended well."""
        rest, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return rest


async def lengthy(app: Rota, serving: Serving) -> Handle:
    """A run that this program has begun."""
    assert await asyncio.to_thread(serving.said) == "SessionChanged"
    handle = app.handle((await app.client.submit(Order("lengthy"))).id)
    assert await asyncio.to_thread(serving.said) == "RunsClaimed"
    return handle


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends_it(url, number):
    """What runs may finish; the program goes on behind `serve` (I27)."""
    async with Rota(url, name="other") as app:
        serving = Serving(url, "patient")
        handle = await lengthy(app, serving)
        serving.process.send_signal(number)
        assert serving.process.stdin
        serving.process.stdin.write("go on\n")
        assert (await asyncio.to_thread(serving.end)).splitlines() == ["SessionChanged drained", "served"]
        assert await handle.aresult(20) == "finished"


async def test_a_signal_hands_back_what_does_not_end(url):
    async with Rota(url, name="other") as app:
        serving = Serving(url, "stuck")
        handle = await lengthy(app, serving)
        serving.process.terminate()
        assert (await asyncio.to_thread(serving.end)).splitlines() == ["SessionChanged drained", "served"]
        run = await handle.arun()
        assert (run.state, run.tries, run.lost) == ("pending", 0, 0)


async def test_a_thread_of_a_task_that_does_not_end_does_not_hold_up_the_end(url):
    async with Rota(url, name="other") as app:
        serving = Serving(url, "held")
        handle = await lengthy(app, serving)
        serving.process.terminate()
        assert await asyncio.to_thread(serving.process.wait, 20) == 0
        assert "ended by force" in serving.process.communicate()[1]
        assert (await handle.arun()).state == "pending"


async def test_its_scheduler_goes_on_when_people_drain_its_worker(url):
    async with Rota(url, name="other") as app:
        serving = Serving(url, "patient")
        assert await asyncio.to_thread(serving.said) == "SessionChanged"
        (session,) = await open_sessions(app.engine)
        await drain(app.engine, session.id, "somebody")
        assert await asyncio.to_thread(serving.said) == "SessionChanged drained"
        process = serving.process
        assert process.stderr
        assert "Ctrl-C stops it" in await asyncio.to_thread(process.stderr.readline)
        assert "shows its runs" in await asyncio.to_thread(process.stderr.readline)
        assert (await asyncio.to_thread(process.stderr.readline)).startswith("rota: the worker is drained and leaves, ")
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 0.3)
        process.terminate()
        assert await asyncio.to_thread(serving.end) == "served\n"


async def test_a_second_signal_ends_at_once_what_runs_and_hands_it_back(url):
    async with Rota(url, name="other") as app:
        serving = Serving(url, "endless")
        handle = await lengthy(app, serving)
        process = serving.process
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "Ctrl-C stops it" in await asyncio.to_thread(process.stderr.readline)
        assert "shows its runs" in await asyncio.to_thread(process.stderr.readline)
        said = await asyncio.to_thread(process.stderr.readline)
        assert said == "rota: 1 running, they may finish; Ctrl-C again ends them at once\n"
        process.send_signal(signal.SIGINT)
        # Two at once are one: a wrapper may pass on what its whole group got.
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 0.7)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.communicate, timeout=30) == ("SessionChanged drained\n", "")
        assert process.returncode == 130
        run = await handle.arun()
        assert (run.state, run.tries, run.lost) == ("pending", 0, 0)
