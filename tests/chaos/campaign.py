"""A campaign: a cluster of real processes under load, a nemesis, and in the end its whole history."""

from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any, Protocol

from rota.domain.errors import RotaError
from rota.domain.records import Blob, Session, Tally, Unique
from rota.domain.run import LIVE, Run
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip
from rota.domain.triggers import Cron, Interval
from rota.engine.account import report
from rota.engine.define import create_schedule, pause_schedule, register
from rota.engine.engine import Engine, every
from rota.engine.submit import Order, submit
from rota.ports.loops import FIRST_S
from rota.ports.store import Where
from rota.stores import migrate
from rota.wiring import opened
from tests.chaos import tasks_chaos
from tests.chaos.cluster import Cluster, Process, leader, pause, until
from tests.chaos.history import NOBODY, Effect, Final, History, Lead, Op, Refusal, Strike, Told, Write, boot, told
from tests.chaos.load import ACTOR
from tests.chaos.nemesis import ALL, ANY, EVERYWHERE, KINDS, LEADER, Blow, plan
from tests.chaos.planted import BUGS
from tests.chaos.rig import honest
from tests.remote.net import token

ROLES = {"scheduler": 2, "worker": 3, "client": 2}
MEETING_MS = 4_000
"""How long a process may take to come to a point that is set for it."""
SETTLING_MS = 120_000
HASTY_MS = 15_000
"""The same where a planted bug may keep it from settling at all."""
POISON_EVERY_MS = 60_000


class Service(Protocol):
    """What of the store can be struck as a whole."""

    def crash(self) -> None: ...

    def begin(self) -> None: ...

    def silence(self) -> None: ...

    def speak(self) -> None: ...

    @property
    def broker(self) -> Any: ...


def schedules() -> list[Schedule]:
    """Those that nobody changes: one or two of each policy."""
    plain = Policy(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, misfire_ms=1_000)
    policies = {
        "all": plain,
        "skip": Policy(catch_up=CatchUp.SKIP, overlap=Overlap.ALLOW, misfire_ms=1_000),
        "latest": Policy(catch_up=CatchUp.LATEST, overlap=Overlap.ALLOW, misfire_ms=1_000),
    }
    made = [
        Schedule("main", f"{name}-{number}", "tick", Interval(700 + 150 * number), policy=policy)
        for name, policy in policies.items()
        for number in range(2)
    ]
    made.append(Schedule("main", "cron", "tick", Cron("* * * * * *"), policy=plain))
    buffered = Policy(catch_up=CatchUp.ALL, overlap=Overlap.BUFFER_ALL, misfire_ms=1_000)
    return [*made, Schedule("main", "chain", "link", Interval(1_300), policy=buffered)]


