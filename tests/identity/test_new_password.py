"""What a new password costs and ends, however many logins there were."""

from typing import Any

from rota.domain.access import Grant
from rota.domain.people import Kind, Token
from rota.engine import people
from rota.engine.engine import PAGE
from rota.ports.store import Change, Group
from tests.identity.support import PASSWORD, ROOT, Served, live_tokens


async def test_it_looks_at_no_more_than_what_lives(served: Served, monkeypatch):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    now = served.house.clock.now()
    ended = [
        Token(f"{number:032x}", Kind.SESSION, "login", owner="anna", created_at=now, expires_at=now - number)
        for number in range(2 * PAGE + 1)
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
    assert 0 < len(looked) <= PAGE
    served.door.forget()
    assert [(await served.ask("GET", "/api/auth/me", one)).status_code for one in logins] == [401, 401]
    assert [one for one in await live_tokens(served.engine, "anna") if one.kind is Kind.SESSION] == []


async def test_it_ends_a_login_that_is_over_sooner_than_one_that_a_faster_clock_has_revoked(served: Served):
    await served.user("anna", Grant("viewer"), password=PASSWORD)
    now = served.house.clock.now()
    revoked = Token("a" * 32, Kind.SESSION, "login", owner="anna", expires_at=now + 9_000, revoked="there")
    living = Token("b" * 32, Kind.SESSION, "login", owner="anna", expires_at=now + 8_000)
    await served.engine.commit([Group((Change(None, one),)) for one in (revoked, living)])
    await people.change_user(served.engine, "anna", ROOT, password="another")
    assert await live_tokens(served.engine, "anna") == []
