import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.errors import Invalid
from rota.domain.lane import LABEL_LIMIT, lane, lanes, queue_of

names = st.sampled_from(["a", "b", "c", "d-1", "e.f"])
labels = st.sets(names, max_size=4)


def test_a_lane_says_namespace_queue_executor_and_what_is_required_in_order():
    assert lane("main", "mail", "python") == "main/mail/python/"
    assert lane("main", "mail", "shell", ["gpu", "eu"]) == "main/mail/shell/eu,gpu"


@given(names, names, names, labels, labels)
def test_a_worker_takes_a_run_exactly_if_it_has_all_its_labels(queue, other, executor, required, has):
    taken = lanes(["main"], [queue], [executor], has)
    assert (lane("main", queue, executor, required) in taken) == (required <= has)
    assert (lane("main", other, executor, required) in taken) == (required <= has and queue == other)
    assert lane("elsewhere", queue, executor) not in taken


def test_a_worker_takes_every_combination():
    assert len(lanes(["main", "ns"], ["a", "b"], ["python", "shell"], ["x", "y"])) == 2 * 2 * 2 * 4
    assert lanes([], ["a"], ["python"]) == ()


def test_labels_are_bounded_for_each_doubles_the_lanes():
    assert len(lanes(["main"], ["a"], ["python"], "abcdef")) == 64
    with pytest.raises(Invalid, match=f"7 labels; a worker has at most {LABEL_LIMIT}"):
        lanes(["main"], ["a"], ["python"], "abcdefg")


def test_a_lane_leads_to_its_queue():
    assert queue_of(lane("main", "mail", "python", ["gpu"])) == "main/mail"
