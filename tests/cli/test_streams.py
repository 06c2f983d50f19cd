import os
import pty
import subprocess
import sys

from tests.cli.work import HOSTILE

CLOSED = """
import os, sys
os.closerange(0, 3)
os.execv(sys.executable, [sys.executable, "-m", "rota", "worker"])
"""


def test_it_works_where_its_standard_streams_are_closed(start, here):
    process = start(program=("-c", CLOSED))
    while not (found := here.json("workers", "list")):
        assert not process.has_ended_within(0)
    here("workers", "drain", found[0]["session"])
    assert process.ended()[0] == 0


def test_on_a_terminal_tables_are_as_wide_as_it(here, tmp_path):
    here("queues", "pause", "mail", "--why", f"{'long ' * 20}{HOSTILE}")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "rota", "queues", "list"]
    env = os.environ | {"COLUMNS": "60", "TERM": "xterm"}
    subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, check=True, cwd=tmp_path, env=env)
    os.close(slave)
    out = b""
    while chunk := _read(master):
        out += chunk
    os.close(master)
    lines = out.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    assert "\x1b[31m" not in out.decode()
    assert "[bold]" in "".join("".join(lines).split())


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:
        return b""
