"""Load: every source is asked, the strongest wins for each key, and the whole is checked at once."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rota.domain.errors import Invalid
from rota.domain.names import nearest
from rota.settings.fields import SECONDS, is_length
from rota.settings.place import USUAL, usual_file
from rota.settings.sources import document, from_environment, from_secrets
from rota.settings.tree import Settings
from rota.stores import connect
from rota.wiring import HERE

ENVIRONMENTS = "environments"
SECTIONS: Mapping[str, Mapping[str, FieldInfo]] = {name: type(part).model_fields for name, part in Settings()}
NOT_YET = ("dispatcher.max_workers",)
"""Settings of what this version has not got."""
VARIABLE = re.compile(r"\$(\$(?=\{)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<other>[^}]*))?\}|\{)")
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}
WANTED = {
    "int": "write a whole number",
    "bool": "write true or false",
    "float": "write a number",
    "string": "write text in quotes",
    "tuple": 'write a list such as ["a", "b"]',
}


class SettingsError(Invalid):
    """Settings that cannot be accepted; `problems` says all that is wrong, one line each, and no text of a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("", "; ".join(problems))
        self.problems = problems


class Layer(NamedTuple):
    """A source, weaker than those after it."""

    name: str
    said: Mapping[str, Any]
    file: bool = False


