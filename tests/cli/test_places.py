import os
import sqlite3
import stat

import pytest

from rota.domain.names import without_password
from rota.stores.sql.schema import REVISIONS
from rota.wiring import database
from tests.cli.conftest import Terminal


def test_without_a_store_it_says_how_to_get_one(rota):
    said = rota.refused("tasks", "list")
    assert "no database 'rota-data/rota.db'; make it with `rota up`" in said
    assert "--store or ROTA_STORE" in said


def test_a_database_that_is_not_there_is_not_made_by_asking(rota, tmp_path):
    assert "rota migrate --store sqlite:///other.db" in rota.refused("tasks", "list", "--store", "sqlite:///other.db")
    assert not (tmp_path / "other.db").exists()


def test_the_environment_names_the_store_and_the_option_wins(rota, monkeypatch):
    for name in ("one", "two"):
        rota("migrate", "--store", f"sqlite:///{name}.db")
    monkeypatch.setenv("ROTA_STORE", "sqlite:///one.db")
    rota("tasks", "create", "a")
    assert [task["name"] for task in rota.json("tasks", "list")] == ["a"]
    assert rota.json("tasks", "list", "--store", "sqlite:///two.db") == []


def test_migrate_says_what_it_applied_and_keeps_the_folder_private(rota, tmp_path):
    applied = rota.json("migrate")["applied"]
    assert applied == list(REVISIONS)
    assert rota.json("migrate")["applied"] == []
    assert stat.S_IMODE((tmp_path / "rota-data").stat().st_mode) == 0o700
    assert "up to date" in rota("migrate").out


@pytest.mark.parametrize(
    "url", ["mysql://localhost/x", "nonsense", "sqlite://host/x.db", "http://[", "sqlite:///a?b=c"]
)
def test_what_is_no_store_is_refused(rota, url):
    assert "store: " in rota.refused("migrate", "--store", url)


def trouble(rota: Terminal, *args: str) -> str:
    answer = rota(*args)
    assert (answer.code, answer.out) == (1, ""), answer
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    return answer.err


def test_an_empty_file_is_no_store_and_stays_empty(rota, tmp_path):
    (tmp_path / "empty.db").touch()
    assert "'empty.db' yet, the file is empty; make it" in rota.refused("stats", "--store", "sqlite:///empty.db")
    assert (tmp_path / "empty.db").stat().st_size == 0


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused_for_it_ends_with_the_command(rota, url):
    assert "store: a store in memory ends with this command" in rota.refused("tasks", "list", "--store", url)


@pytest.mark.parametrize("url", ["nosql://ann:s3@cret@host/x", "sqlite://ann:s3cret@host/x.db"])
def test_errors_hide_the_password_of_a_url(rota, url):
    said = rota.refused("tasks", "list", "--store", url)
    assert "ann:…@host" in said
    assert "cret" not in said


@pytest.mark.parametrize("scheme", ["postgresql", "redis", "etcds"])
@pytest.mark.parametrize(
    "rest",
    ["ann:s3cret/a@host/x", "ann:s3cret?a@host/x", "ann:s3cret#a@host", "a:s3cret@[::1/x", "a:s3cret@[zz]/x"],
)
def test_a_url_that_is_read_otherwise_than_meant_is_refused_and_not_shown(rota, scheme, rest):
    """A sign in a password would make host or port of it."""
    said = rota.refused("tasks", "list", "--store", f"{scheme}://{rest}")
    assert said.startswith("store: its URL cannot be read; behind :// stands user:password@host:port, ")
    assert "s3cret" not in said


@pytest.mark.parametrize("command", [("tasks", "list"), ("migrate",), ("stats",)])
def test_a_damaged_file_is_trouble(rota, tmp_path, command):
    (tmp_path / "bad.db").write_bytes(b"no database" * 1_000)
    assert "bad.db is no SQLite database" in trouble(rota, *command, "--store", "sqlite:///bad.db")


def test_a_database_of_others_is_left_alone(rota, tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    assert "not one of Rota" in trouble(rota, "migrate", "--store", "sqlite:///other.db")


def test_a_newer_database_is_left_alone(here, tmp_path):
    with sqlite3.connect(tmp_path / "rota-data/rota.db") as newer:
        (table,) = newer.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE '%revision' AND type = 'table'"
        ).fetchone()
        newer.execute(f"UPDATE {table} SET version_num = '9999'")
    newer.close()
    assert "newer version of Rota" in trouble(here, "tasks", "list")


def test_a_place_where_nothing_can_be_made_is_trouble(rota, tmp_path):
    assert "cannot be opened" in trouble(rota, "migrate", "--store", "sqlite:///no/such/folder/rota.db")
    (tmp_path / "folder.db").mkdir()
    assert "folder.db" in trouble(rota, "tasks", "list", "--store", "sqlite:///folder.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_not_be_written_is_trouble(here, tmp_path):
    (tmp_path / "rota-data/rota.db").chmod(0o400)
    (tmp_path / "rota-data").chmod(0o500)
    assert "cannot be written" in trouble(here, "tasks", "create", "a")


def test_data_that_is_no_folder_is_refused(rota, tmp_path):
    (tmp_path / "file").touch()
    assert "'--data': dir 'file' is a file" in rota.refused("up", "--data", "file")
    assert rota("up", "--data", "file/below").code == 1


def test_files_of_stores():
    assert str(database("sqlite:///a/b.db")) == "a/b.db"
    assert str(database("sqlite:////a/b.db")) == "/a/b.db"
    assert database("sqlite:///:memory:") is None
    assert database("sqlite://") is None
    assert database("postgresql://host/db") is None


def test_passwords_in_urls_are_not_shown():
    assert without_password("postgresql://ann:s3cret@host/db") == "postgresql://ann:…@host/db"
    assert without_password("redis://:s3cret@host/0") == "redis://:…@host/0"
    assert without_password("postgresql://ann:s3@c/r:et@host/db") == "postgresql://ann:…@host/db"
    assert without_password("sqlite:///a:b@c.db") == "sqlite:///a:b@c.db"
    for wrong in ("postgresql:/ann:s3cret@host/db", "postgresql:ann:s3cret@host/db", "ann:s3cret@host/db"):
        assert "s3cret" not in without_password(wrong)
