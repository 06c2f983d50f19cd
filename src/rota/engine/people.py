"""People: users, and the tokens that let them and their programs in. Every change is audited, no secret is in it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from rota.domain.access import ANY, Actor, Grant
from rota.domain.errors import Forbidden, Invalid, Refused, Unavailable
from rota.domain.names import check_name
from rota.domain.people import LINK_MS, SESSION_MS, Kind, Token, User, administers, check_grants, within
from rota.engine.audit import audited
from rota.engine.engine import Engine, applied, read, walk
from rota.ports.identity import Minted
from rota.ports.store import Change, Group, Versioned, Where

TRIES = 8
FIRST = "admin"
"""The user of the first start. It has no password until somebody gives it one."""


async def add_user(engine: Engine, user: User, actor: Actor) -> User:
    """A new user. Raises `Invalid`, `Refused` for a name that is taken, `Forbidden` for rights that the actor lacks."""
    now = engine.clock.now()
    check_name("name", user.id)
    made = replace(user, grants=_granted(user.grants, actor), created_at=now, updated_at=now)
    entry = audited(engine, actor.name, "create", f"user:{user.id}", None, _shown(made))
    if not applied(await engine.commit_one(Group((Change(None, made), entry)))):
        raise Refused(f"there is a user {user.id} already; change that one, or choose another name")
    return made


async def change_user(
    engine: Engine,
    name: str,
    actor: Actor,
    grants: Iterable[Grant] | None = None,
    disabled: bool | None = None,
    password: str | None = None,
) -> User:
    """What is given becomes so; a new password ends all logins. Raises `Forbidden`; `Refused` for the last admin."""
    said = {"grants": None if grants is None else _granted(grants, actor), "disabled": disabled, "password": password}
    given: dict[str, Any] = {field: value for field, value in said.items() if value is not None}
    for _ in range(TRIES):
        held: Versioned[User] = await read(engine, User, name, "user")
        was = held.record
        after = replace(was, **given, updated_at=engine.clock.now())
        entry = audited(engine, actor.name, "update", f"user:{name}", _shown(was), _shown(after, password is not None))
        changes = [Change(held, after), entry, *await _witness(engine, was, after)]
        if password is not None:
            await _end_logins(engine, name, actor)  # first: a login that comes behind it is a conflict
        if applied(await engine.commit_one(Group(tuple(changes)))):
            return after
    raise Refused(f"user {name} changes too quickly; try again")


async def _end_logins(engine: Engine, name: str, actor: Actor) -> None:
    now = engine.clock.now()
    for _ in range(2):  # one that is refreshed meanwhile gets ahead of where the first look is
        # By their end, the latest first: behind the last one that lives nobody looks, however many there were.
        async for token, _ in walk(engine, Token, Where(ended_until=now + 2 * SESSION_MS)):
            if (token.expires_at or 0) <= now:
                break
            if token.owner == name and token.kind is Kind.SESSION:
                await revoke(engine, token.id, actor.name, "the password is a new one")


async def _witness(engine: Engine, was: User, after: User) -> list[Change]:
    """Another admin, who must stay as they are while one goes: so two admins cannot remove each other at once."""
    if not _rules(was) or _rules(after):
        return []
    async for other in walk(engine, User):
        if other.record.id != was.id and _rules(other.record):
            return [Change(other, replace(other.record, updated_at=engine.clock.now()))]
    raise Refused(f"{was.id} is the last admin; make another one first")


async def mint(engine: Engine, minted: Minted, token: Token, actor: Actor) -> Token:
    """Keep a new key. It can do nothing that the actor cannot; users who are logged in make theirs, an admin of all
    namespaces also those of others, and of nobody (a worker's, a service's). Raises `Invalid`, `Forbidden`, `NotFound`.
    """
    now = engine.clock.now()
    check_name("name", token.name)
    if actor.name != f"user:{token.owner}" and not administers(actor.grants):
        raise Forbidden("users who are logged in make their own tokens; an admin of all namespaces makes others")
    if token.owner or token.kind is Kind.LINK:
        await read(engine, User, token.owner, "user")
    if token.expires_at is not None and token.expires_at <= now:
        raise Invalid("expires_at", "is in the past")
    made = replace(token, id=minted.id, digest=minted.digest, grants=_granted(token.grants, actor), created_at=now)
    if token.kind is Kind.KEY and not made.grants:
        raise Invalid("grants", "are empty: such a token could do nothing; name a role at least")
    entry = audited(engine, actor.name, "create", f"token:{made.id}", None, _shown(made))
    await engine.commit_one(Group((Change(None, made), entry)))
    return made


async def revoke(engine: Engine, token_id: str, actor: str, why: str = "") -> Token:
    """From now on it opens nothing. Revoking twice is harmless. Raises `NotFound`."""
    for _ in range(TRIES):
        held: Versioned[Token] = await read(engine, Token, token_id, "token")
        was, now = held.record, engine.clock.now()
        if not was.live(now):
            return was
        after = replace(was, revoked=why or actor, expires_at=now)
        entry = audited(engine, actor, "revoke", f"token:{token_id}", _shown(was), _shown(after))
        if applied(await engine.commit_one(Group((Change(held, after), entry)))):
            return after
    raise Refused(f"token {token_id} changes too quickly; try again")


async def log_in(
    engine: Engine, owner: str, password: str | None = None, link: Versioned[Token] | None = None
) -> Token | None:
    """A new login of a user, by a password (as the store keeps it) or by a link, which opens once.

    None where that counts no longer, or the user may not log in. Raises `Unavailable`.
    """
    for _ in range(TRIES):
        user, now = (await engine.store.get(User, [owner]))[0], engine.clock.now()
        if user is None or user.record.disabled or password not in (None, user.record.password):
            return None
        if link and link != (await engine.store.get(Token, [link.record.id]))[0]:
            return None
        expires_at = now + SESSION_MS
        made = Token(engine.new_id(now), Kind.SESSION, "login", owner=owner, created_at=now, expires_at=expires_at)
        # The user is written, too, just as they are: so a change of their password cannot overlook this login.
        changes = [Change(None, made), Change(user, user.record)]
        changes.append(audited(engine, f"user:{owner}", "login", f"token:{made.id}"))
        if link:
            changes.append(Change(link, replace(link.record, revoked="used", expires_at=now)))
        if applied(await engine.commit_one(Group(tuple(changes)))):
            return made
    raise Unavailable(f"user {owner} changes too quickly; try again")


async def renew(engine: Engine, session: str, generation: int) -> Token | None:
    """The login, one refresh later. None where it is over; a refresh token that comes twice ends it, for one of the two
    who hold it has stolen it. Raises `Unavailable`.
    """
    for _ in range(TRIES):
        held = (await engine.store.get(Token, [session]))[0]
        now = engine.clock.now()
        if held is None or held.record.kind is not Kind.SESSION or not held.record.live(now):
            return None
        if generation != held.record.generation:
            await revoke(engine, session, f"user:{held.record.owner}", "a refresh token came twice")
            return None
        after = replace(held.record, generation=generation + 1, expires_at=now + SESSION_MS, used_at=now)
        if applied(await engine.commit_one(Group((Change(held, after),)))):
            return after
        # Its last use was noted meanwhile, or somebody else was quicker.
    raise Unavailable("this login changes too quickly; try again")


async def used(engine: Engine, moments: Mapping[str, int]) -> None:
    """Note when tokens were last used, all in one commit. What has changed meanwhile is noted the next time."""
    found = await engine.store.get(Token, list(moments))
    held = [one for one in found if one and one.record.used_at < moments[one.record.id]]
    noted = [Change(one, replace(one.record, used_at=moments[one.record.id])) for one in held]
    await engine.commit([Group((change,)) for change in noted])


async def begin(engine: Engine, key: Minted, link: Minted) -> bool:
    """The first start: an admin, a key for the command line, a link to log in once. False where there is somebody."""
    if (await engine.store.find(User, limit=1)).items:
        return False
    now, all_of_it = engine.clock.now(), (Grant(FIRST, ANY),)
    user = User(FIRST, all_of_it, created_at=now, updated_at=now)
    made = [
        Token(key.id, Kind.KEY, "first", key.digest, FIRST, all_of_it, created_at=now),
        Token(link.id, Kind.LINK, "first", link.digest, FIRST, created_at=now, expires_at=now + LINK_MS),
    ]
    entries = [audited(engine, "rota", "create", f"user:{FIRST}", None, _shown(user))]
    entries += [audited(engine, "rota", "create", f"token:{one.id}", None, _shown(one)) for one in made]
    born = [Change(None, one) for one in (user, *made)]
    # `applied` also where our own unclear try counted; another node's is a conflict.
    return applied(await engine.commit_one(Group((*born, *entries))))


def _granted(grants: Iterable[Grant], actor: Actor) -> tuple[Grant, ...]:
    wanted = check_grants(grants)
    if beyond := set(wanted) - set(within(wanted, actor.grants)):
        raise Forbidden(f"{actor.name} cannot give what is not theirs: {', '.join(sorted(map(str, beyond)))}")
    return wanted


def _rules(user: User) -> bool:
    return not user.disabled and administers(user.grants)


def _shown(record: User | Token, anew: bool = False) -> dict[str, Any]:
    """As the audit keeps it: without the digest of any secret."""
    fields = asdict(record) | {"grants": [str(grant) for grant in record.grants]}
    fields.pop("digest", "")
    if "password" in fields:
        fields["password"] = "a new one" if anew else "set" if fields["password"] else ""
    return {name: value for name, value in fields.items() if name not in ("updated_at", "used_at")}
