import json
from pathlib import Path

import pytest

from rota.api.limits import Rates
from rota.api.places import GuardOptions
from rota.api.serve import Address
from rota.domain.retry import Defaults
from rota.scheduler.options import Options as SchedulerOptions
from rota.servers.address import PATIENCE_S, POOL
from rota.settings import here
from rota.settings.load import SettingsError, load
from rota.settings.tree import Settings, Worker
from rota.wiring import Kinds
from rota.worker.options import Options as WorkerOptions

SLOTS = "worker.max_concurrent_tasks"


def slots(**sources: object) -> int:
    return load(**sources).settings.worker.max_concurrent_tasks  # type: ignore[arg-type]  # as the test says


def test_each_source_goes_before_the_next(write, folder, monkeypatch):
    assert slots() == 10
    write("[worker]\nmax_concurrent_tasks = 1\n[environments.production.worker]\nmax_concurrent_tasks = 2\n")
    assert slots() == 1
    assert slots(environment="production") == 2
    (folder / "secrets").mkdir()
    (folder / "secrets" / "ROTA_WORKER__MAX_CONCURRENT_TASKS").write_text("3\n")
    monkeypatch.setenv("ROTA_SECRETS_DIR", "secrets")
    assert slots(environment="production") == 3
    monkeypatch.setenv("ROTA_WORKER__MAX_CONCURRENT_TASKS", "4")
    assert slots(environment="production") == 4
    assert slots(environment="production", given={SLOTS: 5}) == 5


def test_what_leads_others_here_can_be_pasted_into_a_shell(folder):
    path = folder / "my $(settings).toml"
    path.write_text("[database]\nurl = 'sqlite:///a.db'\n[environments.'e 1'.database]\nurl = 'sqlite:///b.db'\n")
    assert load(path, "e 1").lead == f"export ROTA_CONFIG='{path}' ROTA_ENV='e 1'"


def test_each_setting_knows_where_it_comes_from(toml, monkeypatch):
    monkeypatch.setenv("ROTA_API__PORT", "9000")
    found = toml(
        """
        [worker]
        max_concurrent_tasks = 1
        heartbeat_interval_seconds = 2
        [environments.production.worker]
        max_concurrent_tasks = 2
        """,
        "production",
    )
    assert found.origins == {
        SLOTS: "rota.toml [environments.production]",
        "worker.heartbeat_interval": "rota.toml",
        "api.port": "environment",
    }


def test_the_environment_variable_names_file_and_environment(write, monkeypatch):
    write("[worker]\nmax_concurrent_tasks = 1\n[environments.test.worker]\nmax_concurrent_tasks = 2\n", "my.toml")
    monkeypatch.setenv("ROTA_CONFIG", "my.toml")
    assert slots() == 1
    monkeypatch.setenv("ROTA_ENV", "test")
    assert slots() == 2
    monkeypatch.setenv("ROTA_ENV", "tset")
    with pytest.raises(SettingsError, match=r"my\.toml has no \[environments\.tset\]; did you mean 'test'"):
        load()


def test_the_file_of_the_current_folder_is_found_unless_there_are_two(write, monkeypatch):
    write("worker: {max_concurrent_tasks: 7}", "rota.yaml")
    assert slots() == 7
    write("")
    with pytest.raises(SettingsError, match=r"there are rota\.toml and rota\.yaml here; name one by --config"):
        load()
    monkeypatch.setenv("ROTA_CONFIG", "/dev/null")
    assert (slots(), here()) == (10, None)


def test_a_variable_named_as_a_section_is_told_of(monkeypatch):
    for name in ("ROTA_STORE", "ROTA_DATABASE", "ROTA_WORKER", "ROTA_WORKER__SHELL"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError) as refused:
        load()
    assert refused.value.problems == [
        f"environment: {name} is text; it is a section, with keys and values in it" for name in ("database", "worker")
    ]


