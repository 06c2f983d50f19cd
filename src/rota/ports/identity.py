"""Locks: what proves who somebody is. Pure of stores; the records are `rota.domain.people`'s."""

from typing import NamedTuple, Protocol


class Minted(NamedTuple):
    """A new secret: its public part, the whole text that is shown once, and what the store keeps."""

    id: str
    text: str
    digest: str


class Signed(NamedTuple):
    """What a signed token says."""

    session: str
    """Id of the login's record."""
    user: str
    generation: int


class Locks(Protocol):
    """Passwords, keys and signatures."""

    async def hashed(self, password: str) -> str:
        """The password as the store may keep it."""

    async def fits(self, password: str, hashed: str) -> bool:
        """Whether it is the one; against an empty hash never, which takes as long."""

    def mint(self, kind: str) -> Minted:
        """A new secret of 256 random bits."""

    def read(self, text: str) -> tuple[str, str, str] | None:
        """Kind, id and digest of what looks like a secret of ours; None for anything else."""

    def same(self, one: str, other: str) -> bool:
        """Whether two digests are the same, in constant time."""

    def sign(self, use: str, said: Signed, now: int, life_ms: int) -> str:
        """A token for one use: `access`, `refresh` or `cookie`."""

    def verify(self, use: str, text: str, now: int) -> Signed | None:
        """What a token of that use says, if it is ours and in its time."""
