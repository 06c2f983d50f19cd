"""Asking the implementation and the oracle the same question, and telling where they differ."""

import os
from collections.abc import Callable
from functools import cache
from random import Random

from rota.domain.triggers import Cron, InvalidTrigger, Trigger
from tests.oracle.questions import Question, question, windows
from tests.oracle.slow_cron import SlowCron
from tests.oracle.windows import Window

QUESTIONS = int(os.environ.get("ROTA_ORACLE", "100000"))
SEED = int(os.environ.get("ROTA_SEED", "1"))
LONGEST_CHAIN = 25

Make = Callable[[str, Question], Trigger]


def cron(zone: str, asked: Question) -> Trigger:
    """What is tested; a planted mistake replaces it."""
    return Cron(asked.expression, zone, gap=asked.gap, fold=asked.fold, day_match=asked.day_match)  # type: ignore[arg-type]  # drawn as text


def first_difference(zone: str, questions: int, make: Make = cron) -> str | None:
    """The first of many random questions on which implementation and oracle differ; None if they never do."""
    walked, state = walks(zone)
    random = Random()
    random.setstate(state)
    for number in range(questions):
        window = random.choice(walked)
        asked = question(window, random)
        difference = compare(window, asked, make)
        if difference:
            return f"ROTA_SEED={SEED}, question {number} of {zone}: {asked}: {difference}"
    return None


@cache
def walks(zone: str) -> tuple[list[Window], tuple[object, ...]]:
    """What is walked of a zone, once for all its questions, and where its random numbers stand after that."""
    random = Random(f"{SEED} {zone}")
    return windows(zone, random), random.getstate()


def compare(window: Window, asked: Question, make: Make) -> str | None:
    oracle = SlowCron(asked.expression, match_all_days=asked.day_match == "and")
    try:
        trigger = make(window.zone, asked)
    except InvalidTrigger as refusal:
        return f"refused ({refusal}), but it has fires" if oracle.ever_matches() else None
    fires = window.fires(oracle, asked.gap, asked.fold)
    return compare_chain(window, asked, fires, trigger) or compare_range(window, asked, fires, trigger)


def compare_chain(window: Window, asked: Question, fires: int, trigger: Trigger) -> str | None:
    """Each next fire up to the end of the window, and that there is none before it otherwise."""
    later = window.within(fires, asked.start, window.end * 1000)
    expected = window.instants(later, LONGEST_CHAIN)
    moment = asked.start
    for fire in expected:
        found = trigger.after(moment)
        if found != fire:
            return f"after({moment}) is {found}, expected {fire}"
        moment = fire
    if len(expected) == LONGEST_CHAIN:
        return None
    found = trigger.after(moment)
    too_early = found is not None and found <= window.end * 1000
    return f"after({moment}) is {found}, expected none up to {window.end}" if too_early else None


def compare_range(window: Window, asked: Question, fires: int, trigger: Trigger) -> str | None:
    within = window.within(fires, asked.start, asked.end)
    if trigger.count(asked.start, asked.end) != within.bit_count():
        return f"counted {trigger.count(asked.start, asked.end)}, expected {within.bit_count()}"
    expected = (window.start + (within.bit_length() - 1) * window.step) * 1000 if within else None
    found = trigger.last(asked.start, asked.end)
    return None if found == expected else f"last is {found}, expected {expected}"
