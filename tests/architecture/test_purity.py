import ast

from tests.architecture.survey import Source, complaints, functions, imports, references, sample, sources

# The domain gets instants, ids and random sources as arguments, so that a test can decide them.
CLOCKS_AND_DICE = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "os.urandom",
    "random.SystemRandom",
    "uuid.uuid1",
    "uuid.uuid4",
}
WORLDLY_MODULES = {
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}


def is_clock_or_dice(name: str) -> bool:
    # random.random() and its like draw from a hidden source; random.Random is the type of a given one.
    hidden_source = name.startswith("random.") and not name.startswith("random.Random")
    return name in CLOCKS_AND_DICE or hidden_source


def impurities(source: Source) -> list[str]:
    if not source.within("rota.domain"):
        return []
    found = [source.at(line, f"the domain reads {name}") for line, name in references(source) if is_clock_or_dice(name)]
    found += [
        source.at(one.line, f"the domain imports {one.target}")
        for one in imports(source)
        if one.target.partition(".")[0] in WORLDLY_MODULES
    ]
    found += [
        source.at(function.lineno, "the domain awaits nothing")
        for function in functions(source)
        if isinstance(function, ast.AsyncFunctionDef)
    ]
    found += [
        source.at(node.lineno, f"the domain calls {node.func.id}")
        for node in source.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    return found


def test_the_domain_is_pure():
    assert complaints(impurities, sources("src")) == []


def test_reading_a_clock_or_throwing_dice_is_noticed():
    assert impurities(sample("import time\nnow = time.time()"))
    assert impurities(sample("from time import monotonic as tick\nnow = tick()"))
    assert impurities(sample("from datetime import UTC, datetime\nnow = datetime.now(UTC)"))
    assert impurities(sample("import datetime as dt\ntoday = dt.date.today()"))
    assert impurities(sample("import random\nx = random.random()"))
    assert impurities(sample("from random import choice\nx = choice([1])"))
    assert impurities(sample("from uuid import uuid4\nx = uuid4()"))
    assert impurities(sample("import os\nx = os.urandom(8)"))
    assert impurities(sample("async def wait(): ..."))
    assert impurities(sample("text = open('file').read()"))


def test_given_instants_ids_and_sources_are_fine():
    fine = """
        from datetime import datetime
        from random import Random
        from uuid import UUID

        def jitter(source: Random) -> float:
            return source.random()

        def parse(text: str) -> tuple[UUID, datetime]:
            return UUID(text), datetime.fromisoformat(text)
        """
    assert impurities(sample(fine)) == []
    assert impurities(sample("import time\nnow = time.time()", "src/rota/engine/sample.py")) == []
