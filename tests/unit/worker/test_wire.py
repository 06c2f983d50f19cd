from datetime import timedelta

from rota.domain.flow import Snooze, outcome_of
from rota.domain.run import Fence
from rota.ports.desk import Settlement
from rota.worker import wire


def test_the_longest_snooze_travels():
    end = Settlement(Fence("a" * 32, 1, 1), outcome_of(Snooze(timedelta(days=3_653))))
    (said,) = wire.decode(wire.Settle, wire.encode(wire.Settle((wire.ended(end),)))).settlements
    assert wire.settlement(said) == end
