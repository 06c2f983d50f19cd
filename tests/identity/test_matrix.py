"""Every route × every role × no credential, read off the router: a new route without a rule fails here. (1, 4, 22)"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from fastapi.dependencies.models import Dependant
from starlette.routing import BaseRoute

from rota.api.app import Options, make_routes
from rota.api.deps import May
from rota.api.guard import PUBLIC
from rota.domain.access import ANY, ROLES, Action, Grant
from tests.identity.support import ROLES as ASKED
from tests.identity.support import Served

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


class Rule(NamedTuple):
    method: str
    path: str
    actions: tuple[Action, ...]

    @property
    def url(self) -> str:
        """With things that do not exist in the place of parameters."""
        return "/".join("0" * 32 if part.startswith("{") else part for part in self.path.split("/"))


def actions(dependant: Dependant) -> list[Action]:
    found = [dependant.call.action] if isinstance(dependant.call, May) else []
    return found + [one for inner in dependant.dependencies for one in actions(inner)]


def flat(routes: Any) -> Iterator[BaseRoute]:
    for route in routes:
        inner = getattr(route, "effective_candidates", None)
        yield from flat(inner()) if inner else [route]


def rules(app: Any) -> list[Rule]:
    found = []
    for route in flat(app.routes):
        dependant = getattr(route, "dependant", None)
        assert dependant is not None, f"{route} is no route with a rule"
        needed = tuple(sorted(set(actions(dependant))))
        found += [Rule(method, getattr(route, "path", ""), needed) for method in sorted(getattr(route, "methods", ()))]
    return found


@pytest.fixture
def table(served: Served) -> list[Rule]:
    return rules(make_routes(served.engine, Options()))


async def test_every_route_names_one_action_or_is_on_the_list_of_public_paths(table):
    assert len(table) > 20
    assert [rule for rule in table if rule.path not in PUBLIC and len(rule.actions) != 1] == []
    assert [rule for rule in table if rule.path in PUBLIC and rule.actions] == []
    assert {rule.path for rule in table if rule.path in PUBLIC} == PUBLIC


async def test_no_route_lets_a_stranger_in(served, table):
    closed = [rule for rule in table if rule.path not in PUBLIC]
    for rule in closed:
        for text in ("", "rota_key_0123456789abcdef_" + "A" * 43):
            answer = await served.ask(rule.method, rule.url, text)
            assert answer.status_code == 401, rule


@pytest.mark.parametrize("role", ASKED)
async def test_each_role_passes_where_its_actions_say_so_and_nowhere_else(served, table, role):
    """Who passes meets the route's own judgement (200, 404, 409, 422 …), never 401 and never a fault of ours."""
    key = await served.key("of-all", Grant(role, ANY))
    for rule in table:
        if rule.path in PUBLIC or "events" in rule.path:
            continue
        body = {"content": b"{}", "headers": {"Content-Type": "application/json"}} if rule.method in UNSAFE else {}
        answer = await served.ask(rule.method, rule.url, key, **body)
        if rule.actions[0] in ROLES[role]:
            assert answer.status_code not in (401, 403, 405), (rule, role, answer.text)
            assert answer.status_code < 500, (rule, role, answer.text)
        else:
            assert answer.status_code == 403, (rule, role, answer.text)
            assert answer.json()["title"] == "Forbidden"
