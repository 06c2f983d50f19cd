"""What a role tells of itself: lines for people, log lines and metrics, as the settings say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rota.cli.telling import Teller
from rota.domain.facts import Fact
from rota.engine.engine import Engine
from rota.observe import logs
from rota.wiring import about_run

if TYPE_CHECKING:
    from rota.observe.metrics import Metrics
    from rota.settings.tree import Settings


class Watch:
    """Listens to facts. From its making on log lines are as the settings say."""

    def __init__(self, settings: "Settings", teller: Teller, api: bool) -> None:
        said = settings.observability
        logs.configure(said.log_level, said.log_format, about_run)
        self.teller = teller
        self.metrics = _metrics() if said.metrics_enabled and (api or said.metrics_port) else None
        """Counted only where somebody can read them."""
        self._place = (said.metrics_host, said.metrics_port)

    def __call__(self, fact: Fact) -> None:
        """Tell all who listen."""
        self.teller(fact)
        if self.metrics:
            self.metrics(fact)

    def adjust(self, settings: "Settings") -> None:
        """Take over changed settings."""
        logs.set_level(settings.observability.log_level)

    @asynccontextmanager
    async def served(self, engine: Engine | None = None) -> AsyncIterator[None]:
        """Serve metrics at an address of their own while the block lasts, if they have one; an engine's store too.

        It asks for no credential: who reaches it may read. Raises `Invalid` for an address that cannot be listened on.
        """
        if (metrics := self.metrics) is None or not self._place[1]:
            yield
            return
        from starlette.applications import Starlette
        from starlette.responses import Response
        from starlette.routing import Route

        from rota.api.serve import Address, served
        from rota.api.stats import Stats

        async def scraped(_: object) -> Response:
            return Response(await metrics.text(), media_type=metrics.media_type)

        if engine and not metrics.numbers:
            metrics.numbers = Stats(engine).gauges
        app = Starlette(routes=[Route("/metrics", scraped)])
        async with served(app, Address(*self._place, setting="observability.metrics_")):
            yield


def _metrics() -> "Metrics":
    from prometheus_client import disable_created_metrics

    from rota.observe.metrics import Metrics

    disable_created_metrics()  # type: ignore[no-untyped-call]  # series that say when others began; it has no types
    return Metrics()
