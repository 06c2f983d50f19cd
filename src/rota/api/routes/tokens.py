"""Tokens: keys of programs and workers, logins, login links. Everybody sees and revokes theirs, admins those of all."""

from typing import Annotated

from fastapi import Path, Query, Response

from rota.api.deps import Here, Json, Reader, Seals, answers, router
from rota.api.paging import Pages, listing
from rota.api.routes.auth import Doors
from rota.api.schemas import people as said
from rota.api.schemas.texts import TOKEN
from rota.api.schemas.views import page
from rota.api.views import token_row
from rota.domain.errors import NotFound
from rota.domain.people import LINK_MS, Kind, Token, administers
from rota.engine import people
from rota.engine.engine import read
from rota.ports.store import Where

routes = router("/api/tokens", "tokens")
TokenId = Annotated[str, Path(pattern=TOKEN, description="Its public part.")]


@routes.get("", response_model=page(said.TokenView))
async def listed(engine: Here, asked: Reader, cursors: Seals, query: Annotated[Pages, Query()]) -> Response:
    """List the tokens that open something, newest first: one's own, or for admins all."""
    now, rules = engine.clock.now(), administers(asked.actor.grants)

    def fits(token: Token) -> bool:
        return token.live(now) and (rules or (token.owner != "" and token.owner == asked.actor.user))

    found, after = await listing(engine.store, cursors, Token, Where(), query, fits)
    return Json({"items": [token_row(one) for one in found], "next": after})


@routes.post("", status_code=201, response_model=said.Minted, responses=answers(404, 409))
async def mint(engine: Here, door: Doors, asked: Reader, body: said.TokenNew) -> Response:
    """Make a token that can do no more than its maker. Its secret is in this answer alone."""
    kind, owner = Kind(body.kind), asked.actor.user if body.owner is None else body.owner
    ends = engine.clock.now() + LINK_MS if kind is Kind.LINK else body.expires_at
    grants = tuple(one.grant() for one in body.grants)
    token, secret = await door.mint(
        Token("", kind, body.name, owner=owner, grants=grants, expires_at=ends), asked.actor
    )
    return Json(token_row(token) | {"secret": secret}, 201)


@routes.delete("/{token}", status_code=204, responses=answers(404))
async def revoke(engine: Here, door: Doors, asked: Reader, token: TokenId) -> Response:
    """Revoke a token: it opens nothing any more, on other nodes within five seconds."""
    held: Token = (await read(engine, Token, token, "token")).record
    # A key that was stolen must not shut its owner out: it revokes nothing but itself.
    mine = token == asked.actor.token or asked.name == f"user:{held.owner}"
    if not mine and not administers(asked.actor.grants):
        raise NotFound("token", token, "see `rota tokens list`")
    await people.revoke(engine, token, asked.name)
    door.forget()
    return Response(status_code=204)
