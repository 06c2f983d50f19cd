"""The tree of settings: what can be said, what holds where nothing is said, and the options that become of it."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from rota.domain.names import without_password
from rota.domain.retry import RETRY_LIMIT, Defaults, Retry
from rota.engine.control import SLOT_LIMIT
from rota.engine.prune import Retention as RetentionOptions
from rota.scheduler.options import Options as SchedulerOptions
from rota.servers.address import is_loopback
from rota.settings.fields import Delay, Length, Limit, Names, Section, Texts, is_length, spoken_ms, weakness
from rota.wiring import Kinds
from rota.worker.options import Options as WorkerOptions

if TYPE_CHECKING:
    from rota.api.places import GuardOptions
    from rota.api.serve import Address

_SCHEDULER, _WORKER, _KEEP, _RETRY = SchedulerOptions(), WorkerOptions(), RetentionOptions(), Retry()
KINDS = ("scripts_dir", "shell", "http", "grpc")
Port = Annotated[int, Field(ge=1, le=65_535)]


def _secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and (why := weakness(value.get_secret_value())):
        raise ValueError(f"it {why}")
    return value


def _collector(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s@?#]+", value):
        raise ValueError('write the address of an OTLP collector, such as "http://localhost:4318"')
    return value


def _place(value: str) -> str:
    if "@" in value:
        raise ValueError("write host and port; with user and password it is a URL, for which there is another setting")
    return value


def _level(value: Any) -> Any:
    """As other libraries spell it, too."""
    low = value.lower() if isinstance(value, str) else value
    return "warn" if low == "warning" else low


class Database(Section):
    """Where everything is kept."""

    url: SecretStr | None = None
    pool_size: Annotated[int, Field(ge=1, le=100)] = 4
    connection_timeout: Annotated[Length, Field(le=3_600_000)] = 5_000


class MessageQueue(Section):
    """A message queue between schedulers and workers. If anything is said of it, they use it."""

    type: Literal["rabbitmq", "redis"] = "rabbitmq"
    host: Annotated[str, AfterValidator(_place)] = "localhost"
    port: Port = 5672
    username: str = ""
    password: SecretStr = SecretStr("")
    url: SecretStr | None = None
    """In place of all others."""

    @property
    def address(self) -> str:
        """URL of the broker; empty: nothing is said of one."""
        if self.url or not self.model_fields_set:
            return self.url.get_secret_value() if self.url else ""
        port = self.port if self.type == "rabbitmq" or "port" in self.model_fields_set else 6379
        user, word = quote(self.username, safe=""), quote(self.password.get_secret_value(), safe="")
        scheme, login = "amqp" if self.type == "rabbitmq" else "redis", f"{user}:{word}@" if user or word else ""
        return f"{scheme}://{login}{self.host}:{port}/"


class Api(Section):
    """Where people and programs reach Rota."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    cors_origins: Texts = ()
    hosts: Texts = ()
    allow: Texts = ()
    proxies: Texts = ()
    tls_certificate: str = ""
    tls_key: str = ""
    rate_address: str = "60000/minute"
    rate_actor: str = "60000/minute"
    rate_login: str = "10/minute"
    rate_user: str = "20/minute"
    rate_failed: str = "120/minute"

    @model_validator(mode="after")
    def _understood(self) -> "Api":
        if self.model_fields_set - {"host", "port"}:
            from rota.api.limits import Limits
            from rota.api.places import Places

            options = self.guard_options()
            Places(options)
            Limits(options.rates)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key, paths of PEM files, belong together; set both or none")
        return self

    def address(self) -> "Address":
        """Where the API listens."""
        from rota.api.serve import Address

        return Address(self.host, self.port, self.tls_certificate, self.tls_key)

    def guard_options(self) -> "GuardOptions":
        """Whom the API lets in."""
        from rota.api.limits import Rates
        from rota.api.places import GuardOptions

        names = (self.hosts, self.allow, self.proxies, self.cors_origins)
        rates = Rates(self.rate_address, self.rate_actor, self.rate_login, self.rate_user, self.rate_failed)
        return GuardOptions(*names, loopback=is_loopback(self.host), rates=rates)


class Dispatcher(Section):
    """How runs are given to workers."""

    max_workers: Annotated[int, Field(ge=1)] = 50
    task_timeout: Limit = None


class Worker(Section):
    """What a worker takes, how much at once, and how it tells that it lives."""

    heartbeat_interval: Length = _WORKER.beat_ms
    heartbeat_timeout: Length = _WORKER.ttl_ms
    max_concurrent_tasks: Annotated[int, Field(ge=1, le=SLOT_LIMIT)] = _WORKER.slots
    drain_timeout: Delay = _WORKER.drain_ms
    queues: Annotated[Names, Field(min_length=1)] = _WORKER.queues
    labels: Names = ()
    scripts_dir: str = ""
    shell: bool = False
    http: bool = False
    grpc: bool = False
    allow: Texts = ()

    @property
    def lapse_ms(self) -> int:
        """After so long without a beat a worker is not alive."""
        return max(self.heartbeat_timeout, 3 * self.heartbeat_interval)


class Schedule(Section):
    """How schedulers agree on a leader, and how often it looks without being asked."""

    leader_lock_ttl: Length = _SCHEDULER.ttl_ms
    leader_renew_interval: Length = _SCHEDULER.renew_ms
    scan_interval: Length = _SCHEDULER.scan_ms

    @model_validator(mode="after")
    def _renewed_in_time(self) -> "Schedule":
        if 2 * self.leader_renew_interval > self.leader_lock_ttl:
            raise ValueError("leader_renew_interval is over half of leader_lock_ttl; renew at least twice in its time")
        return self


