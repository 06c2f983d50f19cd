"""An app whose functions run in child processes."""

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

from tests.unit.executors.support import Plain, Shy


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
    context.line("half a \ud800", "half a \ud800", "loud")
    return "said"


def crash():
    print("last words", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def vanish():
    os._exit(7)


def quit_politely():
    raise SystemExit("enough")


def fork():
    """Its copy and the copy of that say much and return as well."""
    copy = os.fork()
    if copy:
        os.waitpid(copy, 0)
        return "original"
    if copy := os.fork():
        os.waitpid(copy, 0)
    for number in range(100):
        logging.getLogger("app").warning("copy %d", number)
    return "copy"


async def fork_later():
    return fork()


PIPES: list[socket.socket] = []


def cut(first):
    """Closes all descriptors from this one on, and opens others in their place."""
    os.closerange(first, 256)
    for _ in range(4):
        PIPES.extend(socket.socketpair())
    logging.getLogger("app").warning("unheard")
    for pipe in PIPES:
        with suppress(BlockingIOError):
            os.write(2, b"overheard " + pipe.recv(100, socket.MSG_DONTWAIT))


TRACES = {
    "folder": lambda: os.chdir("/"),
    "variable": lambda: os.environ.update(LEFT="behind"),
    "umask": lambda: os.umask(0),
    "handler": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "alarm": lambda: signal.alarm(3_600),
    "limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "thread": lambda: threading.Thread(target=threading.Event().wait).start(),
    "child": lambda: subprocess.Popen(["sleep", "3600"]),
    "closed": sys.stdout.close,
    "input": lambda: os.close(0),
    "path": lambda: sys.path.insert(0, "/"),
    "logging": lambda: logging.basicConfig(force=True),
    "gone": lambda: delattr(sys, "stdin"),
}
"""What an attempt may leave changed in its process."""


def leave(what):
    TRACES[what]()
    return {"pid": os.getpid(), "leader": True}


def migrate():
    """To where the interpreter cannot look at children without taking them, as on macOS before Python 3.13."""
    del os.waitid


LINGERING: list[tuple[threading.Event, threading.Thread]] = []


def linger(context):
    """Leaves a thread that would speak for it later."""
    go = threading.Event()
    thread = threading.Thread(target=lambda: go.wait(20) and context.progress("late"), daemon=True)
    LINGERING.append((go, thread))
    thread.start()


def rouse():
    """Lets it speak."""
    go, thread = LINGERING.pop()
    go.set()
    thread.join()


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


def shy():
    raise Shy


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
            fork, fork_later, leave, migrate, rouse, cut, shy,
        )
    } | {function.__name__: Told(function) for function in (look, heed, mumble, linger)}  # fmt: skip


app = App()
