"""`rota up` and its roles, each for itself: start, tell, drain at one signal, end at two; and `rota migrate`."""

import asyncio
import gc
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from rota.cli import queues, read
from rota.cli.common import (
    Config,
    Endpoints,
    Environment,
    Json,
    Store,
    key_of,
    one_store,
    place,
    settled_store,
    with_flags,
)
from rota.cli.remote import open_to_all
from rota.cli.show import Sheet, fail, show, warn
from rota.cli.telling import Teller, first_lines, overview
from rota.domain.errors import Invalid
from rota.domain.names import number_of, without_password
from rota.embed import Roles, Rota
from rota.servers.address import is_loopback
from rota.stores import migrate as migrated
from rota.wiring import DATA, first_start, made_in, make_door, own_secret
from rota.worker.options import Options as WorkerOptions
from rota.worker.runtime import Worker
from rota.worker.stopping import DRAINED, Haste, until_stopped

if TYPE_CHECKING:
    from rota.cli.watch import Watch
    from rota.settings.load import Loaded
    from rota.settings.tree import Settings
    from rota.wiring.elsewhere import Elsewhere, Listening
    from rota.worker.remote import Server

group = typer.Typer()

PLACING = (
    "How its runs get to workers from now on: round_robin, random, least_load, weighted; as `rota queues dispatch`."
)
SETTINGS = {
    "store": "database.url",
    "host": "api.host",
    "port": "api.port",
    "log_level": "observability.log_level",
    "slots": "worker.max_concurrent_tasks",
    "queue": "worker.queues",
    "label": "worker.labels",
    "scripts_dir": "worker.scripts_dir",
    "shell": "worker.shell",
    "http": "worker.http",
    "grpc": "worker.grpc",
    "allow": "worker.allow",
}
"""Options that say what a setting says, and go before it."""


def node_flags(
    app: Annotated[str, typer.Option(metavar="MODULE:APP", help="Your app, with its tasks and executors.")] = "",
    store: Annotated[str | None, typer.Option(help="URL of the store; else the app's, else ROTA_STORE.")] = None,
    etcd_endpoints: Endpoints = None,
    data: Annotated[Path | None, typer.Option(file_okay=False, help="Folder of the database, else rota-data.")] = None,
    node_id: Annotated[str | None, read.option(read.name, "Name of this node; the host's if not given.")] = None,
    config: Config = None,
    environment: Environment = "",
    log_level: Annotated[str | None, typer.Option(help="Log from here on: debug, info, warn or error.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each run that ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Speak in JSON objects of one line each.")] = False,
) -> None:
    """The options of every role."""


def api_flags(
    host: Annotated[str | None, typer.Option(help="Address that the API listens on, else 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Its port, else 8080; 0 is any free one.")] = None,
) -> None:
    """The options of the API."""


def worker_flags(
    slots: Annotated[
        int | None,
        typer.Option("--slots", "--max-concurrent", min=1, max=10_000, help="How many runs at once, else 10."),
    ] = None,
    queue: Annotated[list[str] | None, read.option(read.name, "Queue to take from; may be repeated.")] = None,
    label: Annotated[list[str] | None, read.option(read.name, "Label of the worker; may be repeated.")] = None,
    scripts_dir: Annotated[str | None, typer.Option("--scripts", help="Folder of Python scripts for tasks.")] = None,
    shell: Annotated[bool | None, typer.Option("--shell", help="Run shell tasks.")] = None,
    http: Annotated[bool | None, typer.Option("--http", help="Run HTTP tasks.")] = None,
    grpc: Annotated[bool | None, typer.Option("--grpc", help="Run gRPC tasks.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Network or host that http and grpc may reach too.")] = None,
) -> None:
    """The options of a worker."""


def leader_flags(
    line: Annotated[str, read.option(read.full_name, "The queue that --strategy is for.", "--queue")] = "default",
    strategy: Annotated[str | None, read.option(read.strategy, PLACING)] = None,
) -> None:
    """The options of a scheduler."""


def remote_flags(
    scheduler: Annotated[str, typer.Option(metavar="URL", help="Work for the scheduler whose API is there.")] = "",
    token: Annotated[
        str, typer.Option(help="Its worker token. All users of this machine see it here: better ROTA_TOKEN, or a file.")
    ] = "",
    ca: Annotated[str, typer.Option(help="File of the authorities (PEM) to check its certificate against.")] = "",
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Have runs posted to this worker, here.")] = "",
    url: Annotated[str, typer.Option(help="Where others reach that; http://HOST:PORT if not given.")] = "",
    listen_cert: Annotated[str, typer.Option(metavar="PEM", help="Its certificate: what is posted is encrypted.")] = "",
    listen_key: Annotated[str, typer.Option(metavar="PEM", help="The key of that.")] = "",
) -> None:
    """The options of a worker that needs no store."""


