"""`rota up`, `rota scheduler`, `rota worker`: start, tell, drain at one signal, end at two; and `rota migrate`."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli import read
from rota.cli.common import DATA, Json, Store, made_in, with_flags, without_password
from rota.cli.show import Sheet, fail, show
from rota.cli.telling import Teller, first_lines, overview
from rota.domain.errors import Invalid
from rota.embed import Rota
from rota.scheduler.options import Options as SchedulerOptions
from rota.stores import migrate as migrated
from rota.wiring import default_name
from rota.worker.options import Options as WorkerOptions

group = typer.Typer()

TWICE_S = 0.5
"""Signals closer together are one: wrappers pass on what the terminal or the service manager has sent already."""
LAST_S = 5.0
"""How long after the second signal the process is ended, whatever does not want to end."""


def node_flags(
    app: Annotated[str, typer.Option(metavar="MODULE:APP", help="Your app, with its tasks and executors.")] = "",
    store: Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.")] = None,
    data: Annotated[Path | None, typer.Option(file_okay=False, help="Folder of the database, else rota-data.")] = None,
    node_id: Annotated[str | None, read.option(read.name, "Name of this node; the host's if not given.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each run that ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Speak in JSON objects of one line each.")] = False,
) -> None:
    """The options of every role."""


def worker_flags(
    slots: Annotated[int, typer.Option(min=1, max=10_000, help="How many runs at once.")] = 10,
    queue: Annotated[list[str] | None, read.option(read.name, "Queue to take from; may be repeated.")] = None,
    label: Annotated[list[str] | None, read.option(read.name, "Label of the worker; may be repeated.")] = None,
    scripts_dir: Annotated[str | None, typer.Option("--scripts", help="Folder of Python scripts for tasks.")] = None,
    shell: Annotated[bool | None, typer.Option("--shell", help="Run shell tasks.")] = None,
    http: Annotated[bool | None, typer.Option("--http", help="Run HTTP tasks.")] = None,
    grpc: Annotated[bool | None, typer.Option("--grpc", help="Run gRPC tasks.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Network or host that http and grpc may reach too.")] = None,
) -> None:
    """The options of a worker."""


def up(**flags: Any) -> None:
    """Run scheduler and worker in one process. Scripts are looked for in ./scripts if there is such a folder."""
    here = "scripts" if Path("scripts").is_dir() else None
    _serve(flags | {"scripts_dir": flags["scripts_dir"] or here}, scheduler=True, worker=True)


def scheduler(**flags: Any) -> None:
    """Run a scheduler; of several on one store one leads, the others stand by."""
    _serve(flags, scheduler=True, worker=False)


def worker(**flags: Any) -> None:
    """Run a worker; there may be any number of them on one store."""
    _serve(flags, scheduler=False, worker=True)


group.command("up")(with_flags(up, node_flags, worker_flags))
group.command("scheduler")(with_flags(scheduler, node_flags))
group.command("worker")(with_flags(worker, node_flags, worker_flags))


@group.command("migrate")
def migrate(store: Store = None, as_json: Json = False) -> None:
    """Make or upgrade the tables of a store, and say which migrations that took."""
    url = store or made_in(DATA)
    applied, shown = asyncio.run(migrated(url)), without_password(url)
    lines = [f"applied {one}" for one in applied] or [f"{shown} is up to date"]
    show(Sheet({"store": shown, "applied": applied}, lines), as_json)


def _serve(flags: Mapping[str, Any], scheduler: bool, worker: bool) -> None:
    """Make or find the app, and live until told to stop."""
    app = load_app(flags["app"]) if flags["app"] else Rota(name="rota")
    if flags["store"] or flags["data"] or not flags["app"]:
        app.store = flags["store"] or made_in(flags["data"] or DATA)
    name = flags["node_id"] or default_name()
    leading = SchedulerOptions(name=name) if scheduler else None
    working = _working(app, name, flags) if worker else None
    # Most objects here live as long as a run: looking for cycles less often spares a tenth of the time of each.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        code = asyncio.run(_live(app, leading, working, Teller(flags["quiet"], flags["as_json"])))
    except asyncio.CancelledError:
        fail("stopped at once; what was running is taken back and run again")
        code = 130
    raise typer.Exit(code)


def load_app(target: str) -> Rota:
    """The app that `module:attribute` names, looked for from the current folder on. Raises `Invalid`."""
    module, _, attribute = target.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = attrgetter(attribute or "app")(import_module(module))
    except Exception as error:
        raise Invalid("app", f"{target!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, Rota):
        raise Invalid("app", f"{target!r} is a {type(found).__name__}, not a Rota app")
    return found


def _working(app: Rota, name: str, flags: Mapping[str, Any]) -> WorkerOptions:
    """The options of the app's worker, which may run more kinds of tasks than the app says."""
    allow = app.kinds.allow + tuple(flags["allow"] or ())
    app.kinds = read.updated(app.kinds, {**flags, "allow": allow, "target": flags["app"], "samples": True})
    return WorkerOptions(
        name=name,
        namespaces=(app.registry.namespace,),
        queues=tuple(flags["queue"] or ["default"]),
        labels=tuple(flags["label"] or ()),
        slots=flags["slots"],
    )


async def _live(app: Rota, leading: SchedulerOptions | None, working: WorkerOptions | None, teller: Teller) -> int:
    """Take on the roles until told to stop; the exit code."""
    app.listen(teller)
    async with app.running(
        scheduler=bool(leading), worker=bool(working), scheduler_options=leading, worker_options=working
    ) as roles:
        stopped = asyncio.create_task(roles.until_stopped())
        # It listens before the first word is said: whoever reads that may answer with a signal.
        await asyncio.sleep(0)
        kinds = [kind for kind, made in app.executors().items() if made.kind == kind] if working else []
        data = {
            "scheduler": bool(leading),
            "worker": working and {"slots": working.slots, "queues": working.queues, "executors": kinds},
            "store": without_password(app.store),
            **await overview(app.engine.store, app.engine.clock.now()),
        }
        teller.say("started", data, first_lines(data))
        await stopped
        _end_at_next_signal()
        running = roles.worker.running if roles.worker else 0
        said = f"stopping; {running} running, they may finish" if running else "stopping"
        teller.say("stopping", {"running": running}, [said])
    if roles.worker and roles.worker.failed:
        fail(roles.worker.failed)
        return 1
    teller.say("stopped", {}, ["stopped"])
    return 0


def _end_at_next_signal() -> None:
    """Let one more SIGINT or SIGTERM cancel all, and LAST_S later end the process."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()

    def end(code: int) -> None:
        if loop.time() - asked_at <= TWICE_S:
            return
        last = threading.Timer(LAST_S, os._exit, (code,))
        last.daemon = True
        last.start()
        # What still runs after this is cancelled once more as the loop ends, and that ends its grace.
        for task in asyncio.all_tasks(loop):
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, 128 + number)
