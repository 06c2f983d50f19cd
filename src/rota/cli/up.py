"""`rota up`, `rota scheduler`, `rota worker`: the processes that do the work."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli.common import DATA, DATABASE
from rota.domain.errors import Invalid, Unavailable
from rota.domain.names import check_name

Store = Annotated[str | None, typer.Option(envvar="ROTA_STORE", help="URL of the store.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="Folder of the database; rota-data if not given.", show_default=False)]
App = Annotated[str, typer.Option(metavar="MODULE:APP", help="Your app, with its tasks and executors.")]
Slots = Annotated[int, typer.Option(min=1, max=10_000, help="How many runs at once.")]
Queues = Annotated[list[str] | None, typer.Option("--queue", help="Queue to take from; may be repeated.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="Label of the worker; may be repeated.")]
Scripts = Annotated[Path | None, typer.Option(help="Folder of Python scripts that tasks may run.")]
Shell = Annotated[bool, typer.Option("--shell", help="Run shell tasks.")]
Http = Annotated[bool, typer.Option("--http", help="Run HTTP tasks.")]
Grpc = Annotated[bool, typer.Option("--grpc", help="Run gRPC tasks.")]
Allow = Annotated[
    list[str] | None, typer.Option(help="Network or host that http and grpc may reach although it is not public.")
]
Node = Annotated[str, typer.Option("--node-id", help="Name of this node; the host's if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Speak in JSON objects of one line each.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No line for each run that ended.")]


def up(
    app: App = "",
    store: Store = None,
    data: Data = None,
    slots: Slots = 10,
    queue: Queues = None,
    label: Labels = None,
    scripts: Scripts = None,
    shell: Shell = False,
    http: Http = False,
    grpc: Grpc = False,
    allow: Allow = None,
    node: Node = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run scheduler and worker in one process. Scripts are looked for in ./scripts if there is such a folder."""
    if scripts is None and Path("scripts").is_dir():
        scripts = Path("scripts")
    kinds = {"scripts": scripts, "shell": shell, "http": http, "grpc": grpc, "allow": allow}
    _serve((app, store, data), kinds, _worker(slots, queue, label), node, (quiet, as_json))


def scheduler(
    app: App = "", store: Store = None, data: Data = None, node: Node = "", quiet: Quiet = False, as_json: Json = False
) -> None:
    """Run a scheduler; of several on one store one leads, the others stand by."""
    _serve((app, store, data), {}, None, node, (quiet, as_json))


def worker(
    app: App = "",
    store: Store = None,
    data: Data = None,
    slots: Slots = 10,
    queue: Queues = None,
    label: Labels = None,
    scripts: Scripts = None,
    shell: Shell = False,
    http: Http = False,
    grpc: Grpc = False,
    allow: Allow = None,
    node: Node = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a worker; there may be any number of them on one store."""
    kinds = {"scripts": scripts, "shell": shell, "http": http, "grpc": grpc, "allow": allow}
    _serve((app, store, data), kinds, _worker(slots, queue, label), node, (quiet, as_json), schedules=False)


def _worker(slots: int, queues: list[str] | None, labels: list[str] | None) -> dict[str, Any]:
    """The options of a worker, checked."""
    return {
        "slots": slots,
        "queues": tuple(check_name("queue", one) for one in queues or ["default"]),
        "labels": tuple(check_name("label", one) for one in labels or ()),
    }


def _serve(
    place: tuple[str, str | None, Path | None],
    kinds: dict[str, Any],
    working: dict[str, Any] | None,
    node: str,
    manner: tuple[bool, bool],
    schedules: bool = True,
) -> None:
    """Make or find the app, and live as it says."""
    from rota.cli.serve import Plan, serve
    from rota.embed import Rota
    from rota.scheduler.options import Options as SchedulerOptions
    from rota.wiring import Kinds, default_name
    from rota.worker.options import Options as WorkerOptions

    target, store, data = place
    name = check_name("node-id", node) if node else default_name()
    app = _app(target) if target else Rota(name="rota")
    if store or data or not target:
        app.store = store or _database(data or DATA)
    chosen = {one: value for one, value in kinds.items() if value}
    if chosen or not target:
        scripts = str(chosen.pop("scripts", ""))
        app.with_kinds(Kinds(scripts, **chosen | {"allow": tuple(chosen.get("allow", ()))}, target=target))
    plan = Plan(
        SchedulerOptions(name=name) if schedules else None,
        WorkerOptions(name=name, namespaces=(app.registry.namespace,), **working) if working else None,
        *manner,
    )
    code = serve(app, plan)
    raise typer.Exit(code)


def _app(target: str) -> Any:
    from rota.cli.apps import load_app

    return load_app(target)


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
    for role in (up, scheduler, worker):
        app.command(role.__name__)(role)
