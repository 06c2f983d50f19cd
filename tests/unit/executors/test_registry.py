import sys
from subprocess import run

import pytest

from rota.domain.errors import Invalid
from rota.executors import by_kind
from rota.executors.commands import ShellExecutor
from rota.executors.outgoing import Outgoing
from rota.executors.python import PythonExecutor


def test_executors_are_found_by_kind():
    python, grpc = PythonExecutor({}), Outgoing("grpc")
    assert by_kind([python, grpc]) == {"python": python, "grpc": grpc}


def test_two_of_a_kind_are_refused():
    with pytest.raises(Invalid, match="'shell'"):
        by_kind([ShellExecutor(), ShellExecutor()])


def test_heavy_libraries_are_loaded_on_first_use_only():
    code = "import sys, rota.executors.outgoing; print({'aiohttp', 'grpc', 'yarl'} & sys.modules.keys())"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
