"""What must hold at every write, judged from outside: by what was asked of the store and what it answered.

The witness keeps a copy of everything written, so that it needs no look into the store; at the end both must be equal.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from rota.domain.errors import RotaError
from rota.domain.records import Pulse, Queue, Session, Tally
from rota.domain.run import LOST_LIMIT, TERMINAL, Cause, Reason, Run, State
from rota.domain.schedule import Overlap, Schedule, Skip
from rota.domain.states import TABLE
from rota.domain.task import Revision
from rota.engine.account import REPORT, Report
from rota.ports.store import Applied, Change, Claimed, Group, Guard, Hint, Lead, Result, Term, Want
from rota.testing.simulation_cluster import Host

MOVES = {(before, after) for (before, _), states in TABLE.items() for after in states}
FREE = (Reason.SNOOZED, Reason.RETURNED, Reason.NO_HANDLER)
OPEN = (State.SCHEDULED, State.PENDING, State.RUNNING, State.RETRYING)


class Witness:
    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self.kept: dict[type, dict[str, Any]] = defaultdict(dict)
        self.term = (0, "")
        self.hosts: dict[str, Host] = {}
        self.claims: dict[tuple[str, int], tuple[int, int]] = {}
        self.began: dict[tuple[str, int], int] = {}
        self.occurrences: dict[tuple[str, int], str] = {}
        self.free: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.cancelled: dict[str, int] = {}

    def __call__(self, host: Host, verb: str, args: tuple[Any, ...], answer: Any) -> None:
        self.seen[type(answer).__name__ if isinstance(answer, RotaError) else verb] += 1
        if verb in ("commit", "claim", "lead") and not isinstance(answer, RotaError):
            getattr(self, verb)(host, *args, answer)

    def check(self, holds: bool, text: str) -> None:
        if not holds:
            self.wrong.append(text)

    @property
    def runs(self) -> dict[str, Run]:
        return self.kept[Run]

    def lead(self, host: Host, name: str, holder: str, ttl_ms: int, answer: Lead) -> None:
        number, known = self.term
        self.check(answer.number >= number, f"term {answer.number} came after {number}")
        if answer.number == number:
            self.check(answer.holder in (known, ""), f"term {number} has two holders, {known} and {answer.holder}")
        else:
            self.term = (answer.number, answer.holder)
            self.seen["terms"] += 1
        self.check(answer.mine == (answer.holder == holder), f"{holder} was told a wrong thing: {answer}")

    def claim(self, host: Host, wants: Sequence[Want], now: int, answers: Sequence[Claimed]) -> None:
        for want, claimed in zip(wants, answers, strict=True):
            for run in (held.record for held in claimed.runs):
                self._claimed(host, want, run)

    def _claimed(self, host: Host, want: Want, run: Run) -> None:
        before = self.runs[run.id]
        self.check(before.state is State.PENDING, f"run {run.id} was claimed as {before.state}")
        self.check(run.attempt == before.attempt + 1, f"run {run.id}: attempt {run.attempt} after {before.attempt}")
        self.check((run.id, run.attempt) not in self.claims, f"fence {run.fence} was given twice")
        self.check(self.kept[Session][want.session].open, f"{want.session} was closed and got run {run.id}")
        queue = self.kept[Queue].get(f"{run.namespace}/{run.queue}")
        self.check(queue is None or not queue.paused, f"run {run.id} was taken from a paused queue")
        self.check(not self._overlaps(run), f"run {run.id} of {run.schedule} overlaps another one")
        self.claims[run.id, run.attempt] = (run.token, host.cluster.loop.ms)
        self.runs[run.id] = run
        self.seen["attempts"] += 1

    def _overlaps(self, run: Run) -> bool:
        schedule = self.kept[Schedule].get(f"{run.namespace}/{run.schedule}")
        if schedule is None or schedule.policy.overlap is Overlap.ALLOW or run.cause != Cause.SCHEDULE:
            return False
        mates = (one for one in self.runs.values() if one.schedule == run.schedule and one.cause == run.cause)
        return any(one.id != run.id and one.state in OPEN for one in mates)

    def commit(
        self, host: Host, groups: Sequence[Group], guard: Guard, hints: Sequence[Hint], results: Sequence[Result]
    ) -> None:
        applied = [group for group, result in zip(groups, results, strict=True) if isinstance(result, Applied)]
        if applied and isinstance(guard, Term):
            self.check(guard.number == self.term[0], f"{host.name} wrote in term {guard.number} during {self.term[0]}")
        for group in applied:
            for change in group.changes:
                self._changed(host, guard, change)
            for was, now in group.changes:
                if isinstance(now, Schedule) and was and now.cursor_at > was.record.cursor_at:
                    self._moved(was.record, now, [one.now for one in group.changes if isinstance(one.now, Skip)])

    def _changed(self, host: Host, guard: Guard, change: Change) -> None:
        was, now = change
        before = was.record if was else None
        kind = type(now if was is None else before)
        if kind in (Pulse, Tally, Revision):
            return
        name = (before or now).id
        kept = self.kept[kind].get(name)
        self.check(kept == before, f"{host.name} changed {name}, but not what was there: {kept} is not {before}")
        if now is None:
            self.kept[kind].pop(name, None)
        else:
            self.kept[kind][name] = now
        if kind is Run:
            self._run(host, guard, before, now)
        elif kind is Session:
            self._session(host, before, now)
        elif name == REPORT:
            missing = msgspec.json.decode(now.data, type=Report).missing
            self.check(not missing, f"unaccounted: {missing}")

    def _session(self, host: Host, before: Session | None, now: Session | None) -> None:
        if before is None and now:
            self.hosts[now.id] = host
        elif before and now:
            self.check(before.open or not now.open, f"session {before.id} was opened again")
            if before.open and now.reason.startswith("lapsed"):
                self.seen["lapsed"] += 1
                self.check(_was_away(self.hosts[now.id], now.ttl_ms), f"{now.worker} lapsed and was never away")

    def _run(self, host: Host, guard: Guard, before: Any, now: Any) -> None:
        if now is None:
            self.wrong.append(f"{before} was deleted")
        elif before is None:
            self._born(host, now)
        else:
            self.check(before.state not in TERMINAL, f"run {now.id} had ended as {before.state} and is {now.state}")
            self.check((before.state, now.state) in MOVES, f"run {now.id}: {before.state} to {now.state}")
            self.check(before.fence == now.fence, f"run {now.id} changed its fence")
            if before.state is State.RUNNING:
                self._reported(host, guard, before, now)
            if now.state in TERMINAL:
                self.seen[now.state] += 1

    def _born(self, host: Host, now: Run) -> None:
        self.check(now.attempt == 0 and now.state not in TERMINAL, f"run {now.id} was born as {now.state}")
        for key in now.keys:
            other = self.runs.get(self.keys.get(key, ""))
            self.check(other is None or other.state in TERMINAL, f"two live runs have the unique key {key}")
            self.keys[key] = now.id
        if now.cause == Cause.SCHEDULE and now.nominal_at is not None:
            first = self.occurrences.setdefault((now.schedule, now.nominal_at), now.id)
            self.check(now.id == first, f"{now.schedule} at {now.nominal_at} are two runs, {first} and {now.id}")
            self.check(now.nominal_at <= now.created_at, f"run {now.id} came early")
            self.seen["fired"] += 1

    def _reported(self, host: Host, guard: Guard, before: Run, now: Run) -> None:
        own = self.hosts[before.session] is host
        alike = now.state is State.RUNNING and now == before._replace(cancel=now.cancel)
        self.check(own or alike or isinstance(guard, Term), f"{host.name} reported on run {now.id} of another worker")
        if now.lost > before.lost:
            self.check(not self.kept[Session][before.session].open, f"run {now.id} was taken from an open session")
        if now.state is not State.RUNNING:
            self.free[now.id] += now.reason in FREE
            spent = now.tries + now.lost + self.free[now.id] + (now.state in TERMINAL)
            self.check(now.attempt <= spent, f"run {now.id} had {now.attempt} attempts, known are {spent}")
            most = (now.retry or self.kept_task(now).retry).retries + 1
            self.check(now.tries <= most, f"run {now.id} was tried {now.tries} times of {most}")
            self.check(now.lost <= LOST_LIMIT + 1, f"run {now.id} was lost {now.lost} times")

    def kept_task(self, run: Run) -> Any:
        return next(task for task in self.kept.values() for task in task.values() if task.id == f"main/{run.task}")

    def _moved(self, before: Schedule, now: Schedule, skips: list[Skip]) -> None:
        """Every occurrence that a schedule has left behind is a run, or skipped."""
        ranges = [(skip.first_at, skip.last_at) for skip in (*skips, now.skip) if skip]
        moment = before.trigger.after(before.cursor_at)
        while moment is not None and moment <= now.cursor_at:
            made = (now.name, moment) in self.occurrences
            skipped = any(first <= moment <= last for first, last in ranges)
            self.check(made or skipped, f"nobody answers for {now.id} at {moment}")
            moment = before.trigger.after(moment)

    def started(self, host: Host, run: Run) -> None:
        """An attempt begins, as its task sees it."""
        name, ms = (run.id, run.attempt), host.cluster.loop.ms
        self.check(name not in self.began, f"attempt {run.attempt} of run {run.id} began twice")
        token, claimed_at = self.claims.get(name, (0, 0))
        self.check(token == run.token, f"attempt {run.attempt} of run {run.id} began and was never claimed")
        if run.id in self.cancelled and host.disturbed_at < claimed_at:
            # A process that is stopped between its claim and the start cannot know.
            self.check(False, f"run {run.id} was cancelled at {self.cancelled[run.id]} and began at {ms}")
        self.began[name] = ms


def _was_away(host: Host, ttl_ms: int) -> bool:
    """Whether a host had a reason not to beat. The store has none that counts: its outages must cost no session."""
    weather, lately = host.cluster.weather, host.disturbed_at > host.cluster.loop.ms - 3 * ttl_ms
    stopped = host.cut or host.side.held is not None or host.gone.is_set() or host.leaving.is_set()
    return (
        stopped
        or (lately and host.disturbed_at >= 0)
        or bool(weather.lost or weather.refused or weather.late or weather.twice)
    )
