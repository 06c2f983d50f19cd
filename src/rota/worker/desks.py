"""The desk beside the store: the engine itself. A desk across a network has the same calls."""

from collections.abc import Sequence

from rota.domain.records import Load, Session
from rota.domain.run import Run
from rota.domain.states import Verdict
from rota.engine.claim import claim, given
from rota.engine.engine import Engine, every
from rota.engine.report import report
from rota.engine.sessions import beat, enter, leave
from rota.engine.settle import settle
from rota.ports.desk import Progress, Settlement, Taken
from rota.ports.store import BeatReply, Line, Want, Where


class LocalDesk:
    """`ports.desk.Desk` over an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def enter(self, session: Session) -> None:
        """Open a session."""
        await enter(self._engine, session)

    async def leave(self, session: str, reason: str) -> None:
        """Close it."""
        await leave(self._engine, session, reason)

    async def claim(self, want: Want) -> Taken:
        """Ready runs for a session."""
        return (await claim(self._engine, [want]))[0]

    async def beat(self, session: str, load: Load | None = None) -> BeatReply:
        """A sign of life."""
        return await beat(self._engine, session, load)

    async def held(self, session: str) -> list[Run]:
        """The running runs of a session."""
        return [held.record for held in await every(self._engine, Run, Where(session=session))]

    async def given(self, session: str, runs: Sequence[str]) -> Taken:
        """Those of these runs that the session holds."""
        return await given(self._engine, session, runs)

    async def report(self, progress: Sequence[Progress], lines: Sequence[Line]) -> list[Verdict]:
        """News of running attempts."""
        return await report(self._engine, progress, lines)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """Ends of attempts."""
        return await settle(self._engine, settlements)
