"""What every option of a declaration goes through: does it exist, and is its value one that it can have."""

import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from rota.domain.errors import Invalid
from rota.domain.names import nearest

E = TypeVar("E", bound=StrEnum)


def module_name(name: str) -> str:
    """A module's name as others import it: a program started as `python shop.py` is `shop`, not `__main__`.

    Nor is it `__mp_main__`, which children that `multiprocessing` spawns call it.
    """
    if name not in ("__main__", "__mp_main__"):
        return name
    main = sys.modules[name]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else "main"


def check_options(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `Invalid` for an option that does not exist, and says which was probably meant."""
    known = tuple(known)
    for name in given:
        if name not in known:
            raise Invalid(name, f"there is no such option{nearest(name, known)}")


def choice(kind: type[E]) -> Callable[[Any, str], E]:
    """A converter (value, field) that accepts a member of `kind` or its text; it raises `Invalid` for others."""

    def convert(value: Any, field: str) -> E:
        try:
            return kind(value)
        except ValueError:
            raise Invalid(field, f"{value!r:.60} is none of {', '.join(kind)}") from None

    return convert


def check_executor(executor: object, *members: str) -> None:
    """Raises `Invalid` that names the first of these members that an object lacks."""
    for member in members:
        if not hasattr(executor, member):
            raise Invalid(member, f"is missing; {executor!r:.60} is no executor without it")
