"""What a worker says of itself."""

from rota.domain.run import End
from rota.worker.load import Counted


def test_attempts_are_counted_by_their_ends():
    running: list[int] = []
    counted = Counted(running)
    running += [1, 2]
    for end in (End.SUCCESS, End.SUCCESS, End.FAILURE, End.RETURNED):
        counted.ended(end)
    assert counted.load()[:3] == (6, 2, 1)


def test_a_processor_that_is_used_shows():
    counted = Counted([])
    counted.load()
    assert sum(number * number for number in range(300_000))
    assert counted.load().cpu_percent > 10


def test_memory_shows_and_a_machine_that_does_not_say_is_judged_by_its_processors(monkeypatch):
    counted = Counted([])
    told = counted.load()
    assert 5 < told.memory_mb < 10_000
    assert 0 <= told.busy_percent <= 100

    def untold():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr("psutil.virtual_memory", untold)
    monkeypatch.setattr("os.getloadavg", lambda: (1e9, 0.0, 0.0))
    assert counted.load().busy_percent == 100


def test_a_machine_that_says_nothing_keeps_nobody_from_beating(monkeypatch):
    """As in a root without `/proc`: a beat takes this along, and would fail each time."""

    def untold():
        raise OSError("load averages are unobtainable")

    monkeypatch.setattr("os.getloadavg", untold)
    monkeypatch.setattr("psutil.virtual_memory", untold)
    assert Counted([]).load().busy_percent == 0