def test_nobody_pays_for_settings_that_nobody_made(write, monkeypatch):
    assert here() is None
    monkeypatch.setenv("ROTA_API__PORT", "1")
    assert here() is not None
    monkeypatch.delenv("ROTA_API__PORT")
    write("")
    assert here() is not None


@pytest.mark.parametrize(
    ("written", "length"),
    [('"10s"', 10_000), ('"5m"', 300_000), ('"1h30m"', 5_400_000), ("2", 2_000), ("0.5", 500), ('"7"', 7_000)],
)
def test_lengths_of_time(toml, written, length):
    assert toml(f"[worker]\nheartbeat_timeout = {written}").settings.worker.heartbeat_timeout == length
    assert toml(f"[worker]\nheartbeat_timeout_seconds = {written}").settings.worker.heartbeat_timeout == length


@pytest.mark.parametrize("written", ['"soon"', "-1", "0", "true", "[1]", "1e400", "nan", '"inf"', "1" * 500, '""'])
def test_what_is_no_length_of_time(problems, written):
    (problem,) = problems(f"[worker]\nheartbeat_timeout = {written}")
    assert problem.startswith("rota.toml: worker.heartbeat_timeout is ")


def test_a_limit_may_be_none(toml):
    assert toml('[task]\ndefault_timeout = "none"').settings.defaults().attempt_ms is None


def test_a_length_of_time_is_written_once(problems):
    assert problems("[worker]\nheartbeat_timeout = 3\nheartbeat_timeout_seconds = 4") == [
        "rota.toml: worker.heartbeat_timeout is given twice, once with _seconds; keep one of them"
    ]


def test_lists_in_variables_are_json_or_have_commas(monkeypatch):
    monkeypatch.setenv("ROTA_API__CORS_ORIGINS", '["https://a.example", "https://b.example"]')
    monkeypatch.setenv("ROTA_WORKER__QUEUES", "default, mail")
    found = load().settings
    assert found.api.cors_origins == ("https://a.example", "https://b.example")
    assert found.worker.queues == ("default", "mail")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${NAME}", "Ann"),
        ("a${NAME}b${NAME}", "aAnnbAnn"),
        ("${NOBODY:-else}", "else"),
        ("${NAME:-else}", "Ann"),
        ("${NOBODY:-}", ""),
        ("$${NAME}", "${NAME}"),
        ("$NAME $ $$", "$NAME $ $$"),
        ("${TWICE}", "${NAME}"),
    ],
)
def test_variables_in_a_file(toml, monkeypatch, written, meant):
    monkeypatch.setenv("NAME", "Ann")
    monkeypatch.setenv("TWICE", "${NAME}")
    assert toml(f"[message_queue]\nusername = '{written}'").settings.message_queue.username == meant


def test_a_variable_may_hold_a_number_or_stand_in_a_list(toml, monkeypatch):
    monkeypatch.setenv("PORT", "99")
    found = toml("[api]\nport = '${PORT}'\ncors_origins = ['https://a.example:${PORT}']").settings
    assert (found.api.port, found.api.cors_origins) == (99, ("https://a.example:99",))


def test_variables_stand_in_files_only_and_only_where_they_count(toml, monkeypatch):
    monkeypatch.setenv("ROTA_MESSAGE_QUEUE__USERNAME", "${NOBODY}")
    assert toml("[message_queue]\nusername = '${NOBODY}'").settings.message_queue.username == "${NOBODY}"
    assert toml("[environments.other.api]\nhost = '${NOBODY}'").settings.api.host == "127.0.0.1"


@pytest.mark.parametrize("written", ["${", "${}", "${a b}", "${1}"])
def test_what_is_no_variable(problems, written):
    assert "has a ${ that is no variable" in problems(f"[api]\nhost = '{written}'")[0]


