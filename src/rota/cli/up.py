"""`rota up`, `rota scheduler`, `rota worker`: the processes that do the work."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli.common import DATA, DATABASE, with_flags
from rota.domain.errors import Invalid, Unavailable
from rota.domain.names import check_name


def node_flags(
    app: Annotated[str, typer.Option(metavar="MODULE:APP", help="Your app, with its tasks and executors.")] = "",
    store: Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the database; rota-data if not given.")] = None,
    node_id: Annotated[str, typer.Option(help="Name of this node; the host's if not given.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each run that ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Speak in JSON objects of one line each.")] = False,
) -> None:
    """The options of every role."""


def worker_flags(
    slots: Annotated[int, typer.Option(min=1, max=10_000, help="How many runs at once.")] = 10,
    queue: Annotated[list[str] | None, typer.Option(help="Queue to take from; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Label of the worker; may be repeated.")] = None,
    scripts: Annotated[Path | None, typer.Option(help="Folder of Python scripts that tasks may run.")] = None,
    shell: Annotated[bool, typer.Option("--shell", help="Run shell tasks.")] = False,
    http: Annotated[bool, typer.Option("--http", help="Run HTTP tasks.")] = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="Run gRPC tasks.")] = False,
    allow: Annotated[list[str] | None, typer.Option(help="Network or host that http and grpc may reach too.")] = None,
) -> None:
    """The options of a worker."""


def up(**flags: Any) -> None:
    """Run scheduler and worker in one process. Scripts are looked for in ./scripts if there is such a folder."""
    if flags["scripts"] is None and Path("scripts").is_dir():
        flags["scripts"] = Path("scripts")
    _serve(flags, scheduler=True, worker=True)


def scheduler(**flags: Any) -> None:
    """Run a scheduler; of several on one store one leads, the others stand by."""
    _serve(flags, scheduler=True, worker=False)


def worker(**flags: Any) -> None:
    """Run a worker; there may be any number of them on one store."""
    _serve(flags, scheduler=False, worker=True)


def _serve(flags: dict[str, Any], scheduler: bool, worker: bool) -> None:
    """Make or find the app, and live as the options say."""
    from rota.cli.serve import Plan, serve
    from rota.scheduler.options import Options as SchedulerOptions
    from rota.wiring import default_name
    from rota.worker.options import Options as WorkerOptions

    name = check_name("node-id", flags["node_id"]) if flags["node_id"] else default_name()
    working = _working(flags) if worker else {}
    app = _app(flags)
    plan = Plan(
        SchedulerOptions(name=name) if scheduler else None,
        WorkerOptions(name=name, namespaces=(app.registry.namespace,), **working) if worker else None,
        flags["quiet"],
        flags["as_json"],
    )
    raise typer.Exit(serve(app, plan))


def _working(flags: dict[str, Any]) -> dict[str, Any]:
    """The options of a worker, checked."""
    return {
        "slots": flags["slots"],
        "queues": tuple(check_name("queue", one) for one in flags["queue"] or ["default"]),
        "labels": tuple(check_name("label", one) for one in flags["label"] or ()),
    }


def _app(flags: dict[str, Any]) -> Any:
    """The user's app, or an empty one, with the store and the executors that the options name."""
    from rota.cli.apps import load_app
    from rota.embed import Rota
    from rota.wiring import Kinds

    target, store, data = flags["app"], flags["store"], flags["data"]
    app = load_app(target) if target else Rota(name="rota")
    if store or data or not target:
        app.store = store or _database(data or DATA)
    kinds: dict[str, Any] = {kind: True for kind in ("shell", "http", "grpc") if flags.get(kind)}
    if flags.get("scripts"):
        kinds["scripts_dir"] = str(flags["scripts"])
    if flags.get("allow"):
        kinds["allow"] = tuple(flags["allow"])
    app.kinds = replace(Kinds(**kinds, target=target) if kinds or not target else app.kinds, samples=True)
    return app


def _database(folder: Path) -> str:
    """URL of the database in a folder, which is made for its owner alone."""
    if folder.exists() and not folder.is_dir():
        raise Invalid("data", f"{str(folder)!r} is not a folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the folder {str(folder)!r} cannot be made: {error.strerror}") from error
    return f"sqlite:///{folder / DATABASE}"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(with_flags(up, node_flags, worker_flags))
    app.command("scheduler")(with_flags(scheduler, node_flags))
    app.command("worker")(with_flags(worker, node_flags, worker_flags))
