"""People and programs that may ask: users, and the tokens that they show."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rota.domain.access import ANY, ROLES, Action, Grant, allowed
from rota.domain.errors import Invalid
from rota.domain.names import check_name
from rota.domain.schedule import DAY_MS

PASSWORD_LENGTH = (12, 256)
"""Characters, at least and at most."""
MOST_GRANTS = 24
"""Grants of one user or token, at most."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logs in. What may be done is told by the grants alone."""

    id: str
    """The login name."""
    grants: tuple[Grant, ...] = ()
    password: str = ""
    """Salted argon2id; empty: no password opens it."""
    disabled: bool = False
    created_at: int = 0
    updated_at: int = 0


class Kind(StrEnum):
    """What a token is for."""

    KEY = "key"
    """An API key: of a program, a worker, a command line."""
    SESSION = "session"
    """A login; its access, refresh and cookie tokens are signed, this record says whether they still count."""
    LINK = "link"
    """Logs in once."""


@dataclass(frozen=True, slots=True)
class Token:
    """A credential as the store knows it: never the secret itself."""

    id: str
    """The public part."""
    kind: Kind
    name: str
    """What people call it."""
    digest: str = ""
    """SHA-256 of the secret, in hexadecimal; empty for sessions."""
    owner: str = ""
    """The user whose rights bound it; empty: it stands for itself."""
    grants: tuple[Grant, ...] = ()
    """What it may do; a session may what its owner may."""
    generation: int = 0
    """How often a session was refreshed; an older refresh token that comes back was stolen."""
    created_at: int = 0
    expires_at: int | None = None
    """From then on it opens nothing; revoking sets it."""
    revoked: str = ""
    """By whom, or why."""
    used_at: int = 0
    """Last use, at most a minute behind."""

    def live(self, now: int) -> bool:
        """Whether it opens anything at `now`."""
        return not self.revoked and (self.expires_at is None or now < self.expires_at)


def within(asked: Iterable[Grant], held: Iterable[Grant]) -> tuple[Grant, ...]:
    """Those of the asked grants that the held ones cover whole. Who administers may also let work."""
    held = tuple(held)

    def covered(grant: Grant, action: Action) -> bool:
        needed = Action.ADMIN if action is Action.WORK else action
        return allowed(held, needed, grant.namespace, grant.task, grant.queue)

    return tuple(grant for grant in asked if all(covered(grant, action) for action in ROLES.get(grant.role, ())))


def administers(grants: Iterable[Grant]) -> bool:
    """Whether they rule over users, tokens of others and the audit: admin of all namespaces."""
    return allowed(grants, Action.ADMIN, ANY)


def check_grants(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """The grants, if each can be. Raises `Invalid`."""
    found = tuple(dict.fromkeys(grants))
    if len(found) > MOST_GRANTS:
        raise Invalid("grants", f"{len(found)} are too many; at most {MOST_GRANTS}")
    for grant in found:
        if grant.role not in ROLES:
            raise Invalid("grants", f"{grant.role[:60]!r} is no role; choose from {', '.join(ROLES)}")
        if grant.namespace != ANY:
            check_name("grants", grant.namespace)
        for name in (grant.task, grant.queue):
            if name:
                check_name("grants", name)
    return found


def check_password(name: str, password: str) -> str:
    """The password, if it is long enough and not the name over again. Raises `Invalid`, which never shows it."""
    least, most = PASSWORD_LENGTH
    if not least <= len(password) <= most:
        raise Invalid("password", f"has {least} to {most} characters")
    if password.lower().replace(name.lower(), "") == "" or len(set(password)) < 4:
        raise Invalid("password", "is too easy to guess; take several words")
    return password


SESSION_MS = 30 * DAY_MS
"""A login that is not refreshed for so long is over."""
LINK_MS = 3_600_000
