import ast
import importlib

from tests.architecture.survey import Source, complaints, sample, sources


def rank(name: str) -> tuple[int, str]:
    """Constants first, then classes, then the rest: the order that the linter keeps as well."""
    if len(name) > 1 and name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name


def listed(source: Source) -> list[str] | None:
    """The names in `__all__`, or None without one."""
    for node in source.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(value, ast.expr):
            names: list[str] = list(ast.literal_eval(value))
            return names
    return None


def unsorted_names(source: Source) -> list[str]:
    names = listed(source) or []
    if names == sorted(set(names), key=rank):
        return []
    return [source.at(1, f"__all__ should be {sorted(set(names), key=rank)}")]


def test_every_list_of_public_names_is_sorted():
    assert complaints(unsorted_names, sources("src")) == []


def test_rota_lists_its_public_names_and_has_them():
    rota = importlib.import_module("rota")
    (source,) = (source for source in sources("src") if source.module == "rota")
    assert listed(source) is not None
    assert [name for name in rota.__all__ if not hasattr(rota, name)] == []


def test_disorder_is_noticed():
    assert unsorted_names(sample("__all__ = ['b', 'a']"))
    assert unsorted_names(sample("__all__ = ['a', 'a']"))
    assert unsorted_names(sample("__all__: list[str] = ['run', 'Run']"))
    assert unsorted_names(sample("__all__ = ['LIMIT', 'Run', 'submit']")) == []
    assert unsorted_names(sample("x = 1")) == []
