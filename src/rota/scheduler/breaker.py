"""The breaker: who hands runs back, or cannot be reached, is given nothing for a while, each time longer; then one run
to try it by, and all again once that was not handed back. Instants are monotonic, of this process alone.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rota.domain.run import Fence, Reason, Run, State

FIRST_MS, LAST_MS = 1_000, 30_000
"""The first rest, and the longest."""
KEPT_MS = 6_000
"""What a session still has after so long, it keeps: a post that does not get there is known of before."""


class _Rest(NamedTuple):
    rest_ms: int
    until: int
    probe: Fence | None = None
    probed_at: int = 0


class Breaker:
    """What is known of sessions that handed runs back."""

    def __init__(self) -> None:
        self._rests: dict[str, _Rest] = {}

    def handed_back(self, session: str, now: int) -> None:
        """It handed back what it was given; where it rests already, this came together with that: its probe decides."""
        if session not in self._rests:
            self._rests[session] = _Rest(FIRST_MS, now + FIRST_MS)

    def room(self, session: str, now: int) -> int | None:
        """How many runs it may be given now; None: as many as it likes."""
        known = self._rests.get(session)
        return known and int(known.until <= now and known.probe is None)

    def given(self, run: Run, now: int) -> None:
        """A session was given a run: the probe, if it is not whole and has rested."""
        if (known := self._rests.get(run.session)) and known.probe is None and known.until <= now:
            self._rests[run.session] = known._replace(probe=run.fence, probed_at=now)

    def probes(self) -> dict[str, Fence]:
        """By session, what it is tried by."""
        return {session: one.probe for session, one in self._rests.items() if one.probe}

    def judge(self, runs: Mapping[str, Run], now: int) -> None:
        """Whoever kept its probe is whole; `runs`: the probes' as they are now, those that are there."""
        for session, probe in self.probes().items():
            known = self._rests[session]
            kept = is_kept(runs.get(probe.run), probe, now - known.probed_at)
            if kept:
                del self._rests[session]
            elif kept is False:
                rest_ms = min(2 * known.rest_ms, LAST_MS)
                self._rests[session] = _Rest(rest_ms, now + rest_ms)

    def keep(self, sessions: Iterable[str]) -> None:
        """Forget all others."""
        self._rests = {session: self._rests[session] for session in sessions if session in self._rests}


def is_kept(run: Run | None, probe: Fence, since_ms: int) -> bool | None:
    """Whether this attempt, given so long ago, was not handed back; None: not known yet."""
    if run and run.state is State.RUNNING and run.fence == probe:
        return run.started_at is not None or since_ms > KEPT_MS or None
    history = run.history if run else ()
    return not any(old.number == probe.attempt and old.reason == Reason.RETURNED for old in history)
