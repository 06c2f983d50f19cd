"""What the clients of a campaign do: submit, submit again, cancel, look, and change schedules; each act is logged
before it is begun and after it was answered. The same seed and name do the same, as far as the answers allow.
"""

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random

from rota import Rota
from rota.domain.errors import NotFound, Refused, Unavailable, Unclear
from rota.domain.run import Run
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule
from rota.domain.triggers import Interval
from rota.engine.control import cancel
from rota.engine.define import create_schedule, delete_schedule, pause_schedule, resume_schedule, update_schedule
from rota.engine.engine import Engine, every
from rota.engine.submit import Order, submit
from rota.ports.loops import wait_for_event
from tests.chaos.history import FAILED, OK, REFUSED, UNCLEAR, Told, boot
from tests.chaos.rig import Rig

LOOPS = 3
PAUSE_S = 0.05
EDITED, EDITORS = 4, 2
"""Schedules that clients keep changing, and how many loops of each do so."""
MARK = "-edited-"
"""In their names."""
PERIOD_MS = 500
LONG_MS = 3_000
"""Of some slow runs: long enough to be still going on when a frozen worker wakes that had them before."""
ACTOR = "chaos"
ONLY = os.environ.get("CHAOS_LOAD", "")
TASKS = (ONLY,) if ONLY else ("quick",) * 9 + ("slow", "slow", "flaky", "flaky", "doomed", "once")
PLAIN = Policy(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, misfire_ms=1_000)


class Client:
    """One loop of a client: it does one thing after the other."""

    def __init__(self, engine: Engine, log: Told, name: str, seed: int) -> None:
        self.engine = engine
        self.log = log
        self.name = name
        self.random = Random(f"{seed}/{name}")
        self.number = 0
        self.acts = count()
        self.mine: deque[str] = deque(maxlen=20)
        """Keys that were tried lately."""
        self.runs: deque[str] = deque(maxlen=20)

    async def act(self) -> None:
        """One thing or another."""
        dice = self.random.random()
        if dice < 0.72 or not self.mine:
            self.number += 1
            await self.submit(f"{self.name}-{self.number}")
        elif dice < 0.80:
            await asyncio.gather(*(self.submit(self.random.choice(self.mine)) for _ in range(2)))
        elif dice < 0.82:
            await self.submit(self.random.choice(self.mine), "another body")
        elif self.runs:
            run = self.random.choice(self.runs)
            await (self.cancel(run) if dice < 0.93 else self.look(run))

    async def submit(self, key: str, other: str = "") -> None:
        task = "quick" if other and not ONLY else TASKS[hash_of(key) % len(TASKS)]
        more = "x" * 5_000 if hash_of(key) % 10 == 0 else ""
        payload: dict[str, object] = {"op": key}
        if task == "quick":
            payload["more"] = other or more
        if task == "slow" and (ONLY or hash_of(key) % 3 == 0):
            payload["ms"] = LONG_MS
        if key not in self.mine:
            self.mine.append(key)
        order = Order(task, payload=json.dumps(payload).encode(), key=key, actor=ACTOR)
        if task == "slow":
            order = order._replace(due_at=self.engine.clock.now() + self.random.choice((0, 300, 1_500)))
        elif task == "quick" and hash_of(key) % 4 == 0:
            order = order._replace(unique=f"unique-{hash_of(key) % 5}")

        async def asked() -> tuple[str, str]:
            run = (await submit(self.engine, [order]))[0].id
            self.runs.append(run)
            return run, f"{task}:{order.unique or ''}"

        await self.noted("other" if other else "submit", key, asked)

    async def cancel(self, run: str) -> None:
        async def asked() -> tuple[str, str]:
            return run, await cancel(self.engine, run, ACTOR)

        await self.noted("cancel", run, asked)

    async def look(self, run: str) -> None:
        async def asked() -> tuple[str, str]:
            found = (await self.engine.store.get(Run, [run]))[0]
            return run, f"{found.record.state}:{found.record.attempt}" if found else "gone"

        await self.noted("look", run, asked)

    async def noted(self, verb: str, subject: str, ask: Callable[[], Awaitable[tuple[str, str]]]) -> None:
        """Ask, with the log told before and after."""
        began = boot()
        act = f"{os.getpid()}/{self.name}/{next(self.acts)}"
        self.log.tell(op=act, verb=verb, subject=subject, began=began)
        run = more = ""
        try:
            run, more = await ask()
            answer = OK
        except Unclear:
            answer = UNCLEAR
        except Unavailable:
            answer = FAILED
        except (Refused, NotFound) as error:
            answer, more = REFUSED, str(error)
        except Exception as error:
            answer, more = type(error).__name__, str(error)
        self.log.tell(op=act, ended=boot(), answer=answer, run=run, more=more)


class Editor(Client):
    """A loop that creates, pauses, resumes, edits and deletes schedules, those of other clients as well as its own."""

    async def act(self) -> None:
        """Something with any of them, a new one while there are few."""
        try:
            found = [held.record.id for held in await every(self.engine, Schedule) if MARK in held.record.name]
        except (Unavailable, Unclear):
            return
        if len(found) < EDITED:
            self.number += 1
            await self.change("create", f"main/{self.name}{MARK}{self.number}-{boot()}", 0)
        else:
            verb = self.random.choice(("edit", "edit", "edit", "pause", "resume", "resume", "delete"))
            await self.change(verb, self.random.choice(found), self.random.randrange(PERIOD_MS))

    async def change(self, verb: str, name: str, phase: int) -> None:
        engine, trigger = self.engine, Interval(PERIOD_MS, anchor_at=phase)

        async def asked() -> tuple[str, str]:
            match verb:
                case "create":
                    made = Schedule("main", name.partition("/")[2], "tick", trigger, policy=PLAIN)
                    await create_schedule(engine, made, ACTOR)
                case "edit":
                    await update_schedule(engine, name, {"trigger": trigger}, ACTOR)
                case "pause":
                    await pause_schedule(engine, name, "why not", ACTOR)
                case "resume":
                    await resume_schedule(engine, name, ACTOR)
                case _:
                    await delete_schedule(engine, name, ACTOR)
            return "", str(phase)

        await self.noted(verb, name, asked)


def hash_of(key: str) -> int:
    """The same in every process."""
    return sum(key.encode())


async def live(app: Rota, rig: Rig, name: str, seed: int) -> None:
    """A client, until SIGTERM. Clients whose names begin alike share their keys."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    log = Told(rig.folder / "client")
    async with app:
        loops = [Client(app.engine, log, f"k{number}-{boot() // 10_000}", seed) for number in range(LOOPS)]
        loops += [Editor(app.engine, log, f"{name}-e{number}", seed) for number in range(EDITORS)]

        async def go_on(one: Client) -> None:
            pause_s = PAUSE_S * (10 if ONLY or isinstance(one, Editor) else 1)
            while not over.is_set():
                await one.act()
                await wait_for_event(over, pause_s * 2 * one.random.random())

        await asyncio.gather(*map(go_on, loops))
