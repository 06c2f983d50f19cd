"""The effects ledger: a witness outside the product. Tasks tell it by datagram that they started and ended."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Ledger:
    """Collects what tasks say, in the order it came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool], seconds: float = 60) -> list[dict[str, Any]]:
        """Collect until `enough(entries)`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            while not enough(self.entries):
                self.entries.append(json.loads(await loop.sock_recv(self._socket, 65_536)))
        return self.entries

    def close(self) -> None:
        self._socket.close()


def of(entries: list[dict[str, Any]], event: str, task: str = "") -> list[dict[str, Any]]:
    """Entries of one event."""
    return [one for one in entries if one["event"] == event and task in ("", one["task"])]
