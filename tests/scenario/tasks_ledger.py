"""The app of the scenarios, and the program that plays its roles in processes of their own.

python tasks_ledger.py ROLE SLOTS [JSON of the options of a worker, or of a scheduler alone]
"""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path

from rota import Context, Rota
from rota.scheduler.options import Options as SchedulerOptions
from rota.worker.options import Options

STORE, LEDGER = os.environ.get("SCENARIO_STORE", "sqlite://"), os.environ.get("SCENARIO_LEDGER", "")
app = Rota(STORE, name="ledger")


def tell(event: str, context: Context) -> None:
    """One datagram to the witness."""
    said = {
        "event": event,
        "task": context.task,
        "run": context.run_id,
        "attempt": context.attempt,
        "pid": os.getpid(),
        "at": time.clock_gettime(time.CLOCK_BOOTTIME),
        "nominal": context.assignment.run.nominal_at,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(json.dumps(said).encode(), LEDGER)


@app.task(name="quick")
async def quick(context: Context) -> None:
    """Starts and ends."""
    tell("start", context)
    tell("end", context)


@app.task(name="held")
async def held(context: Context, gate: str) -> str:
    """Runs until the gate file exists."""
    tell("start", context)
    print(f"attempt {context.attempt} waits for {gate}")
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    tell("end", context)
    return "done"


@app.task(name="blocking")
async def blocking(context: Context, seconds: float) -> None:
    """Blocks the worker's whole loop, as bad code does."""
    tell("start", context)
    time.sleep(seconds)
    tell("end", context)


def main() -> None:
    """Play a role until SIGTERM."""
    role, slots = sys.argv[1], int(sys.argv[2])
    more = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    print("ready", flush=True)
    if role == "scheduler":
        app.serve(worker=False, scheduler_options=SchedulerOptions(f"s{os.getpid()}", **more))
    else:
        options = Options(name=f"w{os.getpid()}", slots=slots, **more)
        app.serve(scheduler=role != "worker", worker_options=options)


if __name__ == "__main__":
    main()
