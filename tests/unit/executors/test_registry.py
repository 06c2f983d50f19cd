import sys
from subprocess import run

import pytest

from rota.domain.errors import Invalid
from rota.executors import by_kind, kind_of
from rota.executors.custom import FunctionExecutor
from rota.executors.grpc import GrpcExecutor
from rota.executors.http import HttpExecutor
from rota.executors.python import PythonExecutor
from rota.executors.shell import ShellExecutor


def test_executors_are_found_by_kind_and_alias():
    python, grpc = PythonExecutor({}), GrpcExecutor()
    assert by_kind([python, grpc]) == {"python": python, "local": python, "grpc": grpc, "rpc": grpc}
    assert set(by_kind([ShellExecutor(), HttpExecutor()])) == {"shell", "http"}
    assert (kind_of("rpc"), kind_of("local"), kind_of("shell")) == ("grpc", "python", "shell")


def test_an_executors_own_word_goes_before_an_alias():
    mine = FunctionExecutor("rpc", print)
    assert by_kind([mine, GrpcExecutor()])["rpc"] is mine


def test_two_of_a_kind_are_refused():
    with pytest.raises(Invalid, match="'shell'"):
        by_kind([ShellExecutor(), ShellExecutor()])


def test_heavy_libraries_are_loaded_on_first_use_only():
    code = (
        "import sys, rota.executors.http, rota.executors.grpc; print({'aiohttp', 'grpc', 'yarl'} & sys.modules.keys())"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