class Task(Section):
    """What holds for tasks that do not say otherwise."""

    default_timeout: Limit = Defaults().attempt_ms
    max_retry: Annotated[int, Field(ge=0, le=RETRY_LIMIT)] = _RETRY.retries
    retry_delay: Delay = _RETRY.delay_ms
    backoff_rate: Annotated[float, Field(gt=0, le=100)] = _RETRY.rate


class Redis(Section):
    """A Redis server. If anything is said of it, and no other store, it is the store."""

    addr: Annotated[str, AfterValidator(_place)] = "localhost:6379"
    password: SecretStr = SecretStr("")
    db: Annotated[int, Field(ge=0)] = 0
    pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    prefix: str = ""

    @property
    def url(self) -> str:
        """URL of the store there."""
        word = quote(self.password.get_secret_value(), safe="")
        return f"redis://{word and f':{word}@'}{self.addr}/{self.db}?prefix={self.prefix}&pool={self.pool_size}"


class Observability(Section):
    """What Rota tells about itself."""

    log_level: Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(_level)] = "info"
    log_format: Literal["console", "json"] = "console"
    metrics_enabled: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    tracing_enabled: bool = False
    otlp_endpoint: Annotated[str, AfterValidator(_collector)] = ""


class Security(Section):
    """What must not be known to others."""

    secret: Annotated[SecretStr | None, AfterValidator(_secret)] = None

    @property
    def signing_secret(self) -> bytes:
        """The key of signatures; empty where none is set."""
        return self.secret.get_secret_value().encode() if self.secret else b""


class Retention(Section):
    """How long things are kept; `max_runs` bounds the number of ended runs, by default to what fits the store."""

    runs: Length = _KEEP.runs_ms
    max_runs: Annotated[int, Field(ge=0)] | None = _KEEP.runs
    audit: Length = _KEEP.audit_ms
    tallies: Length = _KEEP.tallies_ms
    sessions: Length = _KEEP.sessions_ms


class Settings(Section):
    """The whole tree. Making one reads nothing: `load` does."""

    database: Database = Database()
    message_queue: MessageQueue = MessageQueue()
    api: Api = Api()
    dispatcher: Dispatcher = Dispatcher()
    worker: Worker = Worker()
    schedule: Schedule = Schedule()
    task: Task = Task()
    redis: Redis = Redis()
    observability: Observability = Observability()
    security: Security = Security()
    retention: Retention = Retention()

    def flat(self) -> dict[str, Any]:
        """Every setting by `section.key`; secrets can be compared, but not seen."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        return {f"{name}.{key}": value for name, section in sections.items() for key, value in section}

    def spoken(self, key: str) -> str:
        """A setting as people may see it, and write it; `key` is `section.key`."""
        section, _, name = key.partition(".")
        part = getattr(self, section)
        match getattr(part, name):
            case SecretStr() as secret:
                hidden = "(secret)" if secret.get_secret_value() else ""
                return without_password(secret.get_secret_value()) if key.endswith(".url") else hidden
            case tuple() as listed:
                return ", ".join(listed)
            case bool() as yes:
                return str(yes).lower()
            case int() as length if is_length(type(part).model_fields[name]):
                return spoken_ms(length)
            case None:
                return "none" if is_length(type(part).model_fields[name]) else ""
            case value:
                return str(value)

    @property
    def store(self) -> str:
        """URL of the store, with the size of its pool and the patience with it if they are said; empty: not said."""
        said = self.database
        url = said.url.get_secret_value() if said.url else self.redis.url if self.redis.model_fields_set else ""
        seconds = said.connection_timeout / 1_000
        options = (("pool_size", "pool", said.pool_size), ("connection_timeout", "connect_timeout", seconds))
        for key, name, value in options:
            if key in said.model_fields_set and url.startswith(("postgresql", "redis")) and f"{name}=" not in url:
                url += f"{'&' if '?' in url else '?'}{name}={value:g}"
        return url

    def worker_options(self, name: str, namespaces: tuple[str, ...] = ("main",)) -> WorkerOptions:
        """What a worker is told at its start."""
        said = self.worker
        return WorkerOptions(
            name=name,
            namespaces=namespaces,
            queues=said.queues,
            labels=said.labels,
            slots=said.max_concurrent_tasks,
            beat_ms=said.heartbeat_interval,
            ttl_ms=said.lapse_ms,
            scan_ms=self.schedule.scan_interval,
            drain_ms=said.drain_timeout,
        )

    def scheduler_options(self, name: str) -> SchedulerOptions:
        """What a scheduler node is told at its start."""
        said, kept = self.schedule, self.retention
        return SchedulerOptions(
            name=name,
            ttl_ms=said.leader_lock_ttl,
            renew_ms=said.leader_renew_interval,
            scan_ms=said.scan_interval,
            retention=RetentionOptions(kept.runs, kept.max_runs, kept.audit, kept.tallies, kept.sessions),
        )

    def kinds(self, base: Kinds) -> Kinds:
        """The executors of the app, and those that the settings name."""
        given = {name: getattr(self.worker, name) for name in KINDS if name in self.worker.model_fields_set}
        return replace(base, **given, allow=base.allow + self.worker.allow)

    def defaults(self) -> Defaults:
        """What holds for tasks that do not say otherwise; `task.default_timeout` before `dispatcher.task_timeout`."""
        said = self.task
        older = "task_timeout" in self.dispatcher.model_fields_set and "default_timeout" not in said.model_fields_set
        limit = self.dispatcher.task_timeout if older else said.default_timeout
        return Defaults(limit, Retry(retries=said.max_retry, delay_ms=said.retry_delay, rate=said.backoff_rate))
