"""`rota bench --profile`: microseconds of each named step of a run, by running the real verbs in batches."""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from rota.cli.bench.tasks import app, noop
from rota.domain.ids import timed_id
from rota.domain.records import Session
from rota.engine.claim import claim
from rota.engine.engine import Engine
from rota.engine.sessions import enter
from rota.engine.settle import settle
from rota.engine.submit import Order, submit
from rota.ports.store import Store, Want
from rota.worker.attempt import Attempt, perform
from rota.worker.context import RunContext

BATCH = 500


class TimedStore:
    """A store that notes the seconds of each step, and apart from these what its `commit` and `claim` took."""

    def __init__(self, store: Store) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._store = store
        self._spent = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(self._timed, found) if name in ("commit", "claim") else found

    async def _timed(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        began = time.perf_counter()
        try:
            return await call(*args)
        finally:
            self._spent += time.perf_counter() - began

    async def take(self, name: str, work: Any) -> Any:
        """Await `work`; its time goes to `name`, but for what its store calls took."""
        self._spent = 0.0
        began = time.perf_counter()
        answer = await work
        self.seconds[f"{name}: decide"] += time.perf_counter() - began - self._spent
        self.seconds[f"{name}: store"] += self._spent
        return answer


async def profile(runs: int) -> dict[str, float]:
    """µs a run of each step, over `runs` no-op runs in batches of 500."""
    async with app:
        store = TimedStore(app.engine.store)
        engine = Engine(store, app.engine.clock, app.engine.chance)
        lane = f"main/{noop.task.queue}/python/"
        session = Session("profile", "profile", "", 0, (lane,), (noop.task.queue,), ("python",))
        await enter(engine, session)
        want = Want(session.id, "profile", 1, BATCH, (lane,))
        batches = max(runs // BATCH, 1)
        for _ in range(batches):
            await _batch(engine, store, want)
    return {name: round(seconds / (batches * BATCH) * 1e6, 2) for name, seconds in store.seconds.items()}


async def _batch(engine: Engine, steps: TimedStore, want: Want) -> None:
    began = time.perf_counter()
    payloads = [noop.signature.encode_arguments((), {}) for _ in range(BATCH)]
    steps.seconds["submit: check arguments"] += time.perf_counter() - began
    orders: Sequence[Order] = [Order(task=noop.task.name, payload=payload) for payload in payloads]
    await steps.take("submit", submit(engine, orders))
    token = want._replace(token=int(timed_id(engine.clock.now(), engine.chance.bits(80))[:15], 16))
    taken = (await steps.take("claim", claim(engine, [token])))[0]
    executors = app.executors()
    began = time.perf_counter()
    settlements = []
    for assignment in taken.assignments:
        context = RunContext(assignment, None, engine.clock, lambda line: None)
        attempt = Attempt(assignment, context, 0, None)
        settlements.append(attempt.settlement(await perform(attempt, executors, engine.clock.now())))
    steps.seconds["perform: the whole pipeline"] += time.perf_counter() - began
    await steps.take("settle", settle(engine, settlements))
