"""Strategies: what each promises, for any crowd of workers."""

from collections import Counter
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.records import DISPATCH, PULL
from rota.scheduler.placement import STRATEGIES, Memory, Seat, weight_of


def seats(*slots: int, weights: tuple[int, ...] = (), held: int = 0) -> list[Seat]:
    heavy = weights or slots
    return [Seat(f"s{at}", f"w{at}", frozenset({"lane"}), number, held, heavy[at]) for at, number in enumerate(slots)]


def chosen(strategy: str, crowd: list[Seat], times: int, memory: Memory | None = None, key: str = "") -> list[str]:
    """Workers in the order in which they were chosen, each having room without end."""
    remembered = memory or Memory(Random(7))
    return [seat.worker for seat in islice(STRATEGIES[strategy](crowd, key, remembered), times)]


def test_every_strategy_that_a_queue_can_have_is_there():
    assert {*STRATEGIES} == {*DISPATCH} - {PULL}


@given(st.integers(1, 20), st.integers(1, 200))
def test_round_robin_gives_to_each_as_often_as_to_any_other_but_once(workers, times):
    counts = Counter(chosen("round_robin", seats(*[5] * workers), times))
    assert max(counts.values()) - (min(counts.values()) if len(counts) == workers else 0) <= 1


def test_round_robin_goes_on_behind_one_that_left():
    crowd, memory = seats(5, 5, 5), Memory(Random(1))
    assert chosen("round_robin", crowd, 2, memory) == ["w0", "w1"]
    assert chosen("round_robin", [crowd[0], crowd[2]], 3, memory) == ["w2", "w0", "w2"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_weights_are_honoured_exactly_in_every_round(weights):
    """Wanted are 2 %; a round is as many runs as all weigh together."""
    crowd = seats(*[10] * len(weights), weights=tuple(weights))
    counts = Counter(chosen("weighted", crowd, sum(weights)))
    assert [counts[seat.worker] for seat in crowd] == weights


def test_weights_are_mixed_well():
    """Five for one, one each for two others: the heavy one never gets all of its five in a row."""
    crowd, memory, round_ = (
        seats(5, 5, 5, weights=(5, 1, 1)),
        Memory(Random(7)),
        ["w0", "w0", "w0", "w1", "w2", "w0", "w0"],
    )
    assert chosen("weighted", crowd, 14, memory) == 2 * round_
    assert [chosen("weighted", crowd, 1, memory)[0] for _ in range(7)] == round_, "asked for one at a time as well"


def test_weights_are_honoured_among_workers_of_different_lanes():
    first, both, second = seats(9, 9, 9, weights=(1, 1, 1))
    memory, counts = Memory(Random(7)), Counter[str]()
    for _ in range(100):
        counts.update(chosen("weighted", [first, both], 1, memory) + chosen("weighted", [both, second], 1, memory))
    assert {*counts.values()} <= {66, 67, 68}


def test_who_is_full_now_and_then_gets_no_more_than_its_weight():
    light, heavy = seats(1, 1_000, weights=(1, 9))
    memory, counts = Memory(Random(7)), Counter[str]()
    for number in range(200):
        light.held = light.held if number % 3 else 0
        (one,) = chosen("weighted", [seat for seat in (light, heavy) if seat.free > 0], 1, memory)
        light.held += one == light.worker
        counts[one] += 1
    assert counts == {light.worker: 20, heavy.worker: 180}


def test_who_was_away_for_long_makes_up_for_one_turn():
    crowd, memory = seats(9, 9, weights=(1, 1)), Memory(Random(7))
    chosen("weighted", crowd, 4, memory)
    chosen("weighted", crowd[:1], 50, memory)
    back = chosen("weighted", crowd, 6, memory)
    assert back.count("w1") in (3, 4)
    for times in (50, 1):
        chosen("weighted", crowd[:1], times, memory)
    assert {*memory.dues} == {"s0"}, "nor is it remembered for ever"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_costs_no_more_however_many_workers_and_runs_there_are(strategy, monkeypatch):
    looks = 0
    free = Seat.free.fget  # type: ignore[attr-defined]  # a property

    def looked(seat: Seat) -> int:
        nonlocal looks
        looks += 1
        return int(free(seat))

    monkeypatch.setattr(Seat, "free", property(looked))
    monkeypatch.setattr(Seat, "load", property(lambda seat: looked(seat) and seat.held / seat.slots))
    crowd, runs = seats(*[10] * 500), 0
    for seat in STRATEGIES[strategy](crowd, "key", Memory(Random(1))):
        seat.held += 1
        runs += 1
    assert (runs, {seat.held for seat in crowd}) == (5_000, {10})
    assert looks <= 3 * (runs + len(crowd))


@given(st.integers(2, 10), st.integers(0, 2**32))
def test_chance_is_fair(workers, seed):
    counts = Counter(chosen("random", seats(*[5] * workers), 400 * workers, Memory(Random(seed))))
    assert len(counts) == workers
    assert all(250 < count < 560 for count in counts.values())


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=10))
def test_the_least_loaded_has_no_one_below_it(crowd):
    made = [Seat(f"s{at}", f"w{at}", frozenset(), slots, held, slots) for at, (slots, held) in enumerate(crowd)]
    seat = next(STRATEGIES["least_load"](made, "", Memory(Random(1))))
    assert all(seat.load <= other.load for other in made)


def test_a_busy_machine_counts_as_full_as_it_is():
    idle, busy = seats(10, 10, held=4)
    busy.held, busy.busy = 1, 0.9
    assert next(STRATEGIES["least_load"]([busy, idle], "", Memory(Random(1)))) is idle


def test_equally_loaded_ones_take_turns():
    assert Counter(chosen("least_load", seats(5, 5, 5), 9)) == {"w0": 3, "w1": 3, "w2": 3}


@given(st.integers(2, 12), st.data())
def test_when_a_worker_goes_only_its_own_keys_move(workers, data):
    crowd = seats(*[5] * workers)
    gone = data.draw(st.sampled_from(crowd))
    for key in map(str, range(50)):
        (before,) = chosen("consistent_hash", crowd, 1, key=key)
        (after,) = chosen("consistent_hash", [seat for seat in crowd if seat is not gone], 1, key=key)
        assert before in {after, gone.worker}


def test_keys_are_spread():
    counts = Counter(chosen("consistent_hash", seats(*[5] * 4), 1, key=f"main/task{at}")[0] for at in range(1_000))
    assert all(180 < counts[f"w{at}"] < 320 for at in range(4))


def test_workers_of_one_name_share_their_keys():
    twins = [Seat(f"s{at}", "twin", frozenset(), 5, 0, 5) for at in range(2)]
    found = {next(STRATEGIES["consistent_hash"](twins, f"k{at}", Memory(Random(1)))).session for at in range(50)}
    assert found == {"s0", "s1"}


@pytest.mark.parametrize(
    ("labels", "weight"),
    [((), 8), (("gpu",), 8), (("gpu", "weight:3"), 3), (("weight:0",), 8), (("weight:x",), 8), (("weight:1001",), 8)],
)
def test_a_worker_weighs_what_its_label_says_else_its_slots(labels, weight):
    assert weight_of(labels, 8) == weight
