"""The checkers see: a forged history that violates one invariant is found out by that one, and by
no other but those that it cannot be told apart from."""

from collections.abc import Callable
from typing import Any

import pytest

from rota.domain.run import State
from rota.domain.schedule import CatchUp, Overlap, Policy
from tests.chaos import forged
from tests.chaos.checkers import INVARIANTS, counts, vacuous, violations
from tests.chaos.forged import (
    BEGAN,
    NODE,
    OFFSET,
    OTHER,
    OVER,
    PERIOD,
    WORKER,
    count,
    effects,
    final,
    history,
    key,
    lost,
    more,
    occurrence,
    op,
    run,
    schedule,
    skip,
    strike,
    without,
)
from tests.chaos.history import FAILED, NOBODY, REFUSED, UNCLEAR, Exit, History, Lead, Op, Write
from tests.chaos.reading import uncovered

FIRST = OFFSET + BEGAN
AT = BEGAN + 30_000


def with_ops(h: History, *ops: Op) -> History:
    return h._replace(ops=(*h.ops, *ops))


def term_of_two() -> History:
    h = history()
    return h._replace(leads=(*h.leads, Lead(22, "node:2", 1, True, AT, AT + 1)))


def old_term_again() -> History:
    h = history()
    newer = Lead(22, "node:2", 2, True, AT, AT + 1)
    return h._replace(leads=(*h.leads, newer, Lead(NODE, "node:1", 1, True, AT + 100, AT + 101)), writes=h.writes)


def write_of_an_old_term() -> History:
    h = history()
    later = [one._replace(number=2, pid=22) if one.began > AT else one for one in h.writes]
    stale = Write(NODE, 1, AT + 500, AT + 505, "applied")
    return h._replace(leads=(*h.leads, Lead(22, "node:2", 2, True, AT, AT + 1)), writes=(*later, stale))


def nobody_led() -> History:
    h = history()
    return h._replace(writes=tuple(one for one in h.writes if not BEGAN + 10_000 < one.began < BEGAN + 30_000))


def chain(start: int) -> History:
    links = [
        run(number, id=f"{number:032x}", task="link", schedule="chain", nominal_at=FIRST + number, cause="schedule")
        for number in (1, 2)
    ]
    told = [*effects(links[0], AT, 500), *effects(links[1], start, 500)]
    h = more(history(), *links, told=told)
    base = schedule(h, name="chain", fired=2, policy=Policy(overlap=Overlap.BUFFER_ALL)).final.schedules[0]
    h = final(h, schedules=(h.final.schedules[0], base))
    return with_ops(h, op("edit", "main/chain", BEGAN - 10, answer=FAILED))


def edited(verb: str, more_: str, moment: int, *others: Op) -> History:
    """`mine` was changed at AT, and by `others`, and fired at `moment`."""
    late = run(9, task="tick", schedule="mine", nominal_at=moment, cause="schedule", payload=b"{}", created_at=moment)
    h = more(history(), late)
    mine = schedule(h, name="mine", fired=1).final.schedules[0]
    h = final(h, schedules=(h.final.schedules[0], *([] if verb == "delete" else [mine])))
    return with_ops(h, op("create", "main/mine", BEGAN, more="0"), op(verb, "main/mine", AT, more=more_), *others)


def by_another(verb: str, at: int, ended: int | None = None, **changes: Any) -> Op:
    """What another process did to `mine`."""
    return op(verb, "main/mine", at, ended, **changes)


