"""What a schedule would do: its fires, what the clocks do to them, whether its runs would meet, what an edit moves.

Every question has a bound, however often a trigger fires.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice, pairwise
from typing import Any

from rota.api.views import instant, iso
from rota.domain.names import number_of
from rota.domain.run import Run, State
from rota.domain.schedule import DAY_MS, Schedule
from rota.domain.timing import occurrences, preview
from rota.domain.triggers import Cron, Trigger
from rota.domain.zones import Span, zone
from rota.engine.engine import Engine
from rota.ports.store import Where

YEAR_MS = 366 * DAY_MS
SAID = 3
"""Fires told of one change of the clocks."""
SAMPLE = 20
"""Runs by which the length of the next ones is judged."""


async def forecast(engine: Engine, wanted: Schedule, known: Schedule | None, count: int) -> dict[str, Any]:
    """The answer of a preview."""
    now = engine.clock.now()
    fires = preview(wanted, now, count)
    before = preview(known, now, count) if known else fires
    # Both lists are cut: only as far as the shorter one reaches can they be compared.
    ends = [moments[-1] for moments in (fires, before) if len(moments) == count]
    seen = [{one for one in moments if one <= min(ends, default=one)} for moments in (fires, before)]
    return {
        "next": [{**instant("at", one), "local": _local(wanted.trigger, one)} for one in fires],
        "clock_changes": list(_clock_changes(wanted.trigger, now)),
        "overlaps": await _overlaps(engine, wanted, fires),
        "added": [iso(one) for one in sorted(seen[0] - seen[1])],
        "removed": [iso(one) for one in sorted(seen[1] - seen[0])],
    }


def _local(trigger: Trigger, moment: int) -> str:
    clock = zone(trigger.timezone if isinstance(trigger, Cron) else "UTC").info
    return datetime.fromtimestamp(moment / 1_000, clock).isoformat(" ")


def _clock_changes(trigger: Trigger, now: int) -> Iterator[dict[str, Any]]:
    """The changes of the clocks within a year that some rule of the trigger's would meet."""
    if not isinstance(trigger, Cron):
        return
    less, more = replace(trigger, gap="skip", fold="first"), replace(trigger, gap="shift", fold="both")
    for span in _spans(trigger, now):
        at, by = span.start * 1_000, span.offset - span.before
        # What the rules differ in: the first instant after a gap, all of the time that a fold repeats.
        start, end = at - 1, at if by > 0 else at - by * 1_000 - 1
        touched = more.count(start, end) - less.count(start, end)
        if not touched:
            continue
        said = ", ".join(
            f"{_local(trigger, one)} {'fires' if trigger.count(one - 1, one) else 'does not fire'}"
            for one in islice(occurrences(more, start, end), SAID)
        )
        more_of_it = f" and {touched - SAID} more" if touched > SAID else ""
        word = "forward" if by > 0 else "back"
        yield {**instant("at", at), "note": f"the clocks go {word} by {abs(by) / 3_600:g} h: {said}{more_of_it}"}


def _spans(trigger: Cron, now: int) -> Iterator[Span]:
    where, at = zone(trigger.timezone), now // 1_000
    while at < (now + YEAR_MS) // 1_000:
        span = where.span_at(at)
        if span.offset != span.before and span.start * 1_000 > now:
            yield span
        at = span.end


async def _overlaps(engine: Engine, wanted: Schedule, fires: list[int]) -> str:
    """Whether runs as long as the task's last ones would meet; empty if not, or if nothing is known."""
    where = Where(wanted.namespace, (State.SUCCESS, State.FAILED), wanted.task)
    runs = [held.record for held in (await engine.store.find(Run, where, "", SAMPLE)).items]
    spans = [one.ended_at - one.started_at for one in runs if one.started_at is not None and one.ended_at is not None]
    gap = min((later - one for one, later in pairwise(fires)), default=None)
    if not spans or gap is None or max(spans) <= gap:
        return ""
    longest, rule = max(spans) / 1_000, wanted.policy.overlap
    seen = f"the longest of the last {number_of(len(spans), 'run')}"
    return f"{seen} took {longest:g} s, fires are {gap / 1_000:g} s apart; then: {rule}"
