"""The one state machine of a run: the table, and `advance`, the only code that changes a state.

Pure: whoever calls brings the time and the chance. Every store and every role goes through here, so no two of them can
differ in what a cancel, a retry or a lost worker means.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

from rota.domain.errors import Refused
from rota.domain.priority import rank
from rota.domain.retry import NO_RETRY, Retry
from rota.domain.run import GRACE_MS, HISTORY_LIMIT, LOST_LIMIT, Attempt, End, Fence, Outcome, Reason, Run, State
from rota.domain.task import OnLost


class Submit(NamedTuple):
    """A new run: `blocked` says what it waits for, if anything."""

    strict: bool = False
    blocked: str = ""

    def step(self, run: Run, now: int) -> Run:
        if self.blocked:
            due_at = _start_limit(run, now, queued=False)
            return run._replace(state=State.BLOCKED, reason=Reason.OVERLAP, detail=self.blocked, due_at=due_at)
        if run.due_at is not None and run.due_at > now:
            return run._replace(state=State.SCHEDULED, reason=Reason.DELAYED)
        return _ready(run, now, self.strict, Reason.SUBMITTED)


class Due(NamedTuple):
    """The instant that the time index held for it has come."""

    strict: bool = False

    def step(self, run: Run, now: int) -> Run:
        if run.state in (State.PENDING, State.BLOCKED):
            late = run.end_by is not None and run.end_by <= now
            return _end(run, State.FAILED, Reason.TOTAL_TIMEOUT if late else Reason.MISSED_START, now)
        return _ready(run, now, self.strict, Reason.DUE, run.due_at)


class Release(NamedTuple):
    """What blocked it is gone."""

    strict: bool = False

    def step(self, run: Run, now: int) -> Run:
        return _ready(run, now, self.strict, Reason.RELEASED)


class Claim(NamedTuple):
    """A session takes it."""

    session: str
    worker: str
    token: int

    def step(self, run: Run, now: int) -> Run:
        limits = [now + run.timeout_ms] if run.timeout_ms is not None else []
        if run.end_by is not None:
            limits.append(run.end_by)
        return run._replace(
            state=State.RUNNING,
            reason=Reason.CLAIMED,
            detail="",
            due_at=min(limits) + GRACE_MS if limits else None,
            attempt=run.attempt + 1,
            token=self.token,
            session=self.session,
            worker=self.worker,
            claimed_at=now,
            started_at=None,
            digest=0,
            progress="",
        )


class Settle(NamedTuple):
    """An attempt ended. If its cancel was asked the run ends as cancelled, however the attempt did."""

    outcome: Outcome
    retry: Retry = NO_RETRY
    on_lost: OnLost = OnLost.RETRY
    chance: float = 0.5
    digest: int = 0

    def step(self, run: Run, now: int) -> Run:
        outcome = self.outcome
        started_at, progress = outcome.started_at or run.started_at, outcome.progress or run.progress
        if outcome.end is End.SUCCESS:
            return _succeeded(run, self, now, started_at, progress)
        told = run._replace(started_at=started_at, progress=progress, digest=self.digest)
        if outcome.end is End.LOST:
            told = told._replace(lost=run.lost + 1, error=outcome.error or run.error)
        elif outcome.end in (End.FAILURE, End.CANCELLED):
            told = told._replace(tries=run.tries + 1, error=outcome.error)
        if run.cancel or outcome.end is End.CANCELLED:
            by = run.cancel or "the task itself"
            return _end(told, State.CANCELLED, Reason.CANCELLED, now)._replace(cancel=by)
        return OUTCOMES[outcome.end](told, self, now)


class Cancel(NamedTuple):
    """Somebody wants it ended."""

    actor: str

    def step(self, run: Run, now: int) -> Run:
        if run.state is State.RUNNING:
            return run._replace(cancel=run.cancel or self.actor)
        return _end(run, State.CANCELLED, Reason.CANCELLED, now)._replace(cancel=self.actor)


Event = Submit | Due | Release | Claim | Settle | Cancel
"""What moves a run, each with its step."""

TABLE: dict[tuple[State | None, type[Event]], frozenset[State]] = {
    (None, Submit): frozenset({State.SCHEDULED, State.BLOCKED, State.PENDING}),
    (State.SCHEDULED, Due): frozenset({State.PENDING}),
    (State.SCHEDULED, Cancel): frozenset({State.CANCELLED}),
    (State.BLOCKED, Due): frozenset({State.FAILED}),
    (State.BLOCKED, Release): frozenset({State.PENDING}),
    (State.BLOCKED, Cancel): frozenset({State.CANCELLED}),
    (State.PENDING, Due): frozenset({State.FAILED}),
    (State.PENDING, Claim): frozenset({State.RUNNING}),
    (State.PENDING, Cancel): frozenset({State.CANCELLED}),
    (State.RUNNING, Settle): frozenset({State.SUCCESS, State.FAILED, State.CANCELLED, State.RETRYING, State.PENDING}),
    (State.RUNNING, Cancel): frozenset({State.RUNNING}),
    (State.RETRYING, Due): frozenset({State.PENDING}),
    (State.RETRYING, Cancel): frozenset({State.CANCELLED}),
}
"""From a state, by an event, to these states and no others."""


def advance(run: Run, event: Event, now: int) -> Run:
    """The run after `event` at `now`. Raises `Refused` where the table has no such arrow; an ended run never moves."""
    kind = type(event)
    before = None if kind is Submit else run.state
    allowed = TABLE.get((before, kind))
    if allowed is None:
        raise Refused(f"run {run.id} is {run.state}: cannot {word(kind)}")
    after = event.step(run, now)
    if after.state not in allowed:
        raise AssertionError(f"{before} may not become {after.state} by {word(kind)}")
    return after


def word(kind: type[Event]) -> str:
    """What an event is called."""
    return kind.__name__.lower()


class Verdict(StrEnum):
    """What a report about an attempt is worth."""

    FRESH = "fresh"
    ALREADY = "already"
    STALE = "stale"


def judge(run: Run, fence: Fence, digest: int = 0) -> Verdict:
    """Whether a settle under `fence` is the awaited one, a repetition of one that counted, or stale."""
    if (run.attempt, run.token) == (fence.attempt, fence.token):
        if run.state is State.RUNNING:
            return Verdict.FRESH
        return Verdict.ALREADY if run.digest == digest else Verdict.STALE
    for old in run.history:
        if (old.number, old.token) == (fence.attempt, fence.token):
            return Verdict.ALREADY if old.digest == digest else Verdict.STALE
    return Verdict.STALE


def digest(outcome: Outcome) -> int:
    """A fingerprint of what an attempt reported; never 0."""
    head = f"{outcome.end}\n{outcome.reason}\n{outcome.error}\n{outcome.delay_ms}\n"
    return crc32(outcome.result or b"", crc32(head.encode("utf-8", "replace"))) or 1


def too_late(run: Run, now: int) -> Reason | None:
    """Why a claimed run must not start any more, if one of its clocks ran out while nobody looked."""
    if run.end_by is not None and now >= run.end_by:
        return Reason.TOTAL_TIMEOUT
    since = run.ready_at if run.ready_at is not None else now
    if run.queue_ms is not None and now > since + run.queue_ms:
        return Reason.MISSED_START
    late = run.start_by is not None and now > run.start_by and not _began(run)
    return Reason.MISSED_START if late else None


def _began(run: Run) -> bool:
    """Whether an earlier attempt may have begun its work: one handed back before, or without a handler, had not.

    Of one that is not known of, as its history is short and does not travel to other machines, it is to be feared.
    """
    unknown = run.attempt - (run.state is State.RUNNING) - len(run.history)
    begun = (old.started_at is not None and old.reason != Reason.NO_HANDLER for old in run.history)
    return run.tries + run.lost + unknown > 0 or any(begun)


def _ready(run: Run, now: int, strict: bool, reason: Reason, since: int | None = None) -> Run:
    return run._replace(
        state=State.PENDING,
        reason=reason,
        detail="",
        ready_at=now,
        due_at=_start_limit(run, now),
        rank=rank(now if since is None else since, run.priority, strict),
    )


def _start_limit(run: Run, now: int, queued: bool = True) -> int | None:
    """When waiting ends the run: by the queue clock, the total one, until an attempt began also by the schedule."""
    limits = (
        now + run.queue_ms if queued and run.queue_ms is not None else None,
        run.start_by if not _began(run) else None,
        run.end_by,
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _succeeded(run: Run, event: Settle, now: int, started_at: int | None, progress: str) -> Run:
    """The common end. It builds one new record where the others build two or three."""
    late = bool(run.cancel)
    return run._replace(
        state=State.CANCELLED if late else State.SUCCESS,
        reason=Reason.CANCELLED if late else Reason.DONE,
        detail="it had finished with success" if late else "",
        due_at=None,
        ended_at=now,
        session="",
        gate="",
        keys=(),
        tries=run.tries + 1,
        result=event.outcome.result,
        error="",
        started_at=started_at,
        digest=event.digest,
        progress=progress,
    )


def _failed(run: Run, event: Settle, now: int) -> Run:
    outcome, policy = event.outcome, run.retry or event.retry
    reason = outcome.reason or Reason.ERROR
    judged = not outcome.errors or policy.wants(outcome.errors)
    if outcome.final or not judged or run.tries > policy.retries:
        return _end(run, State.FAILED, reason, now)
    due_at = now + max(policy.delay(run.tries, event.chance), outcome.delay_ms)
    return _again(run, State.RETRYING, reason, now, due_at)


def _snoozed(run: Run, event: Settle, now: int) -> Run:
    return _again(run, State.RETRYING, Reason.SNOOZED, now, now + event.outcome.delay_ms)


def _returned(run: Run, event: Settle, now: int) -> Run:
    outcome, back = event.outcome, run._replace(error="")  # what an earlier attempt met is in its history
    if outcome.reason == Reason.NO_HANDLER:
        return _again(back, State.PENDING, Reason.NO_HANDLER, now, None, outcome.error[:500])
    return _again(back._replace(ready_at=now), State.PENDING, Reason.RETURNED, now, None, outcome.reason)


def _lost(run: Run, event: Settle, now: int) -> Run:
    if event.on_lost is OnLost.FAIL:
        return _end(run, State.FAILED, Reason.LOST, now)
    if run.lost > LOST_LIMIT:
        return _end(run, State.FAILED, Reason.POISON, now)
    return _again(run._replace(ready_at=now), State.PENDING, Reason.LOST, now, None, event.outcome.reason)


def _again(run: Run, state: State, reason: str, now: int, due_at: int | None, detail: str = "") -> Run:
    """Back in line; the total clock ends it where the next try could only come too late."""
    if run.end_by is not None and (due_at or now) >= run.end_by:
        return _end(run, State.FAILED, Reason.TOTAL_TIMEOUT, now)
    ended = Attempt(
        run.attempt, run.token, run.worker, run.session, run.claimed_at or now, run.started_at, now, reason,
        run.error[:500], run.digest,
    )  # fmt: skip
    history = (*run.history, ended)[-HISTORY_LIMIT:]
    back = run._replace(state=state, reason=reason, detail=detail, due_at=due_at, session="", history=history)
    return back._replace(due_at=_start_limit(back, back.ready_at or now)) if state is State.PENDING else back


def _end(run: Run, state: State, reason: str, now: int) -> Run:
    return run._replace(state=state, reason=reason, detail="", due_at=None, ended_at=now, session="", gate="", keys=())


OUTCOMES: dict[End, Callable[[Run, Settle, int], Run]] = {
    End.FAILURE: _failed,
    End.SNOOZE: _snoozed,
    End.RETURNED: _returned,
    End.LOST: _lost,
}
