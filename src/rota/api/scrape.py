"""Metrics at an address of their own, for roles that serve no API."""

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from rota.observe.metrics import Metrics

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_scrape(metrics: "Metrics") -> Starlette:
    """`GET /metrics` and nothing else. It asks for no credential: whoever reaches the address may read."""

    async def scraped(_: Request) -> Response:
        return Response(await metrics.text(), media_type=TYPE)

    return Starlette(routes=[Route("/metrics", scraped)])
