"""Listings: pages by key, cursors that cannot be forged, and filters that no index serves, looked at within bounds."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from typing import Annotated, Any, ClassVar

from pydantic import Field

from rota.api.asked import Asked, scope
from rota.api.schemas.bodies import Closed, Instant
from rota.api.schemas.texts import NameText
from rota.domain.access import ANY, Action
from rota.domain.errors import Invalid
from rota.ports.store import Store, Where

LOOK = 1_000
"""Records that one request looks at for a filter that no index serves; then it answers a short page and a cursor."""
MAC = 12
NOTHING = "-"
"""No id begins so."""

Fits = Callable[[Any], bool]


def anything(_: Any) -> bool:
    """What is let through where nothing is filtered."""
    return True


class Pages(Closed):
    """What every listing can be asked."""

    place: ClassVar[str] = "cursor"
    """Where the cursor stands."""

    limit: Annotated[int, Field(ge=1, le=500, description="At most so many; a page may be shorter.")] = 50
    cursor: Annotated[str, Field(max_length=1_000, description="`next` of the page before, with the same filter.")] = ""


class Paged(Pages):
    """And of what lies in a namespace."""

    namespace: NameText = "main"


class Window(Pages):
    """And of what has an age."""

    since: Instant | None = None
    until: Instant | None = None


class Cursors:
    """Seals what the store says of where a page ended, so that only what this API gave comes back to it."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, digest_size=32, person=b"rota cursor").digest()

    def sealed(self, listing: object, position: str) -> str | None:
        """The cursor of a position in a listing; None at its end."""
        if not position:
            return None
        data = position.encode()
        return urlsafe_b64encode(self._mac(listing, data) + data).rstrip(b"=").decode()

    def opened(self, listing: object, cursor: str, place: str = "cursor") -> str:
        """The position. Raises `Invalid` for a cursor that was not given for this very listing."""
        if not cursor:
            return ""
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except ValueError:
            raw = b""
        if len(raw) <= MAC or not compare_digest(raw[:MAC], self._mac(listing, raw[MAC:])):
            raise Invalid(place, "is none that this listing gave with this filter; begin again without it")
        return raw[MAC:].decode()

    def _mac(self, listing: object, data: bytes) -> bytes:
        return blake2b(repr(listing).encode() + b"\0" + data, digest_size=MAC, key=self._key).digest()


async def listing(
    store: Store, cursors: Cursors, kind: Any, where: Where, query: Pages, fits: Fits = anything
) -> tuple[list[Any], str | None]:
    """A page of records, newest first, and the cursor behind it. What does not fit is passed over."""
    asked = (kind.__name__, where, sorted(query.model_dump(exclude={"cursor", "limit"}).items()))
    position = cursors.opened(asked, query.cursor, query.place)
    found: list[Any] = []
    looked = 0
    while True:
        page = await store.find(kind, where, position, query.limit - len(found))
        position, looked = page.cursor, looked + len(page.items)
        found += [held.record for held in page.items if fits(held.record)]
        if not position or len(found) >= query.limit or looked >= LOOK:
            return found, cursors.sealed(asked, position)


def readable(asked: Asked, where: Where, narrow: bool = True) -> tuple[Where, Fits]:
    """A filter narrowed to what the asker may see, and what is left to look at one by one.

    `narrow`: whether the listing can be filtered by task.
    """
    space = where.namespace or ANY
    if asked.sees(space):
        return where, anything
    mine = [
        one for one in asked.actor.grants
        if one.covers(Action.READ, one.namespace if space == ANY else space, one.task, one.queue)
    ]  # fmt: skip
    if not mine:
        return where._replace(prefix=NOTHING), anything
    tasks = {one.task for one in mine}
    narrowed = where._replace(task=tasks.pop()) if narrow and len(tasks) == 1 and not where.task else where
    return narrowed, lambda record: asked.sees(*scope(record))
