"""Hints between processes, by a channel. They may be lost, and are only listened to while somebody waits for any."""

from rota.servers.redis import DRIVER_ERRORS
from rota.stores.hub import ANYTHING, Hub
from rota.stores.listener import Listener
from rota.stores.redis.link import Link

CHECK_S = 15.0
"""How often to see whether the server is still there."""


class Hints(Listener):
    """Tells the hub what other processes say."""

    errors = DRIVER_ERRORS

    def __init__(self, link: Link, hub: Hub) -> None:
        super().__init__(hub.tell)
        self.channel = f"{link.prefix}hints"
        self._link = link

    async def attend(self) -> None:
        connection = await self._link.connected()
        try:
            await connection.send_command("SUBSCRIBE", self.channel)
            silent = False
            while True:
                # The driver's own timeout would end a connection on which nobody happens to speak.
                heard = await connection.read_response(timeout=CHECK_S)
                if heard is None:
                    if silent:
                        return
                    await connection.send_command("PING")
                elif heard[0] == b"subscribe":
                    self._tell({ANYTHING: 1})  # what was said meanwhile is lost
                elif heard[0] == b"message":
                    self.heard(heard[2])
                silent = heard is None
        finally:
            await connection.disconnect(nowait=True)
