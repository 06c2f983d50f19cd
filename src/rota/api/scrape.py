"""Metrics at an address of their own, for roles that serve no API."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rota.observe.metrics import TYPE, Metrics


def make_scrape(metrics: Metrics) -> Starlette:
    """`GET /metrics` and nothing else. It asks for no credential: whoever reaches the address may read."""

    async def scraped(_: Request) -> Response:
        return Response(await metrics.text(), media_type=TYPE)

    return Starlette(routes=[Route("/metrics", scraped)])
