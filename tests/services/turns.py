"""Turns of the loop."""

import asyncio


async def breathe() -> None:
    """Let everything run that is ready to."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
