"""Bodies and answers about people: logins, users, tokens, the audit."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from rota.api.schemas.bodies import Body, Instant
from rota.api.schemas.texts import NameOrNone, NameText, Space
from rota.api.schemas.views import view
from rota.domain.access import Grant
from rota.domain.people import MOST_GRANTS, PASSWORD_LENGTH, Token, User
from rota.domain.records import Audit
from rota.engine.seal import Chain

Password = Annotated[str, Field(max_length=PASSWORD_LENGTH[1], json_schema_extra={"format": "password"})]
Credential = Annotated[str, Field(max_length=4_096)]


class GrantBody(Body):
    """A role over a namespace, or over one task or one queue of it."""

    role: Literal["viewer", "operator", "developer", "admin", "worker"]
    namespace: Space = "main"
    task: NameOrNone = ""
    queue: NameOrNone = ""

    def grant(self) -> Grant:
        """As the domain has it."""
        return Grant(self.role, self.namespace, self.task, self.queue)


Grants = Annotated[list[GrantBody], Field(max_length=MOST_GRANTS)]


class LoginBody(Body):
    """With `cookie`, the answer sets a cookie that no script can read, and holds no token."""

    name: NameText
    password: Password
    cookie: bool = False


class LinkBody(Body):
    """The code of a login link."""

    code: Credential
    cookie: bool = True


class RefreshBody(Body):
    """The refresh token that was given last."""

    refresh_token: Credential


class PasswordBody(Body):
    """One's own password; all one's logins end."""

    current: Password
    new: Password


class UserNew(Body):
    """A user; without a password they come in by a link."""

    name: NameText
    grants: Grants
    password: Password | None = None


class UserChange(Body):
    """What is given becomes so."""

    grants: Grants | None = None
    disabled: bool | None = None
    password: Password | None = None


class TokenNew(Body):
    """A key, or with `kind` link a way to log in once within an hour. `owner` null: the asker; empty: of nobody."""

    name: NameText
    grants: Grants = Field(default=[])
    kind: Literal["key", "link"] = "key"
    owner: NameOrNone | None = None
    expires_at: Instant | None = None


class Opened(BaseModel):
    """A login. The access token is for `Authorization: Bearer`, the refresh token for its renewal, once."""

    user: str
    access_token: str | None = None
    refresh_token: str | None = None
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int
    """Seconds."""


Myself: Any = create_model("Myself", __doc__="Who asks.", name=str, user=str, token=str, grants=list[GrantBody])
_GRANTED: Any = {"grants": list[GrantBody], "created_at": str, "created_at_ms": int}
_INNER = frozenset({"password", "generation", "revoked"})

UserView: Any = view("UserView", User, _INNER, **_GRANTED, updated_at=str, updated_at_ms=int, has_password=bool)
TokenView: Any = view("TokenView", Token, _INNER, **_GRANTED)
Minted: Any = create_model(
    "Minted", __base__=TokenView, __doc__="A new token, with its secret: it is not shown again.", secret=str
)
AuditView: Any = view("AuditView", Audit, at=str, at_ms=int, why=str, before=Any, after=Any, changed=list[str])
ChainView: Any = view("ChainView", Chain)