def test_all_that_is_wrong_is_said_at_once_with_file_key_kind_and_remedy(problems, monkeypatch):
    monkeypatch.setenv("ROTA_WORKER__SLOTS", "3")
    monkeypatch.setenv("ROTA_WORKR__SLOTS", "3")
    monkeypatch.setenv("ROTA_REDIS", "localhost")
    found = problems(
        """
        api = 3
        [databse]
        url = "x"
        [worker]
        heartbeat_intervall = 3
        max_concurrent_tasks = "many"
        shell = "maybe"
        queues = ["a b"]
        labels = 3
        [schedule]
        leader_lock_ttl = "5s"
        [message_queue]
        type = "kafka"
        host = 5
        port = 70000
        [task]
        backoff_rate = "fast"
        """
    )
    assert found == [
        "rota.toml: api is a whole number; it is a section, with keys and values in it",
        "rota.toml: there is no section databse; did you mean 'database'?",
        "rota.toml: there is no setting worker.heartbeat_intervall; did you mean 'heartbeat_interval'?",
        f"environment: there is no setting worker.slots; known are {', '.join(Worker.model_fields)}",
        "environment: redis is text; it is a section, with keys and values in it",
        "environment: there is no section workr; did you mean 'worker'?",
        "rota.toml: message_queue.type is wrong; it should be 'rabbitmq' or 'redis'",
        "rota.toml: message_queue.host is a whole number; write text in quotes",
        "rota.toml: message_queue.port is 70000; it should be less than or equal to 65535",
        "rota.toml: worker.max_concurrent_tasks is text; write a whole number",
        "rota.toml: worker.queues is wrong; write names of letters, digits and _ . : @ + -",
        'rota.toml: worker.labels is a whole number; write a list such as ["a", "b"]',
        "rota.toml: worker.shell is text; write true or false",
        "rota.toml: schedule: leader_renew_interval is over half of leader_lock_ttl; renew at least twice in its time",
        "rota.toml: task.backoff_rate is text; write a number",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rota.json", b"{}", "is neither TOML nor YAML"),
        ("rota.toml", b"\xff", "byte 0 is not UTF-8"),
        ("rota.toml", b"a", "is not TOML: Expected '=' after a key"),
        ("rota.yaml", b"- 1", "should hold sections"),
        ("rota.yaml", b"just words", "should hold sections"),
        ("rota.yaml", b"a: b: c", "mapping values are not allowed here (line 1)"),
        ("rota.yaml", b"a: 2026-99-99", "a date or number in it does not exist"),
    ],
)
def test_files_that_cannot_be_read(folder, name, content, said):
    (folder / name).write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        load(Path(name))
    assert said in str(refused.value)
    assert name in str(refused.value)


def test_a_file_that_is_not_there():
    with pytest.raises(SettingsError, match=r"config: no\.toml cannot be read: No such file"):
        load(Path("no.toml"))


def test_secrets_as_they_are_mounted(folder, monkeypatch):
    data = folder / "mount" / "..2026"
    data.mkdir(parents=True)
    (data / "rota_message_queue__password").write_text("hidden\n")
    (data / "other").write_text("not ours")
    (folder / "mount" / "..data").symlink_to("..2026")
    for name in ("rota_message_queue__password", "other"):
        (folder / "mount" / name).symlink_to(Path("..data") / name)
    monkeypatch.setenv("ROTA_SECRETS_DIR", "mount")
    found = load()
    assert found.settings.message_queue.password.get_secret_value() == "hidden"
    assert found.origins == {"message_queue.password": "secrets directory"}
    (data / "rota_message_queue__pass").write_text("x")
    (folder / "mount" / "rota_message_queue__pass").symlink_to(Path("..data") / "rota_message_queue__pass")
    with pytest.raises(SettingsError, match=r"secrets directory: there is no setting message_queue\.pass"):
        load()
    (folder / "mount" / "rota_message_queue__pass").unlink()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("ROTA_SECRETS_DIR", "~/mount")
    (data / "rota_message_queue__password").write_bytes(b"of two\r\nlines\r\n")
    assert load().settings.message_queue.password.get_secret_value() == "of two\nlines"
    monkeypatch.setenv("ROTA_SECRETS_DIR", "nowhere")
    with pytest.raises(SettingsError, match="ROTA_SECRETS_DIR"):
        load()


