"""Several stores on one place, as several processes have them: everything acknowledged by one counts for all."""

import asyncio

from rota.domain.errors import StoreError, Unclear
from rota.domain.records import Tally
from rota.domain.run import Run, State
from rota.ports.store import APPLIED, Change, Conflict, Group
from rota.testing.contracts.store.hints import heard
from rota.testing.contracts.store.steps import FOREVER_MS, NOW, TALLY, Place, change, everything, held, put
from rota.testing.factories import make_run


class Cluster:
    async def test_what_one_acknowledged_all_see(self, place: Place) -> None:
        one, other = await place.open(), await place.open()
        for number in range(20):
            run = make_run(number, due_at=NOW)
            assert await change(one, None, run) == APPLIED
            first = await held(other, run)
            assert first == await held(one, run)
            assert len(await everything(other, Run)) == number + 1
            assert len((await other.due(Run, NOW, 100)).items) == number + 1
            assert await change(other, first, None) == APPLIED
            (again,) = await put(other, run)
            assert await change(one, first, run._replace(progress="late")) == Conflict((again,))
            one, other = other, one

    async def test_what_is_acknowledged_outlives_the_store(self, place: Place) -> None:
        one = await place.open()
        (was,) = await put(one, make_run(1))
        ended = make_run(1, state=State.SUCCESS, ended_at=NOW)
        assert await one.commit([Group((Change(was, ended),), TALLY)]) == [APPLIED]
        await one.lead("scheduler", "a", FOREVER_MS)
        await one.close()
        await one.close()
        other = await place.open()
        assert (await held(other, ended)).record == ended
        assert await everything(other, Tally) == [TALLY]
        assert not (await other.lead("scheduler", "b", FOREVER_MS)).mine

    async def test_closing_loses_nothing_acknowledged(self, place: Place) -> None:
        one, other = await place.open(), await place.open()
        runs = [make_run(number) for number in range(40)]
        calls = [asyncio.ensure_future(change(one, None, run)) for run in runs]
        await calls[0]
        async with asyncio.timeout(30):
            await one.close()
            answers = await asyncio.gather(*calls, return_exceptions=True)
        found = {run.id for run in await everything(other, Run)}
        for run, answer in zip(runs, answers, strict=True):
            assert run.id in found if answer == APPLIED else isinstance(answer, StoreError | Unclear)

    async def test_stores_wake_each_other(self, place: Place) -> None:
        one, other = await place.open(), await place.open()
        for sender, listener, topic in ((one, other, "ready:a"), (other, one, "ready:*")):
            ear = listener.watch([topic])
            assert await heard(sender, ear)
            ear.close()
