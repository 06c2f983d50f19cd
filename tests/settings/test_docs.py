import re
import shlex
from pathlib import Path

import pytest

from rota.settings.follow import LIVE
from rota.settings.load import load
from rota.settings.tree import Settings
from tests.architecture.survey import ROOT

PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```(toml|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize(("kind", "text"), FILES, ids=range(len(FILES)))
def test_every_file_loads(write, monkeypatch, kind, text):
    monkeypatch.setenv("RABBITMQ_PASSWORD", "hidden")
    assert load(write(text, f"rota.{kind}")).origins


def test_every_command_runs(rota, write, monkeypatch):
    write(FILES[0][1])
    answer = None
    assert len(COMMANDS) > 5
    for line in COMMANDS:
        mark, name, *args = shlex.split(line.replace("echo", "rota", 1) if "|" in line else line)
        assert mark == "$"
        if name == "export":
            monkeypatch.setenv(*args[0].split("=", 1))
            continue
        given = ""
        if "|" in args:
            given, _, name, *args = args
        assert name == "rota"
        answer = rota(*args, given=given)
        assert answer.code == 0, (line, answer)
    assert answer
    assert answer.out.startswith("enc:")


def test_every_setting_has_its_row_with_its_default():
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.*?) ?\| ", PAGE, re.MULTILINE)
    said = Settings()
    assert rows == [(key, f"`{said.spoken(key)}`" if said.spoken(key) else "") for key in said.flat()]


def test_what_changes_alive_is_named():
    text = PAGE.partition("## Changes while Rota runs")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+(?:\.\w+)?)`", text))
    assert named == {key if not key.startswith("retention.") else "retention" for key in LIVE}


def test_the_page_names_variables_that_are_read():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(ROOT / "src/rota").rglob("*.py"))
    named = set(re.findall(r"`(ROTA_[A-Z_]+)`", PAGE)) - {"ROTA_"}
    assert named
    assert [name for name in sorted(named) if name not in source] == []
