"""The worker: a session, slots, and the loops that fill and empty them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from rota.domain.errors import Barred, Incompatible
from rota.domain.facts import Trouble
from rota.domain.ids import session_id
from rota.domain.lane import lanes, relabelled
from rota.domain.run import End, Fence, Outcome, Reason
from rota.ports.desk import LEFT, Assignment, Desk, Settlement, Taken
from rota.ports.executor import Executor
from rota.ports.loops import Backoff, end, wait_for_event
from rota.ports.runtime import Chance, Clock, Emit
from rota.ports.store import BeatReply, Want, Watch
from rota.worker.attempt import CANCELLED, FOREIGN, LEAVING, Attempt, cut_short, perform, time_left
from rota.worker.capture import Capture
from rota.worker.context import RunContext
from rota.worker.lacking import Lacking
from rota.worker.load import Counted
from rota.worker.options import Options
from rota.worker.outbox import Outbox
from rota.worker.placed import Placed
from rota.worker.pulse import Connect, Listen, Pulse
from rota.worker.reporter import Reporter
from rota.worker.wheel import Wheel

CLAIM_LIMIT = 1_000
HASTE_MS = 1_000
"""How long what is stopped in a hurry, or by force, may take to end; and at least, to tell how it ended."""
FULL = Outcome(End.RETURNED, reason="its worker had no room for it")
STUCK = "more than half of its slots are held by attempts that do not end, it takes no more; see docs/guarantees.md"


class Worker:
    """One life of a worker process. `ended` is set when it has nothing more to do, `failed` says why if by itself."""

    def __init__(
        self,
        desk: Desk,
        listen: Listen,
        connect: Connect,
        executors: Mapping[str, Executor],
        options: Options,
        runtime: tuple[Clock, Chance, Emit | None],
    ) -> None:
        self._desk = desk
        self._listen = listen
        self._connect = connect
        self._executors = executors
        self._options = options
        self._clock, self._chance, self._emit = runtime
        self.slots, self.scan_ms = options.slots, options.scan_ms
        self.failed, self.ended = "", asyncio.Event()
        self._attempts: dict[Fence, Attempt] = {}
        self._abandoned: set[Attempt] = set()
        self._lacking = Lacking(options.name, self._clock, self._emit)
        self._cancels: tuple[str, ...] = ()
        self._room, self._idle = asyncio.Event(), asyncio.Event()
        self._labels = options.labels
        self._lanes = lanes(options.namespaces, options.queues, tuple(executors), options.labels)
        self._reporter = Reporter(desk, self._attempts, options.report_ms, self._emit)
        self._outbox = Outbox(self._settle, self._emit)
        self._wheel = Wheel(self._attempts, self._clock, options.grace_ms, self._give_up)
        self.session = ""
        """Id of the one now open."""
        self._counted = Counted(self._attempts)
        self._closed = self._doubt = self._claiming = False
        self._placed, self._differing = Placed(), 0
        self._leaving = self._hurried = self._barred = False
        self._pulse: Pulse | None = None
        self._ear: Watch | None = None
        self._taking: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._loops: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """Attempts in slots."""
        return len(self._attempts)

    async def start(self) -> None:
        """Open a session and begin to take work."""
        await self._enter()
        Capture.start()
        begin = asyncio.create_task
        self._loops = [begin(self._outbox.run()), begin(self._reporter.run()), begin(self._wheel.run())]
        self._taking = begin(self._take_work())

    async def stop(self) -> None:
        """Drain: take nothing more, let running attempts finish for a while, hand the rest back unburnt, leave.

        All who call it await the same end.
        """
        if self._loops and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        if self._stopping:
            await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._leaving = True
        await self._take_no_more()
        self._loops.append(asyncio.create_task(self._hand_back()))
        await self._finish(self._options.drain_ms)
        for attempt in list(self._attempts.values()):
            self._wheel.stop(attempt, LEAVING)
        await self._finish(self._options.grace_ms)
        for attempt in self._attempts.values():
            if attempt.task:
                attempt.task.cancel()  # a second time: its executor uses force
        await self._finish(HASTE_MS)
        for attempt in list(self._attempts.values()):
            self._give_up(attempt, cut_short(attempt))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._barred else max(self._options.drain_ms, HASTE_MS) / 1000):
                with contextlib.suppress(Exception):
                    await self._reconcile()
                await self._outbox.empty()
        await end(*self._loops)
        self._loops = []
        await self._exit()
        Capture.stop()
        self.ended.set()

    async def _hand_back(self) -> None:
        """While it leaves: what the leader places here meanwhile goes elsewhere."""
        while True:
            self._room.clear()
            if self._doubt:
                with contextlib.suppress(Exception):  # then its session's end shows them
                    await self._reconcile()
            await self._room.wait()

    def hurry(self) -> None:
        """Let a `stop`, under way or to come, wait for nothing that runs: it is ended by force and handed back."""
        self._hurried = True
        self._idle.set()

    async def _take_no_more(self) -> None:
        """A claim under way is waited for, and a lost one asked about: what it brought is ours to end or hand back."""
        if self._ear:
            self._ear.wake()  # a desk across a network lets a claim that waits for work go
        if self._taking and self._claiming and not self._barred:
            await asyncio.wait([self._taking], timeout=self._options.ttl_ms / 1000)
            self._doubt = self._doubt or not self._taking.done()
        await end(self._taking)
        if self._doubt:
            with contextlib.suppress(Exception):  # then `recover` finds them
                await self._reconcile()

    async def _enter(self) -> None:
        """A new session for this life, and the pulse that keeps it."""
        options, now = self._options, self._clock.now()
        self.session = session_id(options.name, now, self._chance.bits(80))
        session = options.session(self.session, self._lanes, tuple(self._executors), now)
        topics = [f"lane:{space}/{queue}/*" for space in options.namespaces for queue in options.queues]
        self._ear = self._listen(topics)
        self._placed.vouched = self._clock.monotonic()
        await self._desk.enter(replace(session, labels=self._labels, slots=self.slots))
        heard = partial(self._heard, self.session)
        load = self._counted.load if options.thread else None
        self._pulse = Pulse(self.session, options.beat_ms, self._connect, heard, self._clock, self._emit, load)
        await self._pulse.start(options.thread)

    async def _exit(self) -> None:
        if self._pulse:
            await self._pulse.stop()
        if self._ear:
            self._ear.close()
        with contextlib.suppress(Exception):  # the session lapses by itself where the store can't be reached
            await self._desk.leave(self.session, "stopped" if self._barred or len(self._outbox) else LEFT)

    async def _finish(self, within_ms: int) -> None:
        """Wait until no attempt runs, or so long; in a hurry hardly at all."""
        if self._attempts:
            self._idle.clear()
            await wait_for_event(self._idle, (min(within_ms, HASTE_MS) if self._hurried else within_ms) / 1000)

    async def _take_work(self) -> None:
        backoff = Backoff("claim", self._emit)
        while not self._leaving:
            try:
                await self._round()
                backoff.reset()
            except Exception as error:
                # No answer: the claim may have happened. What the store says we hold decides.
                self._doubt, self._claiming = True, False
                if isinstance(error, Barred):
                    return self._stop_barred(error)
                if isinstance(error, Incompatible):
                    self.failed = self.failed or str(error)
                    self.ended.set()
                await backoff.failed(error)

    async def _round(self) -> None:
        """One claim and what follows from it."""
        self._room.clear()  # who sets it from here on is heard
        if self._closed:
            await self._reenter()
        if self._doubt:
            await self._reconcile()
        free = self._free()
        if free <= 0:
            await wait_for_event(self._room, self.scan_ms / 1000)
            return
        name, token = self._options.name, self._chance.bits(62)
        want = Want(self.session, name, token, min(free, CLAIM_LIMIT), self._lanes, self._lacking.tasks())
        self._claiming, asked = True, self._clock.monotonic()
        taken = await self._desk.claim(want)
        given = await self._still_ours(asked + taken.waited_ms, taken.assignments)
        self._claiming, self._closed = False, self._closed or not taken.open
        # What was posted meanwhile may have filled its slots.
        self._begin(given, self._free() if self._options.address else len(given))
        more = len(taken.assignments) == want.limit or taken.contended
        if self._ear and not (more or self._closed or self._leaving or self._doubt):
            await self._ear.wait(self.scan_ms / 1000)
        else:
            await asyncio.sleep(0)

    async def _still_ours(self, since: int, given: Sequence[Assignment]) -> Sequence[Assignment]:
        """Those of what was given that may start. What took long to come, as large payloads do on a slow way, is asked
        about first: it may be over, its session lapsed, its runs taken back, even cancelled.
        """
        while given and self._clock.monotonic() - since > self._options.ttl_ms // 2:
            since = self._clock.monotonic()
            held = {run.fence for run in await self._desk.held(self.session)}
            ours = [one for one in given if one.run.fence in held]
            given, self._doubt = ours, self._doubt or len(ours) < len(given)
        return () if self._closed or self._barred else given

    def _free(self) -> int:
        """Slots to fill now; none once it is to leave, nor while too many outcomes wait for the store."""
        if self.ended.is_set() or len(self._outbox) > 2 * self.slots + CLAIM_LIMIT:
            return 0
        return self.slots - len(self._attempts) - self._held_up()

    def _begin(self, assignments: Sequence[Assignment], room: int) -> None:
        """Start so many; the rest goes back unburnt."""
        for place, assignment in enumerate(assignments):
            if place < room:
                self._start(assignment)
            else:
                self._outbox.put(Settlement(assignment.run.fence, FULL))

    async def take(self, taken: Taken) -> list[str]:
        """Start what was posted here, if it is ours and new; the runs dealt with. Others of ours show by a beat."""
        async with self._placed.lock:
            if self._closed or self._barred or self._clock.monotonic() >= self._placed.vouched + self._options.ttl_ms:
                return []  # the session may have lapsed, and its runs be with others
            ours = self._placed.ours(taken.assignments, self.session, self._lanes)
            self._begin(self._placed.new(ours, self._known()), 0 if self._leaving else self._free())
            return [one.run.id for one in ours]

    def _start(self, assignment: Assignment) -> None:
        run, now, began = assignment.run, self._clock.now(), self._clock.monotonic()
        left = time_left(run, now)
        deadline_at, limit = (None, None) if left is None else (now + left, began + left)
        context = RunContext(assignment, deadline_at, self._clock, self._reporter.line)
        attempt = Attempt(assignment, context, began, limit)
        self._attempts[attempt.fence] = attempt
        self._wheel.watch(attempt)
        if run.cancel or run.id in self._cancels:
            self._wheel.stop(attempt, CANCELLED)
        attempt.task = asyncio.create_task(self._live(attempt), name=f"run {run.id} of {run.task}")

    async def _live(self, attempt: Attempt) -> None:
        """The whole pipeline of an attempt: perform, then its outcome into the outbox and its slot free."""
        outcome = await perform(attempt, self._executors, self._clock.now())
        if attempt in self._abandoned:
            self._abandoned.discard(attempt)
        else:
            self._conclude(attempt, outcome)
        self._room.set()

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        """It is over for the system: its outcome, if it is ours to tell, goes out."""
        del self._attempts[attempt.fence]
        if not self._attempts:
            self._idle.set()
        if attempt.context.stopping == FOREIGN:
            return
        self._counted.ended(outcome.end)
        if outcome.reason == Reason.NO_HANDLER:
            self._lacking.add(attempt.assignment.run, outcome.error)
        self._outbox.put(attempt.settlement(outcome))

    def _give_up(self, attempt: Attempt, outcome: Outcome) -> None:
        """It does not end although it was told to: its outcome goes out, its slot stays taken."""
        self._abandoned.add(attempt)
        self._conclude(attempt, outcome)
        self._check_threads()

    def _held_up(self) -> int:
        """Slots held by what nobody can end: attempts that were given up, threads that their executor left behind."""
        return len(self._abandoned) + sum(getattr(executor, "abandoned", 0) for executor in self._executors.values())

    def _check_threads(self) -> None:
        if not self._leaving and self._held_up() > self.slots / 2:
            if not self.failed and self._emit:
                self._emit(Trouble("worker", RuntimeError(STUCK)))
            self.failed = STUCK
            self.ended.set()

    def _stop_barred(self, error: Barred) -> None:
        """Nobody listens to it any more: what runs is ended, as work that is not ours."""
        self.failed = self.failed or str(error)
        self._barred = True
        self._disown()
        self.hurry()
        self.ended.set()

    def _disown(self) -> None:
        """What it held is not ours any more."""
        for attempt in self._attempts.values():
            self._wheel.stop(attempt, FOREIGN)

    def _heard(self, session: str, reply: BeatReply | Barred, asked: int) -> None:
        """The answer to a beat that was asked then, on the worker's loop."""
        if session != self.session:
            return
        if isinstance(reply, Barred):
            return self._stop_barred(reply)
        if not reply.open:
            self._closed = True
            self._disown()
            self._wake()
            return
        self._placed.vouched, self._cancels = asked, reply.cancels
        for attempt in self._attempts.values():
            if attempt.assignment.run.id in reply.cancels:
                self._wheel.stop(attempt, CANCELLED)
        if reply.slots != self.slots:
            self.slots = reply.slots
            self._wake()
        if set(reply.labels) != set(self._labels):
            self._labels, self._lanes = reply.labels, relabelled(self._lanes, reply.labels)
            self._wake()
        if reply.draining and not self._leaving:
            self.ended.set()
        self._differing = 0 if self._agrees(reply) else self._differing + 1
        # Once may be an outcome on its way; a hint may be of a run placed here.
        if self._differing > (0 if reply.hinted else 1):
            self._doubt = True
            self._wake()
        self._check_threads()

    def _agrees(self, reply: BeatReply) -> bool:
        ours = [one.fence.token % 2**31 for one in self._attempts.values() if one.context.stopping != FOREIGN]
        return reply.held == len(ours) and reply.digest == sum(ours)

    def _wake(self) -> None:
        self._room.set()
        if self._ear:
            self._ear.wake()

    async def _reconcile(self) -> None:
        """Make both sides agree on what this session holds. Runs between claims, so no claim is under way."""
        if self._closed or self._barred:
            return  # it holds nothing any more: what it held is `recover`'s
        async with self._placed.lock:
            # A doubt that comes up meanwhile is a new one.
            self._doubt, self._differing = False, 0
            known, asked = self._known(), self._clock.monotonic()
            held = [run.fence for run in await self._desk.held(self.session)]
            known |= self._known()
            unknown = [fence for fence in held if fence not in known]
            for fence, attempt in self._attempts.items():
                if fence not in held:
                    self._wheel.stop(attempt, FOREIGN)
            room = 0 if self._leaving else max(self._free(), 0)
            self._placed.heard(unknown[room:])
            for fence in unknown[room:]:
                self._outbox.put(Settlement(fence, FULL))
            if unknown[:room]:
                # Placed here by the leader, or the answer to their claim was lost.
                taken = await self._desk.given(self.session, [fence.run for fence in unknown[:room]])
                self._placed.heard(one.run.fence for one in taken.assignments)
                self._begin(await self._still_ours(asked, taken.assignments), room)

    def _known(self) -> set[Fence]:
        """Attempts that run here or whose outcome is on its way."""
        return self._outbox.fences() | self._attempts.keys()

    async def _reenter(self) -> None:
        """The session was closed: begin a new life."""
        self._disown()
        await self._exit()
        await self._enter()
        self._closed = self._doubt = False

    async def _settle(self, settlements: list[Settlement]) -> None:
        """Output first, so that whoever sees the end sees the lines; then the outcomes."""
        await self._reporter.flush()
        await self._desk.settle(settlements)
        self._room.set()
