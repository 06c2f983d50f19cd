"""Keys: `rota_<kind>_<public part>_<secret>`. Of 256 random bits the plain SHA-256 gives nothing away."""

import re
import secrets
from hashlib import sha256
from hmac import compare_digest

from rota.ports.identity import Minted

SHAPE = re.compile(r"rota_(key|link)_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
SECRET_BYTES = 32


def mint(kind: str) -> Minted:
    """A new secret of a kind, `key` or `link`."""
    public, secret = secrets.token_hex(8), secrets.token_urlsafe(SECRET_BYTES)
    return Minted(public, f"rota_{kind}_{public}_{secret}", _digest(secret))


def read(text: str) -> tuple[str, str, str] | None:
    """Kind, public part and digest of a text of the right shape."""
    found = SHAPE.fullmatch(text)
    return (found[1], found[2], _digest(found[3])) if found else None


def same(one: str, other: str) -> bool:
    """Whether two digests are the same, in constant time."""
    return compare_digest(one.encode(), other.encode())


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