def up(**flags: Any) -> None:
    """Run scheduler, worker and API in one process. Scripts are looked for in ./scripts if there is such a folder."""
    _serve(flags, scheduler=True, worker=True, api=True)


def scheduler(**flags: Any) -> None:
    """Run a scheduler; of several on one store one leads, the others stand by."""
    _serve(flags, scheduler=True, worker=False)


def worker(**flags: Any) -> None:
    """Run a worker; there may be any number of them on one store, or for one scheduler at an address."""
    _serve(flags, scheduler=False, worker=True)


def api(**flags: Any) -> None:
    """Run the API; there may be several of them on one store."""
    # The ends of runs that workers bring here are not told: there may be thousands a second.
    _serve(flags | {"quiet": True}, scheduler=False, worker=False, api=True)


group.command("up")(with_flags(up, node_flags, worker_flags, api_flags))
group.command("api")(with_flags(api, node_flags, api_flags))
group.command("scheduler")(with_flags(scheduler, node_flags, leader_flags))
group.command("worker")(with_flags(worker, node_flags, worker_flags, remote_flags))


@group.command("migrate")
def migrate(store: Store = None, config: Config = None, environment: Environment = "", as_json: Json = False) -> None:
    """Make or upgrade the tables of a store, and say which migrations that took."""
    url = store or settled_store(config, environment) or made_in(DATA)
    applied, shown = asyncio.run(migrated(url)), without_password(url)
    lines = [f"applied {one}" for one in applied] or [f"{shown} is up to date"]
    show(Sheet({"store": shown, "applied": applied}, lines), as_json)


def _serve(flags: Mapping[str, Any], scheduler: bool, worker: bool, api: bool = False) -> None:
    """Make or find the app, and live until told to stop."""
    from rota.cli.watch import Watch
    from rota.settings.load import load

    flags = {**flags, "store": one_store(flags["store"], flags["etcd_endpoints"]) or None}
    if flags["store"] and flags["data"]:
        raise Invalid("data", "--store says where the data is, and so does --data; give one of them")
    app = load_app(flags["app"]) if flags["app"] else Rota(name="rota")
    given = {key: flags[flag] for flag, key in SETTINGS.items() if flags.get(flag) not in (None, [])}
    loaded = load(flags["config"], flags["environment"], given)
    app.configure(loaded)
    watch = Watch(loaded.settings, Teller(flags["quiet"], flags["as_json"]), api)
    if loaded.unused:
        warn(f"not used, as this version of Rota has not got what it is for: {', '.join(loaded.unused)}")
    elsewhere = _elsewhere(flags, loaded, watch) if worker and not scheduler else None
    if elsewhere is None:
        _place(app, flags, loaded)
    if flags.get("allow") and not (app.kinds.http or app.kinds.grpc):
        raise Invalid("allow", "is for tasks of --http and --grpc; give one of these as well")
    app.node = flags["node_id"] or app.node
    working = _working(app, flags["app"], both=scheduler) if worker else None
    if elsewhere and working:
        raise typer.Exit(asyncio.run(_remote(app, elsewhere, working, watch)))
    of_etcd = "strategy" in flags and flags["etcd_endpoints"]
    placing = (flags["line"], flags["strategy"] or "") if flags.get("strategy") or of_etcd else None
    raise typer.Exit(asyncio.run(_live(app, loaded, scheduler, working, api, watch, placing)))


def _elsewhere(flags: Mapping[str, Any], loaded: "Loaded", watch: "Watch") -> "Elsewhere | None":
    """The schedulers that this worker works for; None: it works beside the store. Raises `Invalid`."""
    if not flags["listen"] and (flags["url"] or flags["listen_cert"] or flags["listen_key"]):
        raise Invalid("listen", "is missing: --url, --listen-cert and --listen-key say more of it; give HOST:PORT")
    listening = _listening(flags) if flags["listen"] else None
    broker = "" if flags["store"] or flags["data"] else loaded.settings.message_queue.address
    if not flags["scheduler"] and not broker:
        return None
    from rota.wiring.elsewhere import at_address, behind

    if flags["scheduler"]:
        return at_address(_server(flags), listening)
    return behind(broker, flags["token"] or os.environ.get("ROTA_TOKEN", ""), watch)


