import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer import testing

from rota.cli.main import app
from tests.cli.processes import Process
from tests.identity.conftest import cheap

__all__ = ["cheap"]

# A process builds the tree of commands once, which takes longer than most commands; so do these tests.
vars(testing)["_get_command"] = cache(vars(testing)["_get_command"])


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs commands in this process, in the folder of the test."""

    def __call__(self, *args: str, given: str = "") -> Answer:
        result = testing.CliRunner().invoke(app, args, input=given, prog_name="rota")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def line(self, *args: str) -> str:
        """The one line that a command prints which must succeed."""
        answer = self(*args)
        assert (answer.code, answer.out.count("\n")) == (0, 1), answer
        return answer.out.rstrip("\n")

    def json(self, *args: str) -> Any:
        """What a command that must succeed prints with --json; it may warn of nobody being there to run things."""
        answer = self(*args, "--json")
        assert answer.code == 0, answer
        assert all(line.startswith("warning: ") for line in answer.err.splitlines()), answer
        return answer.json

    def refused(self, *args: str) -> str:
        """The one line that a command says which must end with exit code 2."""
        answer = self(*args)
        assert (answer.code, answer.out) == (2, ""), answer
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        return answer.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def rota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ROTA_STORE", "ROTA_DEBUG", "ROTA_SERVER", "ROTA_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


@pytest.fixture
def here(rota: Terminal) -> Terminal:
    """A terminal in a folder with a store."""
    assert rota("migrate").code == 0
    return rota


@pytest.fixture
def start(rota: Terminal, tmp_path: Path) -> Iterator[Any]:
    """Starts commands as processes of their own, in the folder of the test; none survives it."""
    running: list[Process] = []

    def begin(*args: str, program: Sequence[str] = ("-m", "rota"), **env: str) -> Process:
        running.append(Process(tmp_path, args, env, program))
        return running[-1]

    yield begin
    for one in running:
        one.end()
