import sys
from graphlib import CycleError, TopologicalSorter

from tests.architecture.survey import Source, complaints, imports, sample, sources

ADAPTERS = ("rota.stores", "rota.transports", "rota.executors", "rota.identity")
"""What stands behind a port. `rota.observe` does not: nothing else is ever plugged in its place."""


def graph(among: list[Source]) -> dict[str, set[str]]:
    """Who imports whom. Importing a.b names a.b alone, although Python then loads a as well."""
    modules = {source.module for source in among}
    edges: dict[str, set[str]] = {}
    for source in among:
        targets = {found.dotted if found.dotted in modules else found.target for found in imports(source)}
        edges[source.module] = (targets & modules) - {source.module}
    return edges


def cycle(among: list[Source]) -> list[str]:
    try:
        TopologicalSorter(graph(among)).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def foreign_to_the_domain(source: Source) -> list[str]:
    if not source.within("rota.domain"):
        return []
    return [
        source.at(found.line, f"the domain imports {found.dotted}")
        for found in imports(source)
        if not f"{found.dotted}.".startswith("rota.domain.")
        and found.target.partition(".")[0] not in sys.stdlib_module_names
    ]


def names_both_sides(source: Source) -> list[str]:
    """Only wiring.py may bring the engine and the adapters together; testing/ is no part of the house."""
    if source.within("rota.wiring", "rota.testing"):
        return []
    targets = [f"{found.dotted}." for found in imports(source)]
    engine = any(target.startswith("rota.engine.") for target in targets)
    adapter = any(target.startswith(tuple(f"{name}." for name in ADAPTERS)) for target in targets)
    return [source.at(1, "names both the engine and an adapter")] if engine and adapter else []


def test_no_module_imports_itself_in_a_circle():
    assert cycle(sources("src")) == []


def test_the_domain_imports_the_standard_library_only():
    assert complaints(foreign_to_the_domain, sources("src")) == []


def test_only_wiring_names_both_the_engine_and_the_adapters():
    assert complaints(names_both_sides, sources("src")) == []


def test_a_circle_is_noticed_even_if_half_of_it_is_for_types_or_inside_a_function():
    one = sample(
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from rota.two import Two
        """,
        "src/rota/one.py",
    )
    two = sample("def late():\n    from rota import one", "src/rota/two.py")
    assert cycle([one, two])
    assert cycle([one, sample("import json", "src/rota/two.py")]) == []


def test_a_foreign_import_in_the_domain_is_noticed():
    assert foreign_to_the_domain(sample("import msgspec"))
    assert foreign_to_the_domain(sample("from rota import ports"))
    assert foreign_to_the_domain(sample("from rota.ports.store import Store"))
    assert foreign_to_the_domain(sample("import json\nfrom rota.domain import run")) == []


def test_naming_both_sides_is_noticed():
    both = "from rota.engine.submit import submit\nfrom rota.stores import open_store"
    assert names_both_sides(sample(both, "src/rota/embed.py"))
    assert names_both_sides(sample(both, "src/rota/wiring.py")) == []
