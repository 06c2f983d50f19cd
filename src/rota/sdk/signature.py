"""Signature: how a function's arguments and result travel as JSON.

On the wire arguments are one JSON object of named values, as people would type it: `{"a": 1}`. What `*args` takes is
under `"*"`. Defaults are not sent: they are the worker's code to say. No arguments are no bytes.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Never, NoReturn, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from rota.domain.errors import Invalid, TooLarge
from rota.domain.records import VALUE_LIMIT
from rota.ports.executor import Context

if TYPE_CHECKING:
    from rota.sdk.conversion import Arguments, Result

REST = "*"
"""The member of the wire form that holds what `*args` takes."""
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
COMMON = (
    Parameter.empty, Any, None, NoneType, bool, int, float, str, bytes, date, datetime, timedelta, Decimal, UUID, Path,
    list, dict, ...,
)  # fmt: skip
NOTHING = (Any, None, NoneType)
"""What a function may be annotated with that returns None, so that no conversion is built for it."""
CONTAINERS = (list, dict, tuple, Union, UnionType)
"""Types known to have a JSON form, so that their conversion need not be built before its first use."""


class Signature:
    """A function with the conversion of its arguments and result; fulfils `ports.executor.Handler`.

    A parameter annotated with `Context` (or `Context | None`) is no argument: the worker gives it. Raises `Invalid` at
    once for annotations that cannot be resolved or have no JSON form, and for generators.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        hints, parameters = _read(function)
        self._returns = hints.get("return", Any)
        self._ordered = tuple(one for one in parameters if one.kind in BY_POSITION)
        self._context = _context(parameters)
        self._given = tuple(one for one in parameters if one.name != self._context)
        self._positional = tuple(one.name for one in self._given if one.kind in BY_POSITION)
        self._unnameable = _unnameable(parameters, self._context)
        self._takes_rest = any(one.kind is Parameter.VAR_POSITIONAL for one in parameters)
        self._by_name = not self._takes_rest and all(one.kind is not Parameter.POSITIONAL_ONLY for one in parameters)
        self._required = frozenset(
            one.name for one in self._given if one.default is Parameter.empty and one.kind not in VARIABLE
        )
        if not all(_is_common(one.annotation) for one in self._given):
            _ = self._arguments
        if not _is_common(self._returns):
            _ = self._result

    def encode_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """JSON of a call's arguments, checked as the worker will; `b""` for none.

        Raises `Invalid` with the parameter's name, `TooLarge` over VALUE_LIMIT.
        """
        if not args and not kwargs:
            self._check_complete({})
            return b""
        values = self._bound(args, kwargs)
        data = self._arguments.encode(values)
        # Only now: who misspells a name should be told so, not that the right one is missing.
        self._check_complete(values)
        return _within_limit("arguments", data)

    def decode(self, payload: bytes, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call from their JSON. Raises `Invalid` with the parameter's name."""
        values = self.values(payload)
        if self._context:
            values[self._context] = context
        return ((), values) if self._by_name else self._placed(values)

    def values(self, payload: bytes) -> dict[str, Any]:
        """All that is given of a call's arguments, by name, from their JSON. Raises `Invalid`."""
        values = self._arguments.decode(payload) if payload else {}
        self._check_complete(values)
        if self._context and self._context in values:
            raise Invalid(self._context, self._unnameable[self._context])
        return values

    def encode(self, result: Any) -> bytes | None:
        """JSON of a result, None for None.

        Raises `Invalid` for what is not JSON or belies the annotation, `TooLarge` over the limit.
        """
        if result is None and self._returns in NOTHING:
            return None
        data = _within_limit("result", self._result.encode(result))
        return None if result is None else data

    def decode_result(self, data: bytes | None) -> Any:
        """A result from its JSON, of the type that the function is annotated to return. Raises `Invalid`.

        Where that is None the result is another executor's, which the function only stands for.
        """
        if data is None or self._returns in NOTHING:
            return json.loads(data or b"null")
        return self._result.decode(data)

    @cached_property
    def _arguments(self) -> "Arguments":
        from rota.sdk.conversion import Arguments

        return Arguments({REST if one.kind is Parameter.VAR_POSITIONAL else one.name: one for one in self._given})

    @cached_property
    def _result(self) -> "Result":
        from rota.sdk.conversion import Result

        return Result(self._returns)

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional):
            if not self._takes_rest:
                raise Invalid("arguments", f"{len(args)} by position, it takes at most {len(self._positional)}")
            values[REST] = list(args[len(self._positional) :])
        for name, value in kwargs.items():
            if name in self._unnameable:
                raise Invalid(name, self._unnameable[name])
            if name in values:
                raise Invalid(name, "given twice, by position and by name")
            values[name] = value
        return values

    def _check_complete(self, values: Mapping[str, Any]) -> None:
        if not self._required <= values.keys():
            missing = [name for name in self._positional if name in self._required - values.keys()]
            name = missing[0] if missing else min(self._required - values.keys())
            raise Invalid(name, "is missing and has no default")

    def _placed(self, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Values by position as far as the function wants it; the defaults between them are filled in."""
        args = [values.pop(one.name, one.default) for one in self._ordered]
        return (*args, *values.pop(REST, ())), values


def _read(function: Any) -> tuple[dict[str, Any], list[Parameter]]:
    if not callable(function) or inspect.isclass(function):
        raise Invalid("function", f"{function!r:.60} is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise Invalid("function", "a generator has no single result; return a list")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise Invalid("function", f"{error}; wrap it in a function of its own") from None
    hints = _hints(function)
    if hints.get("return") in (NoReturn, Never):
        hints["return"] = None
    return hints, [one.replace(annotation=_annotation(one, hints)) for one in parameters]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    inner: Any = inspect.unwrap(function.func if isinstance(function, partial) else function)
    try:
        return get_type_hints(inner if inspect.isroutine(inner) else type(inner).__call__, include_extras=True)
    except NameError as error:
        advice = "define or import it before the function, at module level and outside of `if TYPE_CHECKING`"
        raise Invalid(_unresolved(inner, str(error.name)), f"its annotation names {error.name!r}; {advice}") from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise Invalid("function", f"its annotations cannot be read: {error}") from None


def _unresolved(function: Any, word: str) -> str:
    """The parameter (or `return`) whose annotation holds a word."""
    annotations = getattr(function, "__annotations__", {})
    return next((name for name, text in annotations.items() if word in str(text)), "function")


def _annotation(parameter: Parameter, hints: Mapping[str, Any]) -> Any:
    annotation = hints.get(parameter.name, Parameter.empty)
    if parameter.default is None and annotation not in (Parameter.empty, Any, object, NoneType):
        return annotation | None
    return annotation


def _context(parameters: Iterable[Parameter]) -> str:
    names = [one.name for one in parameters if one.kind not in VARIABLE and _is_context(one.annotation)]
    if len(names) > 1:
        raise Invalid(names[1], f"{names[0]} is the context already")
    return names[0] if names else ""


def _is_context(annotation: Any) -> bool:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return any(isinstance(kind, type) and Context in kind.__mro__ for kind in kinds)


def _unnameable(parameters: Iterable[Parameter], context: str) -> dict[str, str]:
    """Names that a call may not give by name, and why."""
    only = "may be given by position only"
    names = {one.name: only for one in parameters if one.kind is Parameter.POSITIONAL_ONLY}
    names[REST] = "holds what is given by position"
    return names | ({context: "is given by the worker; leave it out"} if context else {})


def _is_common(annotation: Any) -> bool:
    if get_origin(annotation) in CONTAINERS:
        return all(_is_common(one) for one in get_args(annotation))
    return any(annotation is one for one in COMMON)


def _within_limit(field: str, data: bytes) -> bytes:
    if len(data) > VALUE_LIMIT:
        advice = "store it elsewhere and pass a reference, such as a path or key"
        raise TooLarge(field, f"{len(data)} bytes of JSON, the limit is {VALUE_LIMIT}: {advice}")
    return data
