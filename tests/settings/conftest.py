import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from rota.settings.load import Loaded, SettingsError, load
from tests.cli.conftest import rota, start

__all__ = ["rota", "start"]

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, and an environment that says nothing about Rota."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ROTA_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    logging.getLogger("rota").setLevel(logging.NOTSET)


@pytest.fixture
def write(folder: Path) -> Write:
    def written(text: str, name: str = "rota.toml") -> Path:
        (folder / name).write_text(dedent(text))
        return Path(name)

    return written


@pytest.fixture
def toml(write: Write) -> Callable[..., Loaded]:
    """Settings of a TOML text."""

    def loaded(text: str, environment: str = "", **given: Any) -> Loaded:
        return load(write(text, "rota.toml"), environment, given)

    return loaded


@pytest.fixture
def problems(write: Write) -> Callable[..., list[str]]:
    """What is wrong with a text."""

    def found(text: str, name: str = "rota.toml", environment: str = "") -> list[str]:
        with pytest.raises(SettingsError) as refused:
            load(write(text, name), environment)
        return refused.value.problems

    return found
