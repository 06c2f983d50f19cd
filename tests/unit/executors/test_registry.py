import sys
from subprocess import run

import pytest

from rota.domain.errors import Invalid
from rota.executors import by_kind
from rota.executors.custom import FunctionExecutor
from rota.executors.outgoing import Outgoing
from rota.executors.python import PythonExecutor
from rota.executors.shell import ShellExecutor


def test_executors_are_found_by_kind_and_alias():
    python, grpc = PythonExecutor({}), Outgoing("grpc")
    assert by_kind([python, grpc]) == {"python": python, "local": python, "grpc": grpc, "rpc": grpc}
    assert set(by_kind([ShellExecutor(), Outgoing("http")])) == {"shell", "http"}


def test_an_executors_own_word_goes_before_an_alias():
    mine = FunctionExecutor("rpc", print)
    assert by_kind([mine, Outgoing("grpc")])["rpc"] is mine


def test_two_of_a_kind_are_refused():
    with pytest.raises(Invalid, match="'shell'"):
        by_kind([ShellExecutor(), ShellExecutor()])


def test_heavy_libraries_are_loaded_on_first_use_only():
    code = "import sys, rota.executors.outgoing; print({'aiohttp', 'grpc', 'yarl'} & sys.modules.keys())"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
