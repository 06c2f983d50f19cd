"""Where settings come from: files, the secrets directory, the environment. Each gives sections of raw values."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, NestedSecretsSettingsSource, SecretsSettingsSource
from pydantic_settings import SettingsError as Unreadable

from rota.domain.errors import Invalid
from rota.settings.place import PREFIX, SPLIT

LARGEST = 1 << 20


def document(path: Path) -> dict[str, Any]:
    """What a file says. Raises `Invalid`, which never shows a value."""
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise Invalid("config", f"{path} is neither TOML nor YAML; its name should end in .toml, .yaml or .yml")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise Invalid(str(path), f"is over the limit of {LARGEST} bytes; settings are small")
        text = data.decode()
        found = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except Invalid:
        raise
    except OSError as error:
        raise Invalid("config", f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Invalid(str(path), f"byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise Invalid(str(path), f"is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise Invalid(str(path), f"cannot be accepted: {error}") from None
    if not isinstance(found or {}, dict):
        raise Invalid(str(path), "should hold sections, such as `worker:`, with keys and values in them")
    return found or {}


def _yaml(text: str) -> Any:
    """What YAML says. Raises `ValueError`."""
    from rota.settings.plain_yaml import loaded

    return loaded(text)


def from_environment(kind: type[BaseSettings]) -> dict[str, Any]:
    """What `ROTA_SECTION__KEY` variables say, ROTA_STORE among them."""
    said = dict(EnvSettingsSource(kind)())
    if (url := os.environ.get("ROTA_STORE")) and isinstance(said.setdefault("database", {}), dict):
        said["database"].setdefault("url", url)
    return _with_strangers(said, os.environ)


def from_secrets(kind: type[BaseSettings]) -> dict[str, Any]:
    """What the files in ROTA_SECRETS_DIR say, each named as its variable would be. Raises `Invalid`."""
    folder = os.environ.get("ROTA_SECRETS_DIR")
    if not folder:
        return {}
    try:
        source = NestedSecretsSettingsSource(
            SecretsSettingsSource(kind), secrets_dir=folder, secrets_dir_missing="error"
        )
        return _with_strangers(dict(source()), source.env_vars)
    except (Unreadable, UnicodeDecodeError, OSError) as error:
        what = "a file is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Invalid("ROTA_SECRETS_DIR", f"{what}; put one secret into each file") from None


def _with_strangers(said: dict[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """With the sections that nobody knows, which the library passes over, so that they are refused by name."""
    for name in names:
        section, split, key = name.upper().removeprefix(PREFIX).lower().partition(SPLIT)
        if name.upper().startswith(PREFIX) and split and isinstance(said.setdefault(section, {}), dict):
            said[section].setdefault(key, None)
    return said
