"""Logging in and out. The first three paths are public; their answers never tell why they were refused."""

from typing import Annotated

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from rota.api.deps import Here, Json, Reader, answers, part, router
from rota.api.door import ACCESS_MS, COOKIE, COOKIE_MS, Door, Opened
from rota.api.schemas import people as said
from rota.domain.errors import Invalid
from rota.domain.people import check_password
from rota.engine import people

routes = router("/api/auth", "auth")
WRONG = "wrong name or password, or a user who may not log in"
USED = "a login code or refresh token that is wrong, was used, or is too old"

Doors = Annotated[Door, part("door")]


def _told(request: Request, opened: Opened | None, cookie: bool, why: str) -> Response:
    if opened is None:
        raise HTTPException(401, why, {"WWW-Authenticate": "Bearer"})
    if not cookie:
        tokens = {"access_token": opened.access, "refresh_token": opened.refresh, "token_type": "Bearer"}
        return Json({"user": opened.user, **tokens, "expires_in": ACCESS_MS // 1_000})
    told = Json({"user": opened.user, "token_type": "Bearer", "expires_in": COOKIE_MS // 1_000})
    secure, max_age = request.state.secure, COOKIE_MS // 1_000
    told.set_cookie(COOKIE, opened.cookie, max_age, secure=secure, httponly=True, samesite="strict")
    return told


@routes.post("/login", response_model=said.Opened)
async def log_in(request: Request, door: Doors, body: said.LoginBody) -> Response:
    """Log in by name and password. Always a new login, whatever the request came with."""
    await _counted(door, body.name)
    return _told(request, await door.log_in(body.name, body.password), body.cookie, WRONG)


async def _counted(door: Door, name: str) -> None:
    if wait_s := await door.wait_s(name):
        raise HTTPException(429, f"too many tries; come back in {wait_s} s", {"Retry-After": str(wait_s)})


@routes.post("/link", response_model=said.Opened)
async def open_link(request: Request, door: Doors, body: said.LinkBody) -> Response:
    """Log in by the code of a login link, once."""
    return _told(request, await door.open_link(body.code), body.cookie, USED)


@routes.post("/refresh", response_model=said.Opened)
async def refresh(request: Request, door: Doors, body: said.RefreshBody) -> Response:
    """New tokens for the last refresh token. One that comes a second time ends the login."""
    return _told(request, await door.refresh(body.refresh_token), False, USED)


@routes.post("/logout", status_code=204)
async def log_out(door: Doors, asked: Reader) -> Response:
    """End this login: its access, refresh and cookie tokens open nothing any more. Keys are revoked as tokens."""
    await door.log_out(asked.actor)
    told = Response(status_code=204)
    told.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return told


@routes.get("/me", response_model=said.Myself)
async def me(asked: Reader) -> Response:
    """Show who asks, and what they may do."""
    actor = asked.actor
    return Json({"name": actor.name, "user": actor.user, "token": actor.token, "grants": actor.grants})


@routes.post("/password", status_code=204, responses=answers(409))
async def change_password(engine: Here, door: Doors, asked: Reader, body: said.PasswordBody) -> Response:
    """Give oneself another password. All one's logins end, this one too."""
    name = asked.actor.user
    await _counted(door, name)
    if not name or not await door.by_password(name, body.current):
        raise Invalid("current", "is not the password of a user who asks")
    hashed = await door.hashed(check_password(name, body.new))
    await people.change_user(engine, name, asked.actor, password=hashed)
    door.forget()
    return Response(status_code=204)