CANCELLED = run(1, state=State.CANCELLED, attempt=0, token=0, tries=0, result=None)
FORGED: list[tuple[str, Callable[[], History]]] = [
    ("I1", term_of_two),
    ("I1", old_term_again),
    ("I1", write_of_an_old_term),
    ("I2", nobody_led),
    ("I3", lambda: without(history(), FIRST + PERIOD)),
    ("I3", lambda: schedule(more(history(), occurrence(FIRST, id="f" * 32)), fired=8)),
    ("I3 I19", lambda: final(history(), skips=(skip(FIRST, FIRST, 1),))),
    ("I3", lambda: schedule(more(history(), occurrence(FIRST + 1)), fired=8)),
    ("I3 I16", lambda: schedule(without(history(), FIRST + 6 * PERIOD), cursor_at=FIRST + 6 * PERIOD - 1)),
    (
        "I4 I9",
        lambda: history()._replace(effects=(*history().effects, *effects(occurrence(FIRST + PERIOD), BEGAN, 1, 0))),
    ),
    (
        "I4",
        lambda: schedule(
            more(without(history(), FIRST), occurrence(FIRST), told=effects(occurrence(FIRST), BEGAN + 30_000)), fired=7
        ),
    ),
    ("I5", lambda: with_ops(history(), op("submit", "k", AT, run="0" * 32))),
    (
        "I5",
        lambda: count(
            final(with_ops(history(), op("submit", "k1", AT, answer=FAILED)), runs=(*history().final.runs, run(1)))
        ),
    ),
    ("I5", lambda: with_ops(history(), op("create", "main/other", AT, more="0"))),
    (
        "I5 I12",
        lambda: with_ops(history(), op("create", "main/other", AT, more="0"), op("delete", "main/every", AT + 20)),
    ),
    ("I6", lambda: with_ops(history(run(1), run(2)), op("submit", "k1", AT, run=run(2).id))),
    ("I6", lambda: history(run(1), run(2, payload=b'{"op":"k1"}'))),
    ("I6", lambda: with_ops(history(run(1)), op("other", "k1", AT, run=run(1).id))),
    ("I7", lambda: final(h := history(run(1, state=State.PENDING)), tallies=(h.final.tallies[0]._replace(count=7),))),
    ("I7", lambda: with_ops(history(run(1)), op("look", run(1).id, AT, run=run(1).id, more="failed:1"))),
    (
        "I8 I9",
        lambda: history(run(1))._replace(
            effects=(*history(run(1)).effects, *effects(run(1)._replace(token=8), AT, pid=OTHER)),
        ),
    ),
    ("I8", lambda: history(run(1, result=b"1", attempt=2, tries=1, lost=1))),
    (
        "I8",
        lambda: more(
            history(),
            two := run(1, attempt=2, lost=1, result=b"2"),
            told=[*effects(two, AT, 900), *effects(two, AT + 100, 10, 2, OTHER)],
        ),
    ),
    ("I9 I8", lambda: more(history(), one := run(1), told=[*effects(one, AT), *effects(one, AT + 100, 10, 0)])),
    ("I9", lambda: history(run(1, tries=2))),
    (
        "I9",
        lambda: more(
            history(),
            one := run(1, task="flaky", tries=2, attempt=2, result=b"2"),
            told=[*effects(one, AT, end="fail"), *effects(one, AT + 100, 10, 2)],
        ),
    ),
    (
        "I9",
        lambda: more(
            history(),
            one := run(1, task="once", tries=1, lost=1, attempt=2, result=b"2"),
            told=[*effects(one, AT), *effects(one, AT + 100, 10, 2)],
        ),
    ),
    ("I10", lambda: chain(AT + 400)),
    ("I11", lambda: with_ops(history(run(1)), op("cancel", run(1).id, AT, run=run(1).id, more="cancelling"))),
    (
        "I11",
        lambda: with_ops(
            more(history(), CANCELLED, told=effects(CANCELLED, AT + 500)),
            op("cancel", CANCELLED.id, AT, run=CANCELLED.id, more="cancelled"),
        ),
    ),
    ("I12", lambda: edited("pause", "0", FIRST + 50_000)),
    ("I12", lambda: edited("delete", "0", FIRST + 50_000)),
    ("I12", lambda: edited("edit", "7", FIRST + 50_000)),
    ("I12", lambda: edited("pause", "0", FIRST + 50_007, by_another("edit", AT + 10, more="7"))),
    ("I12", lambda: edited("edit", "7", FIRST + 50_007, by_another("edit", AT + 10, more="9"))),
    ("I12", lambda: edited("pause", "0", FIRST + 50_000, by_another("resume", AT + 30_000, more="0"))),
    ("I12", lambda: edited("edit", "7", FIRST + 50_000, by_another("edit", AT + 2, AT + 10, more="9"))),
    ("I16", lambda: history(workers=frozenset({WORKER, 99}))),
    (
        "I19",
        lambda: schedule(
            final(without(history(), FIRST + PERIOD), skips=(skip(FIRST + PERIOD, FIRST + PERIOD, 1),)), fired=6
        ),
    ),
    (
        "I19",
        lambda: schedule(
            more(without(history(), FIRST, fired=0), occurrence(FIRST, created_at=FIRST + 5_000)),
            policy=Policy(catch_up=CatchUp.SKIP, misfire_ms=1_000),
        ),
    ),
    (
        "I19",
        lambda: schedule(
            final(
                without(without(without(history(), FIRST + PERIOD), FIRST + 2 * PERIOD), FIRST + 3 * PERIOD),
                skips=(skip(FIRST + PERIOD, FIRST + 3 * PERIOD, 3),),
            ),
            policy=Policy(catch_up=CatchUp.SKIP, misfire_ms=1_000),
        ),
    ),
    ("I22", lambda: final(history(), tallies=())),
    ("I22", lambda: schedule(history(), fired=8)),
    ("I22", lambda: history(run(1, payload=None))),
    ("I22", lambda: history(run(1, keys=("main/unique/1",)))),
    ("I22", lambda: final(history(run(1)), uniques=(key(run(1).id),))),
    ("I22", lambda: final(history(), report=None)),
    ("I24", lambda: with_ops(history(), op("submit", "k", AT, answer="KeyError"))),
    ("I24", lambda: history(ops=())),
    ("I24", lambda: edited("edit", "7", FIRST + 50_000, by_another("edit", AT + 10, answer="OSError", more="away"))),
    ("I27", lambda: history(exits=(Exit("worker1", WORKER, AT, AT + 10, 1),))),
    ("I27", lambda: history(run(1, lost=1, history=(lost(1),)), exits=(Exit("worker1", WORKER, AT, AT + 10, 0),))),
]


