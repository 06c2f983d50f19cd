"""Arguments and results to JSON and back, by their types. The one module here that knows pydantic.

An argument is accepted if it is of its parameter's type, or if it is plain JSON that stands for such a value: text
for a date, UUID, Decimal or enum, a dict for a dataclass or model, a list for a set. Text never becomes a number and a
number never text. Submitter and worker follow the same rule, so what was accepted can be read.

Fields are written by their names, whatever aliases they have, and read by both.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from inspect import Parameter
from math import isfinite
from reprlib import Repr
from types import GenericAlias
from typing import Any

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import (
    CoreConfig,
    CoreSchema,
    ErrorDetails,
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    to_json,
)
from typing_extensions import TypedDict

from rota.domain.errors import Invalid
from rota.domain.names import nearest

SUSPECT = (b"\\u0000", b"NaN", b"Infinity")
DEPTH = 100
FOREIGN = ("default", "metadata")
"""Parts of a schema that are no schemas, but anything."""
WORDED = {"invalid-json-value": "is not plain JSON; annotate the parameter with its type"}
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 60
UNSUITABLE = (PydanticUserError, PydanticUndefinedAnnotation, TypeError)
CONFIG = ConfigDict(allow_inf_nan=False, revalidate_instances="always")
WIRE = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_temporal="iso8601")
"""How values travel, whatever the config of a model says of JSON: what it writes it may not be able to read."""
FINITE = CoreConfig(ser_json_inf_nan="constants")
"""NaN stays NaN, which is refused, where a model does not say how to write it: by itself it would become null."""
CORE_CONFIG = CoreConfig(allow_inf_nan=False, **FINITE, **WIRE)


class Arguments:
    """The JSON object of a function's arguments."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        """By member of the object. Raises `Invalid` for a parameter whose type has no JSON form."""
        self._parameters = parameters
        self._validator, self._serializer = _converters(_record(parameters))

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """JSON of the values as given. Raises `Invalid` with the parameter's name."""
        try:
            self._validator.validate_python(values, strict=True, by_alias=True, by_name=True)
        except ValidationError as error:
            self._check_plain(values, error)
        data = self._written(values)
        self.decode(data)
        return data

    def decode(self, data: bytes) -> dict[str, Any]:
        """Arguments by name. Raises `Invalid` with the parameter's name, or `payload` where there is no JSON object."""
        try:
            values: dict[str, Any] = self._validator.validate_json(data, strict=True, by_alias=True, by_name=True)
        except ValidationError as error:
            raise self._refusal(error) from None
        for (member, *path), problem in _unstorable(data):
            raise Invalid(self._name(str(member)), _placed(problem, path))
        return values

    def _check_plain(self, values: Mapping[str, Any], error: ValidationError) -> None:
        """Values that are not of their type must be plain JSON that can be read as one."""
        wrong = {str(one["loc"][0]): None for one in error.errors(include_url=False)}
        plain = {member: values[member] for member in wrong}
        if not _is_plain(plain):
            raise self._refusal(error) from None
        try:
            self.decode(to_json(plain, inf_nan_mode="constants"))
        except PydanticSerializationError as unwritable:
            raise Invalid(self._name(next(iter(plain))), _unwritable(unwritable)) from None

    def _written(self, values: Mapping[str, Any]) -> bytes:
        try:
            return self._serializer.to_json(values, by_alias=False, round_trip=True, warnings=False)
        except ValueError as error:
            for member, value in values.items():
                if len(values) > 1:
                    self._written({member: value})
            raise Invalid(self._name(next(iter(values))), _unwritable(error)) from None

    def _refusal(self, error: ValidationError) -> Invalid:
        details = error.errors(include_url=False)
        for one in details:  # a misspelled name explains what else is wrong
            if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                member = str(one["loc"][0])
                return Invalid(self._name(member), f"there is no such parameter{nearest(member, self._parameters)}")
        if not details[0]["loc"]:
            return Invalid("payload", f'a JSON object such as {{"name": 1}} is wanted: {details[0]["msg"]}')
        member = str(details[0]["loc"][0])
        told = [_told(one, one["loc"][1:]) for one in details if one["loc"][0] == member]
        return Invalid(self._name(member), "; ".join(told[:3]))

    def _name(self, member: str) -> str:
        """What an error calls a member; those of a payload may be anything."""
        parameter = self._parameters.get(member)
        if parameter and parameter.kind is Parameter.VAR_POSITIONAL:
            return f"*{parameter.name}"
        return member[:60] or "payload"