def test_every_setting_can_be_said_as_it_is_shown(write):
    said = Settings()
    shown = {key: said.spoken(key) for key in said.flat()}
    sections: dict[str, dict[str, str]] = {}
    for key, value in shown.items():
        section, _, name = key.partition(".")
        if value:
            sections.setdefault(section, {})[name] = value
    again = load(write(json.dumps(sections), "rota.yaml")).settings
    assert {key: again.spoken(key) for key in again.flat()} == shown | {"dispatcher.task_timeout": "none"}
    assert again.flat() == said.flat()


def test_defaults_are_those_of_the_components():
    api = Settings().api
    assert api.guard_options() == GuardOptions()
    assert api.address() == Address()
    assert Settings().database.pool_size == POOL
    assert Settings().database.connection_timeout == PATIENCE_S * 1_000
    assert Settings().worker_options("worker") == WorkerOptions()
    assert Settings().scheduler_options("scheduler") == SchedulerOptions()
    assert Settings().defaults() == Defaults()
    assert Settings().kinds(Kinds()) == Kinds()


def test_the_api_gets_what_is_said_of_it(toml):
    api = toml(
        """
        [api]
        host = "0.0.0.0"
        cors_origins = ["https://ui.example.org"]
        hosts = ["rota.example.org"]
        allow = ["10.0.0.0/8"]
        proxies = ["10.1.0.0/16"]
        rate_actor = "5/second"
        """
    ).settings.api
    assert api.guard_options() == GuardOptions(
        ("rota.example.org",),
        ("10.0.0.0/8",),
        ("10.1.0.0/16",),
        ("https://ui.example.org",),
        loopback=False,
        rates=Rates(actor="5/second"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cors_origins = ['*']", "api.cors_origins: '*' is no origin"),
        ("allow = ['10/8']", "api.allow: '10/8' does not appear to be"),
        ("hosts = ['https://x']", "api.hosts: 'https://x' is no host"),
        ("rate_login = 'often'", "api.rate_login: 'often' is no rate"),
        ("tls_key = 'key.pem'", "tls_certificate and tls_key, paths of PEM files, belong together"),
    ],
)
def test_what_the_api_cannot_go_by(problems, text, said):
    (problem,) = problems(f"[api]\n{text}")
    assert problem.startswith(f"rota.toml: api: {said}")


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("postgresql://u@h/d", "postgresql://u@h/d?pool=9"),
        ("postgresql://u@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require&pool=9"),
        ("postgresql://u@h/d?pool=3", "postgresql://u@h/d?pool=3"),
        ("redis://h/0", "redis://h/0?pool=9"),
        ("sqlite:///rota.db", "sqlite:///rota.db"),
    ],
)
def test_the_size_of_the_pool_reaches_the_store(toml, url, store):
    assert toml(f'[database]\nurl = "{url}"').settings.store == url
    assert toml(f'[database]\nurl = "{url}"\npool_size = 9').settings.store == store


@pytest.mark.parametrize(("said", "meant"), [("INFO", "info"), ("warning", "warn"), ("Error", "error")])
def test_levels_may_be_spelled_as_elsewhere(toml, said, meant):
    assert toml(f'[observability]\nlog_level = "{said}"').settings.observability.log_level == meant


def test_making_settings_reads_nothing(monkeypatch):
    monkeypatch.setenv("ROTA_API__PORT", "99")
    assert Settings().api.port == 8080


@pytest.mark.parametrize(("named", "good"), [("sqlite:///a.db", True), ("sqlite:///b.db", False)])
def test_two_variables_do_not_lead_to_two_stores(monkeypatch, named, good):
    monkeypatch.setenv("ROTA_STORE", "sqlite:///a.db")
    monkeypatch.setenv("ROTA_DATABASE__URL", named)
    if good:
        assert load().store() == named
        return
    with pytest.raises(SettingsError, match="ROTA_STORE: and ROTA_DATABASE__URL name two stores"):
        load()
