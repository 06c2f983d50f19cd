"""Signed tokens: JWT, HS256 and nothing else. What a token is for is its audience, so none serves for another use."""

from typing import Any

from rota.domain.errors import Invalid
from rota.ports.identity import Signed

ALGORITHM = "HS256"
ISSUER = "rota"
LEAST_SECRET = 32
LONGEST_MS = 366 * 86_400_000
LATE_MS = 5_000
"""Clocks of two nodes may differ by so much."""
LONGEST_TEXT = 4_096
OURS: Any = {
    "require": ["iss", "aud", "sub", "sid", "gen", "iat", "exp"],
    # Instants are compared with the clock that is handed in, as everywhere.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class Signer:
    """Signs and verifies with one secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET:
            raise Invalid("security.secret", f"is shorter than {LEAST_SECRET} bytes; make one with `rota secrets key`")
        self._secret = secret

    def sign(self, use: str, said: Signed, now: int, life_ms: int) -> str:
        """A token for one use; instants in it are whole seconds, as the standard wants."""
        import jwt  # with the cryptography that it brings, 9 MB that most processes never need

        times = {"iat": now // 1_000, "exp": (now + life_ms) // 1_000}
        claims = {"iss": ISSUER, "aud": f"rota-{use}", "sub": said.user, "sid": said.session, "gen": said.generation}
        return jwt.encode(claims | times, self._secret, ALGORITHM)

    def verify(self, use: str, text: str, now: int) -> Signed | None:
        """What a token of that use says; None for all others."""
        import jwt

        if len(text) > LONGEST_TEXT:
            return None
        try:
            found = jwt.decode(text, self._secret, [ALGORITHM], OURS, audience=f"rota-{use}", issuer=ISSUER)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        begins, ends, times = found["iat"], found["exp"], (found["iat"], found["exp"], found["gen"])
        if any(type(one) is not int for one in times) or not isinstance(found["sid"], str):
            return None
        in_time = begins * 1_000 <= now + LATE_MS and now < ends * 1_000 <= begins * 1_000 + LONGEST_MS
        return Signed(found["sid"], found["sub"], found["gen"]) if in_time and found["aud"] == f"rota-{use}" else None