class Said(NamedTuple):
    """A raw value, and where from."""

    value: Any
    layer: Layer


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where each that was set comes from (by `section.key`), and how to load them again."""

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None
    environment: str
    given: Mapping[str, Any] = field(repr=False)

    @property
    def _origin(self) -> tuple[str, str]:
        """Where the store is named, and by which setting."""
        key = "database.url" if "database.url" in self.origins else "redis.addr"
        return self.origins.get(key, ""), key

    @property
    def lead(self) -> str | None:
        """What leads other programs here to the same settings, if these name the store; empty: nothing is needed."""
        origin, _ = self._origin
        if origin in (*USUAL, "environment"):
            return ""
        if not self.path or not origin.startswith(str(self.path)):
            return None
        return f"export ROTA_CONFIG={quote(str(self.path))}" + (
            f" ROTA_ENV={quote(self.environment)}" if self.environment else ""
        )

    @property
    def unused(self) -> list[str]:
        """What was said, and is for what this version has not got."""
        elsewhere = (*NOT_YET, "redis.") if "database.url" in self.origins else NOT_YET
        return [key for key in self.origins if key.startswith(elsewhere)]

    def store(self) -> str:
        """URL of the store; empty: not said. Raises `Invalid`, which says where it stands, for one that names none."""
        url = self.settings.store
        try:
            connect(url or HERE)
        except Invalid as error:
            raise Invalid(": ".join(self._origin), error.message) from None
        return url

    def again(self) -> "Loaded":
        """The same sources, as they are now. Raises `SettingsError`."""
        return load(self.path, self.environment, self.given)


def load(
    config: Path | Mapping[str, Any] | None = None, environment: str = "", given: Mapping[str, Any] | None = None
) -> Loaded:
    """Read all sources: `given` (values by `section.key`) > environment > secrets directory > file > defaults.

    `config`: the file, or what would stand in it; without one the file that ROTA_CONFIG names, or of the current
    folder. Raises `SettingsError`.
    """
    environment = environment or os.environ.get("ROTA_ENV", "")
    problems: list[str] = []
    try:
        path = None if isinstance(config, Mapping) else config or usual_file()
        said_here = config if isinstance(config, Mapping) else document(path) if path else {}
        layers = [*_of_file(path, said_here, environment), Layer("secrets directory", from_secrets(SECTIONS))]
        layers += [Layer("environment", from_environment(SECTIONS)), Layer("command line", _nested(given or {}))]
    except Invalid as error:
        raise SettingsError([str(error)]) from None
    said = {key: one for layer in layers for key, one in _flat(layer, problems)}
    values = {key: value for key, one in said.items() if (value := _meant(key, one, problems)) is not _BAD}
    settings = _checked(values, said, problems)
    if problems or settings is None:
        raise SettingsError(problems)
    return Loaded(settings, {key: one.layer.name for key, one in said.items()}, path, environment, given or {})


def _of_file(path: Path | None, said: Mapping[str, Any], environment: str) -> Iterator[Layer]:
    """The file, and over it what it says of the environment. Raises `Invalid`."""
    found = dict(said)
    overlays = found.pop(ENVIRONMENTS, {})
    yield Layer(str(path or "config"), found, file=True)
    if environment:
        name = f"[{ENVIRONMENTS}.{environment}]"
        if not isinstance(overlays, dict) or environment not in overlays:
            where = f"{path} has no" if path else "there is no file with"
            raise Invalid("environment", f"{where} {name}{nearest(environment, overlays)}")
        yield Layer(f"{path} {name}", overlays[environment], file=True)


def _flat(layer: Layer, problems: list[str]) -> Iterator[tuple[str, Said]]:
    """The known settings of a layer by `section.key`; what is not known, or not there as it should be, is a problem."""
    if not isinstance(layer.said, dict):
        problems.append(f"{layer.name}: {_kind(layer.said)} is given; write sections with keys and values in them")
        return
    for section, keys in layer.said.items():
        known = SECTIONS.get(str(section))
        if known is None:
            problems.append(f"{layer.name}: there is no section {section!s:.60}{nearest(str(section), SECTIONS)}")
            continue
        if not isinstance(keys, dict):
            problems.append(f"{layer.name}: {section} is {_kind(keys)}; it is a section, with keys and values in it")
            continue
        names = {name: name for name in known} | {name + SECONDS: name for name in known if is_length(known[name])}
        seen: set[str] = set()
        for key, value in keys.items():
            name = names.get(str(key))
            if name is None:
                problems.append(f"{layer.name}: there is no setting {section}.{key!s:.60}{nearest(str(key), known)}")
            elif name in seen:
                problems.append(f"{layer.name}: {section}.{name} is given twice, once with {SECONDS}; keep one of them")
            else:
                seen.add(name)
                yield f"{section}.{name}", Said(value, layer)


_BAD = object()


def _meant(key: str, said: Said, problems: list[str]) -> Any:
    """A value with its variables put in and its secrets decrypted."""
    if isinstance(said.value, list):
        found = [_meant(key, Said(one, said.layer), problems) for one in said.value]
        return _BAD if _BAD in found else found
    if not isinstance(said.value, str):
        return said.value
    try:
        text = VARIABLE.sub(_variable, said.value) if said.layer.file else said.value
        if not text.startswith("enc:"):
            return text
        from rota.settings.secrets import decrypt  # 9 MB of cryptography that most processes never need

        return decrypt(text)
    except Invalid as error:
        problems.append(f"{said.layer.name}: {key} {error.message}")
        return _BAD


def _variable(found: re.Match[str]) -> str:
    if found[1] == "$":
        return "$"
    if (name := found["name"]) is None:
        raise Invalid("", "has a ${ that is no variable; write ${NAME} or ${NAME:-default}, and $${ for the signs")
    value = os.environ.get(name, found["other"])
    if value is None:
        raise Invalid("", f"needs the environment variable {name}; set it, or write ${{{name}:-default}}")
    return value


def _checked(values: Mapping[str, Any], said: Mapping[str, Said], problems: list[str]) -> Settings | None:
    try:
        return Settings.model_validate(_nested(values))
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            key = ".".join(map(str, fault["loc"][:2]))
            sources = (one.layer.name for name, one in said.items() if f"{name}.".startswith(f"{key}."))
            where = ", ".join(dict.fromkeys(sources))
            kind, value = fault["type"], fault["input"]
            misread = kind.endswith(("_type", "_parsing", "_from_float"))
            wanted = WANTED.get(kind.partition("_")[0]) if misread else None
            # Text is not shown: it may be a secret that got to the wrong place.
            shown = _kind(value) if wanted else f"{value!r:.20}" if isinstance(value, int | float) else "wrong"
            remedy = wanted or re.sub(r"^\w+ should", "it should", fault["msg"].removeprefix("Value error, "))
            problems.append(f"{where}: {key}{f' is {shown};' if '.' in key else ':'} {remedy}")
    return None


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`section.key` as sections."""
    made: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        made.setdefault(section, {})[name] = value
    return made


def _kind(value: object) -> str:
    """What a value is, without it."""
    if isinstance(value, NoneType):
        return "empty"
    return next((name for kind, name in KINDS.items() if isinstance(value, kind)), f"a {type(value).__name__}")
