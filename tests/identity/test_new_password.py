"""What a new password costs and ends, however many logins there were."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from rota.domain.access import Grant
from rota.domain.errors import Unavailable
from rota.domain.people import Kind, Token, User
from rota.engine import people
from rota.engine.engine import PAGE, walk
from rota.ports.store import Change, Conflict, Group, Where
from tests.identity.support import PASSWORD, ROOT, Served, live_tokens


async def test_it_looks_at_no_more_than_what_lives(served: Served, monkeypatch):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    now = served.house.clock.now()
    ended = [
        Token(f"{number:032x}", Kind.SESSION, "login", owner="anna", created_at=now, expires_at=now - number)
        for number in range(3 * PAGE)
    ]
    await served.engine.commit([Group((Change(None, one),)) for one in ended])
    logins = [(await served.logged_in()).json()["access_token"] for _ in range(2)]
    looked: list[Any] = []
    find = served.house.store.find

    async def noted(kind: Any, *args: Any) -> Any:
        page: Any = await find(kind, *args)
        looked.extend(page.items if kind is Token else ())
        return page

    monkeypatch.setattr(served.house.store, "find", noted)
    await people.change_user(served.engine, "anna", ROOT, password="another")
    assert 0 < len(looked) <= 2 * PAGE
    served.door.forget()
    assert [(await served.ask("GET", "/api/auth/me", one)).status_code for one in logins] == [401, 401]
    assert [one for one in await live_tokens(served.engine, "anna") if one.kind is Kind.SESSION] == []


async def test_it_does_not_count_while_those_who_came_in_by_the_old_one_cannot_be_shut_out(served: Served, monkeypatch):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    await served.logged_in()

    async def away(*_: Any) -> None:
        raise Unavailable("no store")

    monkeypatch.setattr(people, "revoke", away)
    with pytest.raises(Unavailable):
        await people.change_user(served.engine, "anna", ROOT, password="another")
    assert (await served.logged_in()).status_code == 200


async def test_no_login_outlives_it_also_where_the_process_dies_with_its_commit(served: Served, monkeypatch):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    commit, logins = served.house.store.commit, list[str]()

    async def deadly(groups: Sequence[Group], *args: Any) -> Any:
        if not any(isinstance(one.now, User) and one.now.password == "another" for one in groups[0].changes):
            return await commit(groups, *args)
        if not logins:  # the logins were looked for, and now there is another one
            logins.append((await served.logged_in()).json()["access_token"])
        if isinstance(result := (await commit(groups, *args))[0], Conflict):
            return [result]
        raise SystemError("died")

    monkeypatch.setattr(served.house.store, "commit", deadly)
    with pytest.raises(SystemError):
        await people.change_user(served.engine, "anna", ROOT, password="another")
    served.door.forget()
    assert [(await served.ask("GET", "/api/auth/me", one)).status_code for one in logins] == [401]


async def test_it_ends_a_login_that_is_refreshed_while_logins_are_looked_for(served: Served, monkeypatch):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    first = await people.log_in(served.engine, "anna")
    assert first
    served.house.clock.advance(1)
    assert await people.log_in(served.engine, "anna")
    find, refreshed = served.house.store.find, list[Token | None]()

    async def slow(kind: Any, where: Where, cursor: str, *args: Any) -> Any:
        if kind is Token and cursor and not refreshed:
            served.house.clock.advance(1)
            refreshed.append(await people.renew(served.engine, first.id, 0))
        return await find(kind, where, cursor, *args)

    monkeypatch.setattr(served.house.store, "find", slow)
    monkeypatch.setattr(people, "walk", partial(walk, size=1))
    await people.change_user(served.engine, "anna", ROOT, password="another")
    assert refreshed not in ([], [None])
    assert await live_tokens(served.engine, "anna") == []


async def test_it_ends_a_login_that_is_over_sooner_than_one_that_a_faster_clock_has_revoked(served: Served):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    now = served.house.clock.now()
    revoked = Token("a" * 32, Kind.SESSION, "login", owner="anna", expires_at=now + 9_000, revoked="there")
    living = Token("b" * 32, Kind.SESSION, "login", owner="anna", expires_at=now + 8_000)
    await served.engine.commit([Group((Change(None, one),)) for one in (revoked, living)])
    await people.change_user(served.engine, "anna", ROOT, password="another")
    assert await live_tokens(served.engine, "anna") == []
