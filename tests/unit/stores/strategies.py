"""Records with every value that their fields allow, made from the types of the fields."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from rota.domain.retry import Retry
from rota.domain.run import Run
from rota.domain.schedule import Policy
from rota.domain.task import Clocks, OnLost
from rota.domain.triggers import AnyOf, Cron, Interval, Once, Trigger

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
numbers = st.integers(-(1 << 63), (1 << 63) - 1)
tokens = st.integers(0, (1 << 64) - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
triggers = st.sampled_from(
    [Interval(1_000), Once(5), Cron("0 2 * * *", "Europe/Berlin"), AnyOf([Once(1_000), Once(2_000)])]
)
plain = st.recursive(
    st.none() | st.booleans() | numbers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("$secret"), inner, max_size=3),
    max_leaves=8,
)
domain = st.sampled_from([Retry(1, only_on=("E",)), Clocks(queue_ms=5), Policy(max_runs=2), OnLost.FAIL, Once(7)])
values = st.recursive(
    plain | domain | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=2).map(tuple) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)


SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts, int: numbers, float: floats, bytes: st.binary(max_size=20), bool: st.booleans(), NoneType: st.none(),
    Trigger: triggers,
}  # fmt: skip


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    if get_origin(hint) is UnionType:
        return st.one_of(*map(of, get_args(hint)))
    if get_origin(hint) is tuple:
        return st.lists(of(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        return st.dictionaries(texts, values, max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    return record(hint)


def record(kind: type[Any], **special: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Records of a kind."""
    hints = get_type_hints(kind)
    names = [one.name for one in fields(kind)] if is_dataclass(kind) else list(kind._fields)
    return st.builds(
        kind, **{name: special.get(name, tokens if name == "token" else of(hints[name])) for name in names}
    )


def run() -> st.SearchStrategy[Run]:
    """Runs, of which many fields may be at their defaults."""
    return st.tuples(record(Run), st.sets(st.sampled_from(list(Run._field_defaults)))).map(
        lambda two: two[0]._replace(**{name: Run._field_defaults[name] for name in two[1]})
    )
