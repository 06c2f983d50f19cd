"""Passwords: argon2id in threads of their own, few at a time, so that neither the loop nor the memory is ever full."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_ONCE = 2
MEMORY_KIB, ROUNDS = 65_536, 2
"""64 MiB and two passes: more than OWASP's least for argon2id, about 50 ms."""


class Passwords:
    """Hashes and verifies; a call waits for its turn."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "rota-password")

    async def hashed(self, password: str) -> str:
        """Salted argon2id with its parameters."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._hasher.hash(password))

    async def fits(self, password: str, hashed: str) -> bool:
        """Whether it is the password; where there is none, the same work is done for nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verified, password, hashed)

    def _verified(self, password: str, hashed: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            self._hasher.verify(hashed or self._nobody, password)
            return bool(hashed)
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher

        return PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=1)

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("of nobody")
