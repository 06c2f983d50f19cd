import pytest

from rota.settings.load import NOT_YET
from rota.settings.tree import Settings
from tests.cli.test_main import ALL
from tests.settings.samples import LIGHT


def test_the_check_says_what_is_good_unused_and_meant(rota, write):
    write(LIGHT, "light.yaml")
    answer = rota("config", "check", "--config", "light.yaml")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "light.yaml: good, 14 settings",
        "a worker that vanishes is noticed after 30 s, and what it ran goes to others",
    ]
    assert rota.json("config", "check", "--config", "light.yaml")["noticed_after_ms"] == 30_000
    assert rota("config", "check").out.splitlines()[0] == "no file: good, 0 settings"


def test_the_check_says_that_a_short_timeout_is_raised(rota, write):
    write("[worker]\nheartbeat_timeout = '1s'")
    answer = rota("config", "check")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[1:] == [
        "worker.heartbeat_timeout is raised from 1 s to 9 s: it is at least three times heartbeat_interval, or a late "
        "beat would end a live worker",
        "a worker that vanishes is noticed after 9 s, and what it ran goes to others",
    ]


def test_the_check_says_each_problem_in_a_line_of_its_own(rota, write):
    write("[api]\nport = 'x'\nprot = 1\n[redis]\npassword = 'canary'\n")
    answer = rota("config", "check")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "error: rota.toml: there is no setting api.prot; did you mean 'port'?",
        "error: rota.toml: api.port is text; write a whole number",
    ]


@pytest.mark.parametrize("url", ["ftp://u:canary@h", "amqp://u:canary/@h"])
def test_a_url_that_names_no_broker_is_told_by_the_check(rota, write, url):
    write(f"[message_queue]\nurl = '{url}'")
    said = rota.refused("config", "check")
    assert said.startswith("carrier: ")
    assert "canary" not in said


def test_a_list_that_is_empty_is_told_in_plain_words(rota, write):
    write("[worker]\nqueues = []")
    assert "worker.queues is wrong; it should have at least 1 item" in rota.refused("config", "check")


@pytest.mark.parametrize("command", [("config", "check"), ("up",), ("runs", "list")])
def test_a_url_that_names_no_store_is_told_with_its_place(rota, write, monkeypatch, command):
    write("[database]\nurl = 'mysql://u:canary@h/d'")
    said = "database.url: 'mysql://u:…@h/d' names no store; write a URL such as sqlite:///rota.db, postgresql"
    assert rota.refused(*command).startswith(f"rota.toml: {said}")
    monkeypatch.setenv("ROTA_STORE", "rota.db")
    where = "store" if command == ("runs", "list") else "environment: database.url"
    assert rota.refused(*command).startswith(f"{where}: 'rota.db' names no store")


def test_show_tells_value_and_source(rota, write, monkeypatch):
    write("[worker]\nheartbeat_interval_seconds = 5\n[redis]\npassword = 'canary'\n[environments.test.api]\nport = 1\n")
    monkeypatch.setenv("ROTA_WORKER__QUEUES", "a,b")
    shown = {row["key"]: (row["value"], row["source"]) for row in rota.json("config", "show", "--env", "test")}
    assert shown["worker.heartbeat_interval"] == ("5s", "rota.toml")
    assert shown["redis.password"] == ("(secret)", "rota.toml")
    assert shown["api.port"] == ("1", "rota.toml [environments.test]")
    assert shown["worker.queues"] == ("a, b", "environment")
    assert shown["retention.runs"] == ("7d", "default")
    assert shown["security.secret"] == ("", "default")


@pytest.mark.parametrize("command", ["up", "worker", "scheduler"])
def test_a_role_does_not_start_on_settings_that_are_wrong(start, write, command):
    write("[security]\nsecret = 'changeme'", "my.toml")
    code, out, err = start(command, "--config", "my.toml").ended()
    assert (code, out) == (2, "")
    assert err.startswith("error: my.toml: security.secret is wrong; it is shorter than 32 bytes; ")
    assert err.count("\n") == 1


