"""An app whose functions run in child processes."""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time

from tests.unit.executors.support import Plain


def whoami():
    return {"pid": os.getpid(), "leader": os.getpgrp() == os.getpid()}


def talk():
    print("to the left")
    print("to the right", file=sys.stderr)
    print("no end of line", end="")
    logging.getLogger("app").warning("logged")
    return "said"


def mumble(context):
    """Says what cannot be said."""
    logging.getLogger("app").warning("%d apples", "no")
    logging.getLogger("app").warning("half a \ud800")
    context.progress("half a \ud800")
    return "said"


def crash():
    print("last words", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def vanish():
    os._exit(7)


def quit_politely():
    raise SystemExit("enough")


def sleep():
    print(os.getpid(), flush=True)
    time.sleep(3_600)


def family():
    """Starts a grandchild that ignores SIGTERM, then sleeps."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(3600)"
    grandchild = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert grandchild.stdout
    grandchild.stdout.readline()
    print(grandchild.pid, flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3_600)


async def wait():
    print("waiting", flush=True)
    try:
        await asyncio.sleep(3_600)
    finally:
        print("cleaned", flush=True)


def flood():
    for _ in range(20_000):
        print("x" * 500)


def log_flood():
    for _ in range(20_000):
        logging.getLogger("app").warning("x" * 500)


def large(size):
    return "x" * size


def broken():
    return 1 / 0


class Told(Plain):
    """Hands the context to its function."""

    def decode(self, payload, context):
        return (context,), {}


def look(context):
    context.progress("half way")
    run, task, _, _ = context.assignment
    return [run.id, run.attempt, task.params["color"], context.deadline_at]


def heed(context):
    context.progress(str(os.getpid()))
    while not context.cancelled:
        time.sleep(0.001)
    print("heeded", flush=True)


class App:
    handlers = {
        function.__name__: Plain(function)
        for function in (
            whoami, talk, crash, vanish, quit_politely, sleep, family, wait, flood, log_flood, large, broken,
        )
    } | {function.__name__: Told(function) for function in (look, heed, mumble)}  # fmt: skip


app = App()
