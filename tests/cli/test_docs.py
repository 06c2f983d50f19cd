import re
import shlex

import pytest

from tests.architecture.survey import ROOT
from tests.cli.test_main import ALL

PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_command_is_mentioned():
    commands = {" ".join(("rota", *path)) for path in ALL}
    assert [one for one in sorted(commands) if not re.search(rf"\b{one}\b", PAGE)] == []


@pytest.mark.parametrize("command", [("up",), ("scheduler",), ("worker",), ("api",)])
def test_every_option_of_the_roles_is_described(command):
    options = {one.opts[0] for one in ALL[command].params} - {"--help"}
    assert [one for one in sorted(options) if f"`{one}`" not in PAGE] == []


def test_every_example_runs(start, rota):
    start("up", "--shell").until("stop:")
    lines = [line for block in BLOCKS for line in block.splitlines()]
    assert len(lines) > 30
    for line in lines:
        mark, name, *args = shlex.split(line)
        assert (mark, name) == ("$", "rota")
        if "RUN" in args:
            newest = rota.json("runs", "list", "--limit", "1")[0]["id"]
            args[args.index("RUN")] = newest
            if "retry" in args:
                rota("runs", "logs", newest, "--follow")
        answer = rota(*args)
        assert answer.code == 0, (line, answer)
        assert not answer.err.startswith("error")