def _server(flags: Mapping[str, Any]) -> "Server":
    """An address, and by which token: as given, of ROTA_TOKEN, or as `rota login` keeps it. Raises `Invalid`."""
    from rota.worker.remote import Server

    if flags["store"] or flags["data"]:
        raise Invalid("scheduler", "a worker at an address needs no store; leave --store and --data out")
    url = flags["scheduler"].rstrip("/")
    server = Server(url, flags["token"] or key_of(url, None, flags["config"], flags["environment"]), flags["ca"])
    if open_to_all(url):
        warn(f"{url} is not encrypted: others on the way can read the token and the work; use https")
    return server


def _listening(flags: Mapping[str, Any]) -> "Listening":
    """Where runs are posted to, and as what others know that. Raises `Invalid`."""
    from rota.api.serve import Address

    if not flags["scheduler"]:
        raise Invalid("listen", "is for a worker of --scheduler; one on the store is told by the store")
    try:
        parts = urlsplit(f"//{flags['listen']}")
        host, port = "" if parts.path else parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or port is None:
        raise Invalid("listen", f"{flags['listen']!r:.80} is no HOST:PORT, such as 127.0.0.1:9000")
    if bool(flags["listen_cert"]) != bool(flags["listen_key"]):
        raise Invalid("listen_cert", "give --listen-cert and --listen-key, or none of them")
    at = Address(host, port, flags["listen_cert"], flags["listen_key"], "listen_")
    if not flags["url"] and host in ("0.0.0.0", "::"):  # noqa: S104  # the text, not an address to listen on
        raise Invalid("url", f"{host} is everywhere: give --url http://HOST:PORT, as others reach it")
    if not (is_loopback(host) or at.certificate or flags["url"].startswith("https://")):
        warn(f"{host} is not encrypted: others on the way can read what is posted; use --listen-cert and --listen-key")
    return at, flags["url"].rstrip("/")


def _place(app: Rota, flags: Mapping[str, Any], loaded: "Loaded") -> None:
    """Put the app where options or settings say, if they do; and warn that its programs look elsewhere."""
    said, named = loaded.settings.store, loaded.settings.database.url
    if app.names_store and not flags["store"] and named and named.get_secret_value() == os.environ.get("ROTA_STORE"):
        said = ""  # that variable is for programs that do not say
        if not flags["data"] and place(named.get_secret_value()) != place(app.store):
            warn(f"ROTA_STORE is passed over, as {flags['app']} names its store in its code; --store goes before both")
    if said and not (flags["store"] or flags["data"]):
        loaded.store()
    url = made_in(flags["data"]) if flags["data"] else said or app.store
    if app.names_store and place(url) != place(app.store):
        own, here = without_password(app.store), without_password(url)
        warn(f"{flags['app']} names the store {own}, but this runs on {here}: what its programs submit waits there")
    app.store = url


def load_app(target: str) -> Rota:
    """The app that `module:attribute` names, looked for from the current folder on. Raises `Invalid`."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:\w+(\.\w+)*)?", target) or re.search(r"\.py(:|$)", target):
        raise Invalid("app", f"{target!r:.100} is not module:attribute, such as jobs:app for `app` in jobs.py")
    module, _, attribute = target.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = attrgetter(attribute or "app")(import_module(module))
    except (Exception, SystemExit) as error:
        what = f"cannot be loaded: {type(error).__name__}: {error}; ROTA_DEBUG=1 shows where"
        raise Invalid("app", f"{target!r} {what}") from error
    if not isinstance(found, Rota):
        raise Invalid("app", f"{target!r} is a {type(found).__name__}, not a Rota app")
    return found


def _working(app: Rota, target: str, both: bool) -> WorkerOptions:
    """The options of the app's worker; with `both` roles it takes the scripts of this folder, if there are any."""
    scripts = app.kinds.scripts_dir or ("scripts" if both and Path("scripts").is_dir() else "")
    app.kinds = replace(app.kinds, scripts_dir=scripts, target=target, samples=True)
    return app.worker_options()


