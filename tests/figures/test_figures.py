"""The figures are taken by hand; here it is only seen that they check what they count."""

import pytest

from rota.domain.run import Run
from rota.ports.store import Change, Group, Where
from tests.figures import histories, measuring
from tests.figures.stage import Wrong, check


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (histories, "SMALL", 4_000), (measuring, "REPEATS", 2), (measuring, "BACKLOG", 200), (measuring, "BATCH", 50)
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


async def test_a_history_is_measured_on_both_sides():
    found = await histories.history_sqlite(8_000)
    assert found["runs"] == [4_000, 8_000]
    assert found["ms"].keys() == found["ratio"].keys() > {"claim 50", "settle 50", "list failed", "prune", "stats"}


async def test_a_history_that_lacks_a_run_is_noticed(monkeypatch: pytest.MonkeyPatch):
    prepare = measuring.Measure.prepare

    async def lossy(self: measuring.Measure) -> None:
        await prepare(self)
        (one,) = (await self.engine.store.find(Run, Where("main", task="task-1"), "", 1)).items
        await self.engine.commit([Group((Change(one, None),))])

    monkeypatch.setattr(measuring.Measure, "prepare", lossy)
    with pytest.raises((Wrong, ExceptionGroup)):
        await histories.history_sqlite(8_000)


def test_what_does_not_hold_ends_a_figure():
    check(True, "so it is")
    with pytest.raises(Wrong, match="not so"):
        check(False, "not so")
