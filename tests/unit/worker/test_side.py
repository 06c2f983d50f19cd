"""A life beside the main loop."""

import asyncio
import threading

from rota.ports.loops import wait_for_event
from rota.ports.side import Side
from tests.unit.worker.support import PATIENCE, Time


def test_it_ends_with_the_loop_that_it_is_beside():
    over = threading.Event()

    async def life() -> None:
        try:
            while True:
                side.tell(lambda: None)
                await wait_for_event(asyncio.Event(), 0.001)
        finally:
            over.set()

    async def main() -> None:
        await side.start(True)

    side = Side("side", life, Time())
    asyncio.run(main())
    assert over.wait(PATIENCE)