async def _live(
    app: Rota,
    loaded: "Loaded",
    scheduler: bool,
    working: WorkerOptions | None,
    api: bool,
    watch: "Watch",
    placing: tuple[str, str] | None,
) -> int:
    """Take on the roles until told to stop; the exit code. `placing`: a queue and its strategy."""
    app.listen(watch)
    if api:
        from rota.api.serve import check_free

        check_free(loaded.settings.api.address())
    async with app.running(scheduler=scheduler, worker=bool(working), worker_options=working) as roles:
        roles.listeners.append(watch.adjust)
        serving = _api(app, loaded.settings, roles, watch) if api else nullcontext(("", ""))
        async with serving as (url, login), watch.served(app.engine if scheduler or api else None):
            if placing:
                await queues.place(app.engine, *placing)
            kinds = [kind for kind, made in app.executors().items() if made.kind == kind] if working else []
            data = {
                "scheduler": scheduler,
                "worker": working and {"slots": working.slots, "queues": working.queues, "executors": kinds},
                "store": without_password(app.store),
                "api": url,
                "login": login,
                **await overview(app.engine.store, app.engine.clock.now()),
            }
            lines = first_lines(data, loaded.lead, working.ttl_ms if working else None)
            haste = await _until_over(roles.worker, watch.teller, data, lines, alone=not (scheduler or api))
    return _farewell(roles.worker, haste, watch.teller)


async def _remote(app: Rota, there: "Elsewhere", working: WorkerOptions, watch: "Watch") -> int:
    """Work for the scheduler that is reached there until told to stop; the exit code."""
    from rota.wiring.elsewhere import remote_worker

    made = app.executors()
    async with remote_worker(there, made, working, watch) as worker, watch.served():
        kinds = [kind for kind, one in made.items() if one.kind == kind]
        data = {"scheduler": there.place, "worker": worker.session, "slots": working.slots, "executors": kinds}
        lines = [
            f"worker {working.name} works for {there.place}: {number_of(working.slots, 'slot')}, "
            f"queues {', '.join(working.queues)}, executors {', '.join(kinds)}",
            "Ctrl-C stops it",
        ]
        haste = await _until_over(worker, watch.teller, data, lines)
    return _farewell(worker, haste, watch.teller)


async def _until_over(
    worker: Worker | None, teller: Teller, data: Mapping[str, Any], lines: Iterable[str], alone: bool = True
) -> Haste:
    """Say that it has begun, wait for the end, say that too; whether there will have been haste."""
    drained = None if alone else partial(teller.say, "drained", {}, [DRAINED])
    stopped = asyncio.create_task(until_stopped(worker, drained))
    # It listens before the first word is said: whoever reads that may answer with a signal.
    await asyncio.sleep(0)
    # What was loaded stays: looking for cycles in it would hold up the loop for a tenth of a second. And most objects
    # live as long as a run: looking less often spares a tenth of the time of each.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # So long a thread that comes back from its database waits for a busy loop, and the loop for a thread that computes.
    sys.setswitchinterval(0.000_3)
    teller.say("started", data, lines)
    await stopped
    haste = Haste(worker, fail)
    said = f"stopping; {haste.running} running, they may finish" if haste.running else "stopping"
    teller.say("stopping", {"running": haste.running}, [said])
    return haste


def _farewell(worker: Worker | None, haste: Haste, teller: Teller) -> int:
    code = 0
    if worker and worker.failed:
        code = 1
        fail(worker.failed)
    elif haste.asked:
        code = 130
        fail("stopped at once" + ("; what was running was ended and handed back" if worker else ""))
    else:
        teller.say("stopped", {}, ["stopped"])
    haste.leave(code)
    return code


@asynccontextmanager
async def _api(app: Rota, said: "Settings", roles: Roles, watch: "Watch") -> AsyncIterator[tuple[str, str]]:
    """Serve the API while the block lasts: where, and where nobody was yet, the link to log in by.

    Raises `Invalid` for an address that cannot be listened on, and for what `own_secret` refuses.
    """
    from rota.api.app import Options, make_app
    from rota.api.feed import Feed
    from rota.api.serve import served

    engine, allowed = app.engine, said.api.guard_options()
    secret = said.security.signing_secret or own_secret(app.store)
    feed = Feed(engine.store.watch, engine.emit)
    sealing = blake2b(secret, digest_size=32, person=b"rota cursors").digest()
    guard = make_app(engine, make_door(engine, secret, allowed.rates), Options(sealing, allowed, feed, watch.metrics))
    roles.listeners.append(lambda settings: guard.adjust(settings.api.guard_options()))
    async with served(guard, said.api.address(), feed.close) as server:
        yield server, await first_start(app.store, engine, server)