class Campaign:
    """`kinds`: the faults there are. `bug`: a planted one, see `planted.py`. `service`: the store, as a whole."""

    def __init__(
        self,
        folder: Path,
        url: str,
        seed: int,
        ms: int,
        kinds: tuple[str, ...] = EVERYWHERE,
        bug: str = "",
        service: Service | None = None,
    ) -> None:
        self.folder, self.url, self.service = folder, url, service
        self.blows = plan(seed, ms, kinds)
        self.ms = ms
        self.cluster = Cluster(folder, url, seed, bug, BUGS[bug].load if bug else "")
        self.cluster.wanted.update(ROLES)
        self.strikes = self.cluster.strikes
        self.asked = Told(folder / "client")
        self.began = self.poisoned = boot()

    async def run(self) -> History:
        """Everything, from the first process to the last."""
        await migrate(self.url)
        async with opened(self.url, lambda _: None) as engine:
            try:
                return await self._run(engine)
            finally:
                if self.service:
                    self.service.begin()
                    self.service.speak()
                await self.cluster.close()

    async def _run(self, engine: Engine) -> History:
        await register(engine, "chaos", tasks_chaos.app.registry.tasks, [])
        for schedule in schedules():
            began = boot()
            await create_schedule(engine, schedule, ACTOR)
            self.asked.tell(op=schedule.id, verb="create", subject=schedule.id, began=began)
            self.asked.tell(op=schedule.id, ended=boot(), answer="ok", run="", more="0")
        if self.service and self.service.broker:
            self.cluster.broker, self.cluster.token = self.service.broker.url, (await token(engine))[1]
        await self.cluster.open()
        await self.cluster.fill()
        self.began = self.poisoned = boot()
        for blow in self.blows:
            await self._idle(engine, self.began + blow.at)
            await self._strike(engine, blow)
        await self._idle(engine, self.began + self.ms)
        return await self._settle(engine)

    async def _idle(self, engine: Engine, moment: int) -> None:
        """Until then; who died meanwhile is replaced."""
        while True:
            await self.cluster.fill()
            if self.ms > 20_000 and boot() - self.poisoned > POISON_EVERY_MS // 4:
                self.poisoned += POISON_EVERY_MS
                with suppress(RotaError):
                    await submit(engine, [Order("poison", payload=b'{"op":""}')])
            if not await until(self.cluster, self.cluster.lacks, moment - boot()):
                return

    async def _strike(self, engine: Engine, blow: Blow) -> None:
        whom, action, _, _ = KINDS[blow.kind]
        victims = self.cluster.of(whom.removesuffix("s"))
        if whom == LEADER:
            with suppress(RotaError):
                found = await leader(self.cluster, engine)
                victims = [found] if found else self.cluster.of("scheduler")
        if whom in (LEADER, ANY) or whom in ROLES:
            victims = [victims[blow.victim % len(victims)]] if victims else []
        began = boot()
        match action:
            case "kill":
                for one in victims:
                    one.signal(SIGKILL)
                await until(self.cluster, lambda: all(one.gone.is_set() for one in victims), MEETING_MS)
            case "freeze":
                await self._frozen(victims, blow)
            case "stop" | "die before" | "die after" | "lose" | "refuse" | "waver":
                await self._point(victims[0], action, blow)
            case "clock":
                await self._clock(victims[0], blow)
            case "restart":
                await self._restart()
                self.strikes.append(Strike(blow.kind, "all", NOBODY, began, boot()))
            case "partition" | "cut":
                await self._proxy(victims[0], "hold" if action == "partition" else "mute", blow)
            case "store" | "disk" | "broker" if self.service:
                take, give = self.service.crash, self.service.begin
                if action == "broker":
                    take, give = self.service.silence, self.service.speak
                take()
                await pause(self.cluster, blow.lasts)
                give()
                self._log(blow.kind, None, began)
        if action == "kill":
            self._log(blow.kind, victims[0] if len(victims) == 1 else None, began, whole=whom == ALL)

    def _log(
        self, kind: str, one: Process | None, began: int, ms: int = 0, hit: bool = True, whole: bool = False
    ) -> None:
        name, pid = (one.name, one.pid) if one else ("all" if whole else "store", 0)
        self.strikes.append(Strike(kind, name, pid, began, boot(), ms, hit))

    async def _frozen(self, victims: list[Process], blow: Blow) -> None:
        began = boot()
        for one in victims:
            one.signal(SIGSTOP)
        await pause(self.cluster, blow.lasts)
        for one in victims:
            one.signal(SIGCONT)
            self._log(blow.kind, one, began)

    async def _point(self, one: Process, action: str, blow: Blow) -> None:
        began = boot()
        path = self.cluster.point(one.name, action)
        if action in ("lose", "refuse", "waver"):
            await pause(self.cluster, blow.lasts)
        met = await until(self.cluster, lambda: self.cluster.met(path, action), MEETING_MS)
        if met and action == "stop":
            await pause(self.cluster, blow.lasts)
        path.unlink(missing_ok=True)
        one.signal(SIGCONT)
        self._log(blow.kind, one, began, hit=met)

    async def _clock(self, one: Process, blow: Blow) -> None:
        began = boot()
        path = self.folder / "ctl" / f"{one.name}.clock"
        path.write_text(str(blow.ms))
        await pause(self.cluster, blow.lasts)
        path.unlink()
        self._log("clock", one, began, blow.ms)

    async def _proxy(self, one: Process, mode: str, blow: Blow) -> None:
        began, proxy = boot(), self.cluster.proxies[one.name]
        proxy.mode = mode
        await pause(self.cluster, blow.lasts)
        proxy.mode = "pass"
        self._log(blow.kind, one, began)

    async def _restart(self) -> None:
        """All workers and schedulers, one after the other, each by its successor."""
        for one in [one for one in list(self.cluster.living.values()) if one.role in ("scheduler", "worker")]:
            if not one.gone.is_set():
                await self.cluster.start(one.role)
                await self.cluster.leave(one)

    async def _settle(self, engine: Engine) -> History:
        """Heal everything, see to it that work goes on, let the clients go, wait for the last run, and read it all."""
        self.cluster.heal()
        await self.cluster.fill()
        healed = boot()
        offset = honest() - boot()
        workers = frozenset(one.pid for one in self.cluster.of("worker"))
        await self._wait(engine, lambda: self._all_work(engine, workers, healed))
        self.cluster.wanted["client"] = 0
        for one in self.cluster.of("client"):
            await self.cluster.leave(one)
        await self._wait(engine, lambda: self._caught_up(engine, healed + offset))
        for held in await every(engine, Schedule):
            await pause_schedule(engine, held.record.id, "over", ACTOR)
        await self._wait(engine, lambda: self._ended(engine))
        over = boot() + offset
        await self._wait(engine, lambda: self._accounted(engine, over))
        final = await self._final(engine)
        for one in list(self.cluster.living.values()):
            await self.cluster.leave(one)
        return self._history(healed, offset, final, workers)

    async def _wait(self, engine: Engine, ready: Any) -> bool:
        """Until something is so, looked at whenever the store says that something happened; the checkers judge."""
        ear, end = (
            engine.store.watch(["done", "schedules", "sessions"]),
            boot() + (HASTY_MS if self.cluster.bug else SETTLING_MS),
        )
        try:
            while boot() < end:
                if await ready():
                    return True
                await self.cluster.fill()
                await ear.wait(FIRST_S * 4)
        finally:
            ear.close()
        return False

    async def _all_work(self, engine: Engine, workers: frozenset[int], since: int) -> bool:
        await submit(engine, [Order("slow", payload=b'{"op":"","ms":100}') for _ in range(4 * len(workers))])
        seen = {one["pid"] for one in told(self.folder / "effects") if one["at"] >= since}
        return workers <= seen or bool(workers - {one.pid for one in self.cluster.of("worker")})

    async def _caught_up(self, engine: Engine, moment: int) -> bool:
        return all(held.record.cursor_at > moment for held in await every(engine, Schedule) if held.record.next_at)

    async def _ended(self, engine: Engine) -> bool:
        return not await engine.store.count(Run, "state", Where(states=tuple(LIVE)))

    async def _accounted(self, engine: Engine, moment: int) -> bool:
        found = await report(engine)
        return found is not None and found.at > moment

    async def _final(self, engine: Engine) -> Final:
        async def all_of(kind: Any) -> tuple[Any, ...]:
            return tuple(held.record for held in await every(engine, kind))

        return Final(
            boot(),
            runs=await all_of(Run),
            schedules=await all_of(Schedule),
            skips=await all_of(Skip),
            uniques=await all_of(Unique),
            sessions=await all_of(Session),
            tallies=await all_of(Tally),
            blobs=frozenset(blob.id for blob in await all_of(Blob)),
            report=await report(engine),
        )

    def _history(self, healed: int, offset: int, final: Final, workers: frozenset[int]) -> History:
        facts = list(told(self.folder / "facts"))

        def of(event: str) -> list[dict[str, Any]]:
            return [
                {key: value for key, value in one.items() if key != "event"} for one in facts if one["event"] == event
            ]

        return History(
            self.began, healed, offset, tasks_chaos.LEASE_MS, final, operations(self.folder / "client"),
            tuple(Effect(**one) for one in told(self.folder / "effects")),
            tuple(Lead(**one) for one in of("lead")), tuple(Write(**one) for one in of("write")),
            tuple(Refusal(**one) for one in of("refused")), tuple(self.strikes), tuple(self.cluster.exits), workers,
            bool(self.cluster.broker),
        )  # fmt: skip


def operations(path: Path) -> tuple[Op, ...]:
    """The client log: beginnings, and the ends of those that had one, in the order in which they were begun."""
    found: dict[str, Op] = {}
    for line in told(path):
        name = line.pop("op")
        found[name] = found[name]._replace(**line) if name in found else Op(name, **line)
    return tuple(sorted(found.values(), key=lambda op: op.began))
