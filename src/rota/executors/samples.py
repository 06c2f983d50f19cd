"""Sample tasks to try a worker with. Each takes the context and the payload, an object that may be left out."""

import asyncio
import hashlib
from collections.abc import Callable
from time import monotonic
from typing import Any

from rota.executors.outcomes import from_json, to_json
from rota.ports.executor import Context, Handler

BLOCK = bytes(1 << 16)
"""Hashing that much at once lets go of the interpreter's lock, so that a thread does not hold up the worker."""


class PayloadHandler:
    """A handler whose function takes (context, payload), any JSON, and returns JSON."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (context, from_json(payload)), {}

    def encode(self, result: Any) -> bytes | None:
        return to_json(result)


async def echo(context: Context, payload: Any) -> Any:
    """Gives its payload back after a second, or after `seconds` of it."""
    await asyncio.sleep(_seconds(payload, 1.0))
    return payload


def compute(context: Context, payload: Any) -> dict[str, Any]:
    """Keeps a processor busy for five seconds, or `seconds` of its payload; stops when cancelled."""
    seconds = _seconds(payload, 5.0)
    digest, rounds, began, told = hashlib.sha256(), 0, monotonic(), 0
    while (spent := monotonic() - began) < seconds and not context.cancelled:
        digest.update(BLOCK)
        rounds += 1
        if int(10 * spent / seconds) > told:
            told = int(10 * spent / seconds)
            context.progress(f"{10 * told} %")
    return {"rounds": rounds, "digest": digest.hexdigest()}


async def unreliable(context: Context, payload: Any) -> str:
    """Fails twice and succeeds with the third try."""
    tries = context.assignment.run.tries
    if tries < 2:
        raise RuntimeError(f"try {tries + 1} of 3 fails on purpose")
    return f"succeeded with try {tries + 1}"


def _seconds(payload: Any, default: float) -> float:
    given = payload.get("seconds", default) if isinstance(payload, dict) else default
    return float(given) if isinstance(given, int | float) else default


SAMPLES: dict[str, Handler] = {function.__name__: PayloadHandler(function) for function in (echo, compute, unreliable)}
"""Handlers of the samples, by name."""