def test_every_command_can_be_told_the_file_and_its_environment(rota, write, monkeypatch):
    write("""
        [database]
        url = "sqlite:///mine.db"
        [task]
        max_retry = 7
        [environments.other.database]
        url = "sqlite:///other.db"
    """, "my.toml")  # fmt: skip
    mine, other = ("--config", "my.toml"), ("--config", "my.toml", "--env", "other")
    assert "rota-data" in rota.refused("tasks", "list")
    for flags in (mine, other):
        assert rota("migrate", *flags).code == 0
    assert rota.json("tasks", "create", "a", *mine)["retry_count"] == 7
    assert [len(rota.json("tasks", "list", *flags)) for flags in (mine, other)] == [1, 0]
    assert "mine.db opens" in rota("doctor", *mine).out
    monkeypatch.setenv("ROTA_CONFIG", "my.toml")
    assert [len(rota.json("tasks", "list", *flags)) for flags in ((), ("--env", "other"))] == [1, 0]
    assert "known are other" in rota.refused("tasks", "list", "--env", "nope")


def test_only_commands_that_read_no_settings_cannot_be_told_which():
    without = {path for path, one in ALL.items() if not {"--config", "--env"} <= {*flat(one.params)}}
    assert without == {("bench",), ("preview",), ("login",), ("secrets", "key"), ("secrets", "encrypt")}


def flat(params):
    return (option for param in params for option in param.opts)


def test_roles_and_commands_go_by_the_same_file(start, rota, write):
    write(
        """
        [database]
        url = "sqlite:///mine.db"
        [worker]
        max_concurrent_tasks = 2
        shell = true
        queues = ["default", "mail"]
        [task]
        default_timeout = "7s"
        """
    )
    lines = start("up", "--slots", "3").until("stop:")
    assert lines[0] == "rota: scheduler and worker with 3 slots, queues: default, mail, executors: python, shell"
    assert lines[1] == "data: sqlite:///mine.db"
    made = rota.json("tasks", "create", "backup", "--executor", "shell", "--command", "true")
    assert made["clocks"]["attempt_ms"] == 7_000
    made = rota.json("tasks", "create", "long", "--executor", "shell", "--command", "true", "--timeout", "1h")
    assert made["clocks"]["attempt_ms"] == 3_600_000
    assert [one["slots"] for one in rota.json("workers", "list")] == [3]


def test_a_start_says_how_slow_recovery_will_be(start, write):
    write("[worker]\nheartbeat_interval_seconds = 30")
    lines = start("up", "--data", "d").until("stop:")
    assert "a worker that vanishes is noticed after 1 min 30 s; see worker.heartbeat_timeout" in lines


def test_options_and_the_variable_of_the_store_go_before_the_file(start, rota, write, monkeypatch, folder):
    write("[database]\nurl = 'sqlite:///file.db'")
    assert rota("migrate").code == 0
    monkeypatch.setenv("ROTA_STORE", "sqlite:///variable.db")
    assert rota("migrate").code == 0
    assert start("up", "--data", "folder").until("stop:")[1].startswith("data: sqlite:///folder/rota.db")
    assert start("up", "--store", "sqlite:///option.db").until("stop:")[1].startswith("data: sqlite:///option.db")
    assert start("up", ROTA_STORE="sqlite:///variable.db").until("stop:")[1] == "data: sqlite:///variable.db"
    assert start("up").until("stop:")[1] == "data: sqlite:///file.db"
    found = {path.name for path in folder.glob("*.db")}
    assert found == {"file.db", "variable.db", "option.db"}


def test_the_start_says_how_other_commands_find_the_settings(start, write):
    write("[database]\nurl = 'sqlite:///a.db'\n[environments.e.database]\nurl = 'sqlite:///b.db'", "my.toml")
    told = [start("up", "--config", "my.toml", *more).until("stop:")[1] for more in ((), ("--env", "e"))]
    assert told == [
        "data: sqlite:///a.db  (for other commands: export ROTA_CONFIG=my.toml)",
        "data: sqlite:///b.db  (for other commands: export ROTA_CONFIG=my.toml ROTA_ENV=e)",
    ]


def test_what_is_not_there_yet_is_named_rightly():
    assert [one for one in NOT_YET if not any(key.startswith(one) for key in Settings().flat())] == []
