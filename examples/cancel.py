"""Submit a long computation, cancel it half way and print what happened: `python -m examples.cancel`.

It brings its own worker, so it runs alone; it may also share its store with a running `rota up`.
"""

import asyncio
import re
import time

from examples.app import app, primes
from rota import Handle, Refused, RunFailed


async def main(limit: int = 2_000_000) -> str:
    """The state that the run ends in."""
    async with app.running(scheduler=False, slots=1):
        handle = await primes.asubmit(limit=limit)
        print(f"submitted run {handle.id}: count the primes below {limit:,}")
        print(f"it says {await half_way(handle)}: cancel it")
        asked = time.monotonic()
        try:
            print(f"the answer is {await handle.acancel()!r}: its worker is told")
            await handle.aresult(timeout=30)
        except Refused as late:
            print(f"too late: {late}")
        except RunFailed as ended:
            print(f"{time.monotonic() - asked:.2f} s later: {ended}")
        run = await handle.arun()
        print(f"state {run.state}, attempt {run.attempt} on worker {run.worker}, last progress {run.progress}")
        return run.state


async def half_way(handle: Handle) -> str:
    """Watch a run until it says that half of its work is done, or it has ended."""
    while True:
        run = await handle.arun()
        percent = re.match(r"\d+", run.progress)
        if run.ended_at or (percent and int(percent[0]) >= 50):
            return run.progress
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
