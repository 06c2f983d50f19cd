from rota.domain.run import Attempt, Fence, Reason, State
from rota.scheduler.breaker import FIRST_MS, KEPT_MS, LAST_MS, Breaker, is_kept
from rota.testing.factories import make_run

RUN = make_run(1)._replace(state=State.RUNNING, session="w", attempt=3, token=9, claimed_at=1_000)


def returned(number: int, reason: str = Reason.RETURNED) -> Attempt:
    return Attempt(number, 9, "w", "w", 1_000, None, 1_001, reason, "", 0)


BACK = RUN._replace(state=State.PENDING, session="", history=(returned(3),))


def test_each_probe_that_comes_back_doubles_the_rest_up_to_a_limit():
    breaker, now, rests = Breaker(), 1_000, []
    breaker.handed_back("w", now)
    for _ in range(8):
        rests.append(next(ms for ms in range(0, LAST_MS + 1, 500) if breaker.room("w", now + ms)))
        now += 100_000
        breaker.given(RUN, now)
        breaker.judge({RUN.id: BACK}, now)
    assert rests == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    assert breaker.room("x", now) is None


def test_what_comes_back_together_counts_once():
    breaker = Breaker()
    for now in range(10):
        breaker.handed_back("w", now)
    assert (breaker.room("w", FIRST_MS - 1), breaker.room("w", FIRST_MS)) == (0, 1)


def test_after_its_rest_it_gets_one_run_and_all_once_that_is_kept():
    breaker = Breaker()
    breaker.handed_back("w", 0)
    breaker.given(RUN, FIRST_MS - 1)
    assert breaker.probes() == {}, "what it was given before is none"
    breaker.given(RUN, FIRST_MS)
    assert (breaker.room("w", FIRST_MS), breaker.probes()) == (0, {"w": RUN.fence})
    breaker.judge({RUN.id: RUN}, FIRST_MS + KEPT_MS)
    assert breaker.room("w", FIRST_MS) == 0, "nothing is known of it"
    breaker.judge({RUN.id: RUN._replace(started_at=1_001)}, FIRST_MS)
    assert breaker.room("w", FIRST_MS) is None


def test_a_probe_that_is_neither_begun_nor_handed_back_for_long_is_kept_whatever_its_instants_say():
    """They are of the clock of whoever claimed it, and that may be set meanwhile."""
    breaker = Breaker()
    breaker.handed_back("w", 0)
    breaker.given(RUN, FIRST_MS)
    for claimed_at in (0, 10**15):
        breaker.judge({RUN.id: RUN._replace(claimed_at=claimed_at)}, FIRST_MS + KEPT_MS)
        assert breaker.room("w", 10**9) == 0
    breaker.judge({RUN.id: RUN._replace(claimed_at=10**15)}, FIRST_MS + KEPT_MS + 1)
    assert breaker.room("w", 10**9) is None


def test_a_probe_that_comes_back_is_known_already_as_it_is_placed_again():
    breaker = Breaker()
    breaker.handed_back("w", 0)
    breaker.given(RUN, FIRST_MS)
    breaker.judge({RUN.id: BACK}, FIRST_MS)
    breaker.handed_back("w", FIRST_MS)
    assert (breaker.room("w", 3 * FIRST_MS - 1), breaker.room("w", 3 * FIRST_MS)) == (0, 1)
    breaker.keep(["x"])
    assert breaker.room("w", 0) is None


def test_what_is_kept():
    probe = Fence(RUN.id, 3, 9)
    assert is_kept(None, probe, 0) is True
    assert is_kept(RUN, probe, KEPT_MS) is None
    assert is_kept(RUN, probe, KEPT_MS + 1) is True
    assert is_kept(RUN._replace(state=State.SUCCESS), probe, 0) is True
    assert is_kept(RUN._replace(attempt=4, history=(returned(3),)), probe, 0) is False
    assert is_kept(RUN._replace(attempt=4, history=(returned(2), returned(3, Reason.TIMEOUT))), probe, 0) is True
