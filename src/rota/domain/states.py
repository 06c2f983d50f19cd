"""The one state machine of a run: the table, and `advance`, the only code that changes a state.

Pure: whoever calls brings the time and the chance. Every store and every role goes through here, so no two of them can
differ in what a cancel, a retry or a lost worker means.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple
from zlib import crc32

from rota.domain.errors import Refused
from rota.domain.priority import rank
from rota.domain.retry import NO_RETRY, Retry
from rota.domain.run import (
    GRACE_MS,
    HISTORY_LIMIT,
    LOST_LIMIT,
    Attempt,
    End,
    Fence,
    Outcome,
    Reason,
    Run,
    State,
)
from rota.domain.task import OnLost


class Verb(StrEnum):
    """What moves a run."""

    SUBMIT = "submit"
    DUE = "due"
    RELEASE = "release"
    CLAIM = "claim"
    SETTLE = "settle"
    CANCEL = "cancel"
    SKIP = "skip"


TABLE: dict[tuple[State | None, Verb], frozenset[State]] = {
    (None, Verb.SUBMIT): frozenset({State.SCHEDULED, State.BLOCKED, State.PENDING}),
    (State.SCHEDULED, Verb.DUE): frozenset({State.PENDING}),
    (State.SCHEDULED, Verb.CANCEL): frozenset({State.CANCELLED}),
    (State.BLOCKED, Verb.DUE): frozenset({State.FAILED}),
    (State.BLOCKED, Verb.RELEASE): frozenset({State.PENDING}),
    (State.BLOCKED, Verb.SKIP): frozenset({State.SKIPPED}),
    (State.BLOCKED, Verb.CANCEL): frozenset({State.CANCELLED}),
    (State.PENDING, Verb.DUE): frozenset({State.FAILED}),
    (State.PENDING, Verb.CLAIM): frozenset({State.RUNNING}),
    (State.PENDING, Verb.CANCEL): frozenset({State.CANCELLED}),
    (State.RUNNING, Verb.SETTLE): frozenset(
        {State.SUCCESS, State.FAILED, State.CANCELLED, State.RETRYING, State.PENDING}
    ),
    (State.RUNNING, Verb.CANCEL): frozenset({State.RUNNING}),
    (State.RETRYING, Verb.DUE): frozenset({State.PENDING}),
    (State.RETRYING, Verb.CANCEL): frozenset({State.CANCELLED}),
}
"""From a state, by a verb, to these states and no others."""


class Submit(NamedTuple):
    """A new run: `blocked` says what it waits for, if anything."""

    strict: bool = False
    blocked: str = ""


class Due(NamedTuple):
    """The instant that the time index held for it has come."""

    strict: bool = False


class Release(NamedTuple):
    """What blocked it is gone."""

    strict: bool = False


class Skip(NamedTuple):
    """What blocked it will never be gone."""

    reason: str
    detail: str = ""


class Claim(NamedTuple):
    """A session takes it."""

    session: str
    worker: str
    token: int


class Settle(NamedTuple):
    """An attempt ended."""

    outcome: Outcome
    retry: Retry = NO_RETRY
    on_lost: OnLost = OnLost.RETRY
    chance: float = 0.5
    digest: int = 0


class Cancel(NamedTuple):
    """Somebody wants it ended."""

    actor: str


Event = Submit | Due | Release | Skip | Claim | Settle | Cancel


def advance(run: Run, event: Event, now: int) -> Run:
    """The run after `event` at `now`. Raises `Refused` where the table has no such arrow; an ended run never moves."""
    verb, step = STEPS[type(event)]
    before = None if verb is Verb.SUBMIT else run.state
    allowed = TABLE.get((before, verb))
    if allowed is None:
        raise Refused(f"run {run.id} is {run.state}: cannot {verb}")
    after = step(run, event, now)
    if after.state not in allowed:
        raise AssertionError(f"{before} may not become {after.state} by {verb}")
    return after


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
    first = run.attempt <= 1
    return Reason.MISSED_START if first and run.start_by is not None and now > run.start_by else None


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
    """When waiting ends the run: by the queue clock, the total one, before the first attempt also by the schedule."""
    limits = (
        now + run.queue_ms if queued and run.queue_ms is not None else None,
        run.start_by if not run.attempt else None,
        run.end_by,
    )
    return min((limit for limit in limits if limit is not None), default=None)


def _submit(run: Run, event: Submit, now: int) -> Run:
    if event.blocked:
        due_at = _start_limit(run, now, queued=False)
        return run._replace(state=State.BLOCKED, reason=Reason.OVERLAP, detail=event.blocked, due_at=due_at)
    if run.due_at is not None and run.due_at > now:
        return run._replace(state=State.SCHEDULED, reason=Reason.DELAYED)
    return _ready(run, now, event.strict, Reason.SUBMITTED)


def _due(run: Run, event: Due, now: int) -> Run:
    if run.state in (State.PENDING, State.BLOCKED):
        late = run.end_by is not None and run.end_by <= now
        return _end(run, State.FAILED, Reason.TOTAL_TIMEOUT if late else Reason.MISSED_START, now)
    return _ready(run, now, event.strict, Reason.DUE, run.due_at)


def _release(run: Run, event: Release, now: int) -> Run:
    return _ready(run, now, event.strict, Reason.RELEASED)


def _skip(run: Run, event: Skip, now: int) -> Run:
    return _end(run, State.SKIPPED, event.reason, now)._replace(detail=event.detail)


def _claim(run: Run, event: Claim, now: int) -> Run:
    limits = [now + run.timeout_ms] if run.timeout_ms is not None else []
    if run.end_by is not None:
        limits.append(run.end_by)
    return run._replace(
        state=State.RUNNING,
        reason=Reason.CLAIMED,
        detail="",
        due_at=min(limits) + GRACE_MS if limits else None,
        attempt=run.attempt + 1,
        token=event.token,
        session=event.session,
        worker=event.worker,
        claimed_at=now,
        started_at=None,
        digest=0,
        progress="",
    )


def _cancel(run: Run, event: Cancel, now: int) -> Run:
    if run.state is State.RUNNING:
        return run._replace(cancel=run.cancel or event.actor)
    return _end(run, State.CANCELLED, Reason.CANCELLED, now)._replace(cancel=event.actor)


def _settle(run: Run, event: Settle, now: int) -> Run:
    started_at, progress = event.outcome.started_at or run.started_at, event.outcome.progress or run.progress
    if event.outcome.end is End.SUCCESS:
        return _succeeded(run, event, now, started_at, progress)
    told = run._replace(started_at=started_at, progress=progress, digest=event.digest)
    return OUTCOMES[event.outcome.end](told, event, now)


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
    tried = run._replace(tries=run.tries + 1, error=outcome.error)
    reason = outcome.reason or Reason.ERROR
    if run.cancel:
        return _end(tried, State.CANCELLED, Reason.CANCELLED, now)
    judged = not outcome.errors or policy.wants(outcome.errors)
    if outcome.final or not judged or tried.tries > policy.retries:
        return _end(tried, State.FAILED, reason, now)
    due_at = now + max(policy.delay(tried.tries, event.chance), outcome.delay_ms)
    return _again(tried, State.RETRYING, reason, now, due_at)


def _snoozed(run: Run, event: Settle, now: int) -> Run:
    if run.cancel:
        return _end(run, State.CANCELLED, Reason.CANCELLED, now)
    return _again(run, State.RETRYING, Reason.SNOOZED, now, now + event.outcome.delay_ms)


def _returned(run: Run, event: Settle, now: int) -> Run:
    if run.cancel:
        return _end(run, State.CANCELLED, Reason.CANCELLED, now)
    outcome, back = event.outcome, run._replace(error="")  # what an earlier attempt met is in its history
    if outcome.reason == Reason.NO_HANDLER:
        return _again(back, State.PENDING, Reason.NO_HANDLER, now, None, outcome.error[:500])
    return _again(back._replace(ready_at=now), State.PENDING, Reason.RETURNED, now, None, outcome.reason)


def _lost(run: Run, event: Settle, now: int) -> Run:
    gone = run._replace(lost=run.lost + 1, error=event.outcome.error or run.error)
    if run.cancel:
        return _end(gone, State.CANCELLED, Reason.CANCELLED, now)
    if event.on_lost is OnLost.FAIL:
        return _end(gone, State.FAILED, Reason.LOST, now)
    if gone.lost > LOST_LIMIT:
        return _end(gone, State.FAILED, Reason.POISON, now)
    return _again(gone._replace(ready_at=now), State.PENDING, Reason.LOST, now, None, event.outcome.reason)


def _cancelled(run: Run, event: Settle, now: int) -> Run:
    by = run.cancel or "the task itself"
    ended = run._replace(tries=run.tries + 1, error=event.outcome.error, cancel=by)
    return _end(ended, State.CANCELLED, Reason.CANCELLED, now)


def _again(run: Run, state: State, reason: str, now: int, due_at: int | None, detail: str = "") -> Run:
    """Back in line; the total clock ends it where the next try could only come too late."""
    if run.end_by is not None and (due_at or now) >= run.end_by:
        return _end(run, State.FAILED, Reason.TOTAL_TIMEOUT, now)
    if state is State.PENDING:
        due_at = _start_limit(run, now)
    ended = Attempt(
        run.attempt, run.token, run.worker, run.session, run.claimed_at or now, run.started_at, now, reason,
        run.error[:500], run.digest,
    )  # fmt: skip
    history = (*run.history, ended)[-HISTORY_LIMIT:]
    return run._replace(state=state, reason=reason, detail=detail, due_at=due_at, session="", history=history)


def _end(run: Run, state: State, reason: str, now: int) -> Run:
    return run._replace(state=state, reason=reason, detail="", due_at=None, ended_at=now, session="", gate="", keys=())


OUTCOMES: dict[End, Callable[[Run, Settle, int], Run]] = {
    End.FAILURE: _failed,
    End.CANCELLED: _cancelled,
    End.SNOOZE: _snoozed,
    End.RETURNED: _returned,
    End.LOST: _lost,
}

STEPS: dict[type, tuple[Verb, Callable[[Run, Any, int], Run]]] = {
    Submit: (Verb.SUBMIT, _submit),
    Due: (Verb.DUE, _due),
    Release: (Verb.RELEASE, _release),
    Skip: (Verb.SKIP, _skip),
    Claim: (Verb.CLAIM, _claim),
    Settle: (Verb.SETTLE, _settle),
    Cancel: (Verb.CANCEL, _cancel),
}