class Result:
    """The JSON of a function's result."""

    def __init__(self, annotation: Any) -> None:
        """Raises `Invalid` for a type that has no JSON form."""
        self._validator, self._serializer = _converters(_schema("return", annotation))

    def encode(self, value: Any) -> bytes:
        """JSON by the annotation, which can be read by it. Raises `Invalid`."""
        try:
            data = self._serializer.to_json(value, by_alias=False, round_trip=True, warnings=False)
        except ValueError as error:
            raise Invalid("result", _unwritable(error)) from None
        for path, problem in _unstorable(data):
            raise Invalid("result", _placed(problem, path))
        try:
            self.decode(data)
        except Invalid as error:
            raise Invalid("result", f"is not what the function is annotated to return: {error.message}") from None
        return data

    def decode(self, data: bytes) -> Any:
        """The value, of the annotated type. Raises `Invalid`."""
        try:
            return self._validator.validate_json(data, by_alias=True, by_name=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise Invalid("result", _told(first, first["loc"])) from None


def _type(parameter: Parameter) -> Any:
    free = parameter.annotation in (Parameter.empty, Any, object)
    kind: Any = JsonValue if free else parameter.annotation
    return GenericAlias(list, kind) if parameter.kind is Parameter.VAR_POSITIONAL else kind


def _record(parameters: Mapping[str, Parameter]) -> CoreSchema:
    """The schema of all arguments together; which of them may be missing is the signature's to say."""
    types = {member: _type(one) for member, one in parameters.items()}
    others = [types.pop(member) for member, one in parameters.items() if one.kind is Parameter.VAR_KEYWORD]
    typed_dict: Any = TypedDict
    record = typed_dict("Arguments", types, total=False, **({"extra_items": others[0]} if others else {}))
    record.__pydantic_config__ = CONFIG if others else {**CONFIG, "extra": "forbid"}
    try:
        return _core_schema(record)
    except UNSUITABLE:
        for one in parameters.values():
            _schema(one.name, _type(one))
        raise


def _schema(field: str, annotation: Any) -> CoreSchema:
    try:
        return _core_schema(annotation)
    except PydanticSchemaGenerationError:
        advice = "use types that have one, such as int, str, datetime, UUID, a dataclass or a pydantic model"
        raise Invalid(field, f"{annotation!r:.80} has no JSON form; {advice}") from None
    except UNSUITABLE as error:
        reason = str(error).partition("\n")[0]
        raise Invalid(field, f"{annotation!r:.80} cannot be converted: {reason}") from None


def _core_schema(annotation: Any) -> CoreSchema:
    adapter = TypeAdapter(annotation)
    # One with names that are not known yet would be left unfinished, and nobody told.
    adapter.rebuild(raise_errors=True)
    if _hides(adapter.core_schema):
        raise TypeError("secrets do not travel; let the worker read it from its own environment")
    return adapter.core_schema


def _parts(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What may be or hold schemas in a schema, or in what holds schemas by the names of fields."""
    return {key: part for key, part in node.items() if key not in FOREIGN} if _is_schema(node) else node


def _is_schema(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("type"), str)


def _hides(node: Any) -> bool:
    """Whether a schema writes asterisks for something: pydantic's secrets, where nobody says how to write them."""
    if isinstance(node, dict):
        if _is_schema(node) and (function := node.get("serialization", {}).get("function")):
            return getattr(function, "__name__", "").startswith("_serialize_secret")
        return any(map(_hides, _parts(node).values()))
    return isinstance(node, list | tuple) and any(map(_hides, node))


def _converters(schema: CoreSchema) -> tuple[SchemaValidator, SchemaSerializer]:
    """Built anew through and through: those that models bring along obey their own config."""
    wired = _wired(schema)
    return (
        SchemaValidator(wired, CORE_CONFIG, _use_prebuilt=False),
        SchemaSerializer(wired, CORE_CONFIG, _use_prebuilt=False),
    )


def _wired(node: Any) -> Any:
    """A schema, or a part of one, with WIRE and FINITE in each config."""
    if type(node) in (list, tuple):  # what is more than that is a value, such as a member of an enum
        return type(node)(map(_wired, node))
    if type(node) is not dict:
        return node
    wired = node | {key: _wired(part) for key, part in _parts(node).items()}
    if _is_schema(node) and node.get("config"):
        wired["config"] = FINITE | node["config"] | WIRE
    if node.get("type") == "dataclass-field":  # what was set after the class was called arrives as well
        wired["init"] = True
    if node.get("type") == "dataclass" and not all(one.init for one in fields(node["cls"])):
        # A value has fields that nobody gives to its class.
        wired["config"] |= {"extra_fields_behavior": "ignore"}
    return wired


def _is_plain(value: Any, depth: int = DEPTH) -> bool:
    """Whether it consists of JSON's own types; a tuple stands for a list."""
    match value:
        case None | str() | int() | float():
            return True
        case list() | tuple():
            return depth > 0 and all(_is_plain(one, depth - 1) for one in value)
        case dict():
            return all(isinstance(key, str) and _is_plain(one, depth - 1) for key, one in value.items())
    return False


def _told(error: ErrorDetails, path: Sequence[int | str]) -> str:
    text = WORDED.get(error["type"], error["msg"].removeprefix("Input "))
    got = "" if error["type"] == "missing" else f"; got {SHORT.repr(error['input'])}"
    return _placed(text + got, path)


def _placed(problem: str, path: Sequence[int | str]) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step:.60}" for step in path[:8]).lstrip(".")
    return f"{where}: {problem}" if where else problem


def _unwritable(error: ValueError) -> str:
    return f"cannot be written as JSON: {str(error).removeprefix('Error serializing to JSON: ')}"


def _unstorable(data: bytes) -> Iterator[tuple[list[int | str], str]]:
    """(path, problem) of what some store or reader would refuse. A look at the bytes clears nearly everything."""
    if any(mark in data for mark in SUSPECT):
        yield from _problems(json.loads(data), [])


def _problems(value: Any, path: list[int | str]) -> Iterator[tuple[list[int | str], str]]:
    match value:
        case str() if "\0" in value:
            yield path, "text cannot hold NUL"
        case float() if not isfinite(value):
            yield path, f"{value} is not a number that JSON has"
        case list():
            for place, one in enumerate(value):
                yield from _problems(one, [*path, place])
        case dict():
            for key, one in value.items():
                yield from _problems(key, path or [key])
                yield from _problems(one, [*path, key])
