"""Submits in a transaction that it never ends: `python -m tests.transactions.program_killed URL WAY`."""

import asyncio
import sys

from tests.transactions.conftest import Shop
from tests.transactions.ways import WAYS


async def main(url: str, way: str) -> None:
    shop = Shop(url, WAYS[way])
    async with shop.app, shop.user() as user:
        await user.do("INSERT INTO orders VALUES ('a')")
        await user.submit(shop.ship, "a", unique="u")
        sys.stdout.write("submitted\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