def test_a_history_in_which_all_is_well_violates_nothing():
    assert violations(history(run(1), run(2))) == {}
    assert violations(chain(AT + 600)) == {}
    assert violations(edited("edit", "0", FIRST + 50_000)) == {}


@pytest.mark.parametrize(
    ("phase", "other"),
    [
        (7, by_another("edit", AT + 2, AT + 10, more="9")),
        (9, by_another("edit", AT + 2, AT + 10, more="9")),
        (0, by_another("edit", AT + 10, answer=UNCLEAR)),
        (7, by_another("edit", AT + 10, answer=FAILED)),
        (7, by_another("delete", AT + 10, answer=REFUSED)),
        (7, by_another("pause", AT + 30_000, more="0")),
        (7, by_another("pause", AT - 1, AT + 90_000, answer=UNCLEAR)),
    ],
)
def test_an_occurrence_may_be_of_any_edit_that_may_have_been_the_newest(phase, other):
    assert violations(edited("edit", "7", FIRST + 50_000 + phase, other)) == {}


@pytest.mark.parametrize(("name", "forge"), FORGED, ids=[f"{name}-{n}" for n, (name, _) in enumerate(FORGED)])
def test_a_forged_history_is_found_out_by_its_invariant_alone(name, forge):
    assert violations(forge()).keys() == set(name.split())


def test_every_invariant_has_its_forgery():
    assert {one for name, _ in FORGED for one in name.split()[:1]} == INVARIANTS.keys()


@pytest.mark.parametrize(
    ("name", "forge", "excuse"),
    [
        ("I2", nobody_led, strike("store killed", 0, BEGAN + 10_000, 15_000)),
        ("I4", FORGED[9][1], strike("clock", NODE, BEGAN, 100, 10_000)),
        ("I8", FORGED[22][1], strike("freeze worker", WORKER, AT, 500)),
    ],
)
def test_what_a_fault_explains_is_no_violation(name, forge, excuse):
    assert name in violations(forge())
    assert name not in violations(forge()._replace(strikes=(excuse,)))


def test_a_rolling_restart_explains_no_loss():
    exits = (Exit("worker1", WORKER, AT, AT + 10, 0),)
    forged = history(
        run(1, lost=1, history=(lost(1),)), exits=exits, strikes=(strike("rolling restart", NOBODY, AT, 100),)
    )
    assert "I27" in violations(forged)


def test_time_without_faults_is_what_is_left_of_it():
    strikes = [
        strike("freeze", 1, 10, 20),
        strike("kill", 1, 25),
        strike("freeze", 1, 20, 20),
        strike("clock", 1, 90, 5, 50),
    ]
    assert uncovered(strikes, 0, 100) == 10 + 50
    assert uncovered([], 5, 9) == 4
    assert uncovered(strikes, 12, 18) == 0


def test_a_campaign_that_met_nothing_is_vacuous():
    named = {one.partition(":")[0] for one in vacuous(history())}
    assert {"faults that hit", "leaders", "attempts lost", "late reports refused", "submissions"} <= named
    assert counts(history(run(1)))["submissions acknowledged"].met == 1


def test_the_pieces_fit():
    assert forged.UNTIL < OVER
