"""Where settings come from: files, the secrets directory, the environment. Each gives sections of raw values."""

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rota.domain.errors import Invalid
from rota.settings.place import PREFIX, SPLIT

LARGEST = 1 << 20


def document(path: Path) -> dict[str, Any]:
    """What a file says. Raises `Invalid`, which never shows a value."""
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise Invalid("config", f"{path} is neither TOML nor YAML; its name should end in .toml, .yaml or .yml")
    try:
        text = _text(path)
        if path.suffix == ".toml":
            found: Any = tomllib.loads(text)
        else:
            from rota.settings.plain_yaml import loaded

            found = loaded(text)
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


def from_environment(known: Collection[str]) -> dict[str, Any]:
    """What `ROTA_SECTION__KEY` variables say, ROTA_STORE among them. `known`: the sections that there are.

    Raises `Invalid` where two of them name two stores: some programs would go to the one, some to the other.
    """
    said = _sections(os.environ, known)
    place = said.setdefault("database", {}) if (url := os.environ.get("ROTA_STORE")) else None
    if isinstance(place, dict) and place.setdefault("url", url) != url:
        raise Invalid("ROTA_STORE", "and ROTA_DATABASE__URL name two stores; set one of them")
    return said


def from_secrets(known: Collection[str]) -> dict[str, Any]:
    """What the files in ROTA_SECRETS_DIR say, each named as its variable would be. Raises `Invalid`."""
    if not (folder := os.environ.get("ROTA_SECRETS_DIR")):
        return {}
    try:
        ours = [
            one for one in Path(folder).expanduser().iterdir() if one.name.upper().startswith(PREFIX) and one.is_file()
        ]
        return _sections({one.name: _text(one).replace("\r\n", "\n").strip() for one in ours}, known)
    except (UnicodeDecodeError, OSError) as error:
        what = "a file is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Invalid("ROTA_SECRETS_DIR", f"{what}; put one secret into each file") from None


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Invalid(str(path), f"is over the limit of {LARGEST} bytes; settings are small")
    return data.decode()


def _sections(values: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """What is said under names as variables have them, by section and key; known sections first."""
    said: dict[str, Any] = {}
    for name, value in values.items():
        section, split, key = name.upper().removeprefix(PREFIX).lower().partition(SPLIT)
        if not name.upper().startswith(PREFIX):
            continue
        if not split and section in known:
            said[section] = value
        elif split and isinstance(said.setdefault(section, {}), dict):
            said[section][key] = value
    return {section: said[section] for section in (*known, *said) if section in said}
