import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer import Typer
from typer.main import get_command

from rota.cli import main as entry
from rota.domain.errors import Stale


def commands(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands below a node, each with its words."""
    if not hasattr(node, "commands"):
        yield path, node
        return
    for name, child in node.commands.items():
        yield from commands(child, (*path, name))


ALL = dict(commands(get_command(entry.app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(rota, path):
    answer = rota(*path, "--help")
    assert answer.code == 0
    assert ALL[path].help
    for option in ALL[path].params:
        assert option.help, option.name


def test_help_shows_what_stands_in_brackets(rota):
    assert "[environments.…]" in rota("worker", "--help").out


def test_without_a_command_it_prints_its_help(rota):
    answer = rota()
    assert answer.code == 0
    assert "schedules" in answer.out


def test_it_tells_its_version(rota):
    assert rota("--version").out.startswith("rota 0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("dance",), "No such command 'dance'"),
        (("tasks",), "Missing command; see `rota tasks --help`"),
        (("tasks", "list", "--colour"), "No such option: --colour"),
        (("tasks", "show"), "Missing argument 'TASK'; write `rota tasks show TASK`; see `rota tasks show --help`"),
        (("schedules", "create"), "Missing argument 'TASK'; write `rota schedules create TASK WHEN`; see"),
        (("schedules", "create", "a"), "Missing argument 'WHEN'; write `rota schedules create TASK WHEN`; see"),
        (("tasks", "list", "--limit", "many"), "--limit"),
        (("tasks", "list", "--limit", "0"), "--limit"),
        (("runs", "list", "--state", "happy"), "--state"),
        (("schedules", "list", "--task", "b\udcff"), "'b\\udcff' is no text: it is not in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(here, args, said):
    assert said in here.refused(*args)


def test_an_error_in_the_house_is_one_line_and_trouble(here, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError("by\n\x1bnothing")

    monkeypatch.setattr("rota.api.stats.Stats.of", broken)
    answer = here("stats")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "error: ZeroDivisionError: by \\x1bnothing; set ROTA_DEBUG=1 to see where\n"


def test_debugging_shows_where_an_error_came_from(here, monkeypatch):
    monkeypatch.setenv("ROTA_DEBUG", "1")
    with pytest.raises(LookupError):
        here("tasks", "show", "nobody")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (Stale("late"), 1), (OSError(28, "No space left"), 1)]
)
def test_exit_codes(error, code):
    app = Typer(cls=entry.Commands)

    @app.command()
    def one() -> None:
        raise error

    @app.command()
    def other() -> None:
        """Two commands make a group."""

    with pytest.raises(SystemExit) as exit_:
        app(["one"])
    assert exit_.value.code == code


def test_an_error_is_never_long(here):
    assert len(here.refused("tasks", "show", "x" * 1_000_000)) < 300
    assert len(here.refused("tasks", "list", "--limit", "x" * 1_000_000)) <= 1_100


def test_help_loads_nothing_heavy():
    heavy = ("sqlalchemy", "grpc", "aiohttp", "fastapi", "httpx", "jwt")
    code = f"import sys, rota.cli.main; print([one for one in {heavy} if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_a_reader_that_goes_away_is_no_error(here):
    command = f"{sys.executable} -m rota preview @hourly --count 1000 | head -1"
    found = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert found.stderr == b""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_what_nobody_can_read_is_no_error(rota, closed):
    """As from a service that closes its output."""
    command = f"{sys.executable} -m rota preview @hourly {closed}"
    found = subprocess.run(["sh", "-c", command], check=False, capture_output=True)
    assert (found.returncode, found.stderr) == (0, b"")
