"""Sample tasks to try a worker with. The payload is an object that may be left out."""

import asyncio
import hashlib
from time import monotonic
from typing import Any

from rota.executors.custom import TaskHandler, TaskView
from rota.ports.executor import Context, Handler

BLOCK = bytes(1 << 16)
"""Hashing that much at once lets go of the interpreter's lock, so that a thread does not hold up the worker."""


async def echo(context: Context, task: TaskView) -> Any:
    """Gives its payload back after a second, or after `seconds` of it."""
    await asyncio.sleep((task.payload or {}).get("seconds", 1))
    return task.payload


def compute(context: Context, task: TaskView) -> dict[str, Any]:
    """Keeps a processor busy for five seconds, or `seconds` of its payload; stops when cancelled."""
    seconds = (task.payload or {}).get("seconds", 5)
    digest, rounds, began, told = hashlib.sha256(), 0, monotonic(), 0
    while (spent := monotonic() - began) < seconds and not context.cancelled:
        digest.update(BLOCK)
        rounds += 1
        if int(10 * spent / seconds) > told:
            told = int(10 * spent / seconds)
            context.progress(f"{10 * told} %")
    return {"rounds": rounds, "digest": digest.hexdigest()}


async def unreliable(context: Context, task: TaskView) -> str:
    """Fails twice and succeeds with the third try."""
    if context.tries < 2:
        raise RuntimeError(f"try {context.tries + 1} of 3 fails on purpose")
    return f"succeeded with try {context.tries + 1}"


SAMPLES: dict[str, Handler] = {function.__name__: TaskHandler(function) for function in (echo, compute, unreliable)}
"""Handlers of the samples, by name."""
