"""Users and what they may do. For admins of all namespaces alone."""

from typing import Annotated

from fastapi import Query, Response

from rota.api.deps import Admin, Here, Json, Name, Seals, answers, router
from rota.api.paging import Pages, listing
from rota.api.routes.auth import Doors
from rota.api.schemas import people as said
from rota.api.schemas.views import page
from rota.api.views import user_row
from rota.domain.people import User, check_password
from rota.engine import people
from rota.engine.engine import read
from rota.ports.store import Where

routes = router("/api/users", "users")


@routes.get("", response_model=page(said.UserView))
async def listed(engine: Here, asked: Admin, cursors: Seals, query: Annotated[Pages, Query()]) -> Response:
    """List users, newest first."""
    found, after = await listing(engine.store, cursors, User, Where(), query)
    return Json({"items": [user_row(one) for one in found], "next": after})


@routes.post("", status_code=201, response_model=said.UserView, responses=answers(409))
async def create(engine: Here, door: Doors, asked: Admin, body: said.UserNew) -> Response:
    """Make a user."""
    password = "" if body.password is None else await door.hashed(check_password(body.name, body.password))
    user = User(body.name, tuple(one.grant() for one in body.grants), password)
    return Json(user_row(await people.add_user(engine, user, asked.actor)), 201)


@routes.get("/{name}", response_model=said.UserView, responses=answers(404))
async def show(engine: Here, asked: Admin, name: Name) -> Response:
    """Show a user."""
    return Json(user_row((await read(engine, User, name, "user")).record))


@routes.patch("/{name}", response_model=said.UserView, responses=answers(404, 409))
async def update(engine: Here, door: Doors, asked: Admin, name: Name, body: said.UserChange) -> Response:
    """Change rights, disable or enable, set a password. The last admin cannot be lost."""
    password = None if body.password is None else await door.hashed(check_password(name, body.password))
    grants = None if body.grants is None else [one.grant() for one in body.grants]
    user = await people.change_user(engine, name, asked.actor, grants, body.disabled, password)
    door.forget()
    return Json(user_row(user))
