"""A client that submits, claims and settles, and is killed at one of its writes; then another one, at the next write.

    python program_kill_at_commit.py FOLDER before|after

Each client is a process and has a file of its own in FOLDER. What it was told of acknowledged writes, after the answer
came, it passes on as lines of JSON on standard output; client 0 lives, and tells the number of writes. Everything is
fixed, tokens too, so that all clients are the same.
"""

import asyncio
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from rota.domain.records import Unique, Until
from rota.domain.retry import Retry
from rota.domain.run import TERMINAL, End, Outcome, Run
from rota.domain.states import Due, Event, Settle, advance
from rota.ports.store import APPLIED, Change, Group, Guard, Hint, Store, Term, Versioned, Want
from rota.stores import connect
from rota.testing.clock import START_AT
from rota.testing.contracts.store.steps import FOREVER_MS, LANE, TALLY, new
from rota.testing.factories import make_run, make_session
from rota.testing.faults import Fault, FaultyStore, at

NOW = START_AT + 1_000
SESSION = make_session(1)
DONE = Outcome(End.SUCCESS, b"[]")
FAILED = Outcome(End.FAILURE, error="E")
WRITES = 16
"""Of the whole scenario."""
TOKENS = range(1_001, 1_100)


class Told:
    """Where a client says what it was told."""

    client = 0


def tell(**what: object) -> None:
    os.write(1, json.dumps({"client": Told.client, **what}).encode() + b"\n")


def submission(number: int) -> Group:
    """A run and its unique key."""
    run = make_run(number, keys=(f"main/unique/{number}",))
    return new(run, Unique(run.keys[0], run.id, "", Until.TERMINAL))


SUBMISSIONS = [submission(number) for number in range(1, 7)]


class Client:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.tokens = iter(TOKENS)

    async def submit(self, *groups: Group) -> None:
        assert set(await self.store.commit(groups, hints=[Hint(LANE)])) == {APPLIED}
        for group in groups:
            tell(did="submitted", run=group.changes[0].now.id)

    async def claim(self, limit: int) -> list[Versioned[Run]]:
        want = Want(SESSION.id, SESSION.worker, next(self.tokens), limit, (LANE,))
        (claimed,) = await self.store.claim([want], NOW)
        for held in claimed.runs:
            tell(did="claimed", run=held.record.id, attempt=held.record.attempt, token=held.record.token)
        return list(claimed.runs)

    async def move(self, guard: Guard, *moves: tuple[Versioned[Run], Event]) -> None:
        groups = [await self.moved(was, event) for was, event in moves]
        assert set(await self.store.commit(groups, guard)) == {APPLIED}
        for group in groups:
            tell(did="moved", run=group.changes[0].now.id, state=group.changes[0].now.state)

    async def moved(self, was: Versioned[Run], event: Event) -> Group:
        now = advance(was.record, event, NOW)
        freed = await self.store.get(Unique, [key for key in was.record.keys if key not in now.keys])
        changes = (Change(was, now), *(Change(key, None) for key in freed))
        return Group(changes, TALLY if now.state in TERMINAL else None)


async def scenario(store: Store) -> None:
    client = Client(store)
    term = await store.lead("scheduler", "a", FOREVER_MS)
    tell(did="led", number=term.number)
    await store.commit([new(SESSION)])
    tell(did="opened")
    await client.submit(SUBMISSIONS[0])
    await client.submit(*SUBMISSIONS[1:4])
    first, second = await client.claim(2)
    await client.move(None, (first, Settle(DONE)))
    await client.submit(SUBMISSIONS[4])
    rest = await client.claim(2)
    again = Settle(FAILED, Retry(1, delay_ms=5))
    await client.move(None, (second, again), (rest[0], Settle(DONE)), (rest[1], Settle(FAILED)))
    await store.beat([SESSION.id])
    (waiting,) = await store.get(Run, [second.record.id])
    assert waiting is not None
    await client.move(Term("scheduler", term.number), (waiting, Due()))
    await client.submit(SUBMISSIONS[5])
    await client.move(None, *((held, Settle(DONE)) for held in await client.claim(9)))
    (session,) = await store.get(type(SESSION), [SESSION.id])
    await store.commit([Group((Change(session, make_session(1, closed_at=NOW)),))])
    tell(did="closed")
    await store.lead("scheduler", "a", 0)
    tell(did="resigned")


async def play(folder: Path, number: int, side: str) -> None:
    kill = partial(os.kill, os.getpid(), signal.SIGKILL)
    killed = Fault("killed", before=kill) if side == "before" else Fault("killed", after=kill)
    store = FaultyStore(connect(f"sqlite:///{folder}/{number}.db"), at(number, killed))
    await store.open()
    await scenario(store)
    await store.close()
    tell(writes=len(store.calls))


def in_a_process(folder: Path, number: int, side: str) -> None:
    """A fork, so that only one process pays for the imports; nothing runs yet that a fork could break."""
    child = os.fork()
    if child == 0:
        Told.client = number
        asyncio.run(play(folder, number, side))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    Told.client = number
    tell(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    connect("sqlite://")  # imports what it needs, once
    for number in range(WRITES + 1):
        in_a_process(Path(sys.argv[1]), number, sys.argv[2])
