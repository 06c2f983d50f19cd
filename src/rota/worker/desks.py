"""The desk beside the store: the engine itself. A desk across a network has the same calls."""

from functools import partial

from rota.domain.run import Run
from rota.engine.claim import claim, given
from rota.engine.engine import Engine, every
from rota.engine.report import report
from rota.engine.sessions import beat, enter, leave
from rota.engine.settle import settle
from rota.ports.desk import Taken
from rota.ports.store import Want, Where


class LocalDesk:
    """`ports.desk.Desk` over an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.enter, self.beat, self.given = partial(enter, engine), partial(beat, engine), partial(given, engine)
        self.report, self.settle = partial(report, engine), partial(settle, engine)

    async def leave(self, session: str, reason: str) -> None:
        await leave(self._engine, session, reason)

    async def claim(self, want: Want) -> Taken:
        return (await claim(self._engine, [want]))[0]

    async def held(self, session: str) -> list[Run]:
        return [held.record for held in await every(self._engine, Run, Where(session=session))]
