import ast
import re
from functools import cache

from tests.architecture.survey import Source, complaints, functions, imports, references, sample, sources

UNSAFE_MODULES = {"cPickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"os.popen", "os.system", "yaml.load", "yaml.unsafe_load"}
UNSAFE_BUILTINS = {"__import__", "eval", "exec"}
SLEEPS = {"anyio.sleep", "anyio.sleep_until", "asyncio.sleep", "time.sleep", "trio.sleep"}

IGNORED_TYPE = re.compile(r"#\s*type:\s*ignore")
IGNORED_TYPE_WITH_CODE_AND_REASON = re.compile(r"#\s*type:\s*ignore\[[a-z-]+(,\s*[a-z-]+)*\]\s*#\s*\w+")
PROMISE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def unsafe(source: Source) -> list[str]:
    """Code or data that would be run although someone else wrote it."""
    found = [
        source.at(one.line, f"imports {one.target}")
        for one in imports(source)
        if one.target.partition(".")[0] in UNSAFE_MODULES
    ]
    found += [source.at(line, f"uses {name}") for line, name in references(source) if name in UNSAFE_CALLS]
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id in UNSAFE_BUILTINS:
            found.append(source.at(node.lineno, f"uses {node.id}"))
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            found.append(source.at(node.value.lineno, "starts a process by way of a shell argument"))
    return found


def unexplained_ignores(source: Source) -> list[str]:
    return [
        source.at(line, "ignores a type without a code and a reason")
        for line, comment in source.comments(IGNORED_TYPE)
        if not IGNORED_TYPE_WITH_CODE_AND_REASON.search(comment)
    ]


def is_protocol(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)


def unfinished(source: Source) -> list[str]:
    """Promises in comments, and functions with a name but no body; a protocol or an overload needs none."""
    found = [source.at(line, comment) for line, comment in source.comments(PROMISE)]
    found += [
        source.at(node.lineno, "raises NotImplementedError")
        for node in source.nodes
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc)
    ]
    declared = {id(part) for node in source.nodes if is_protocol(node) for part in ast.walk(node)}
    for function in functions(source):
        overloaded = any(
            ast.unparse(decorator).endswith(("overload", "abstractmethod")) for decorator in function.decorator_list
        )
        last = ast.unparse(function.body[-1])
        if last == "..." and id(function) not in declared and not overloaded:
            found.append(source.at(function.lineno, f"{function.name} has no body"))
    return found


def holds_sample_tasks(source: Source) -> bool:
    """A tests/**/tasks_*.py: tasks that take their time, run by workers in child processes."""
    return source.path.name.startswith("tasks_")


def in_tasks(source: Source) -> set[int]:
    """Lines inside functions that are declared as tasks: nothing but a worker waits for these."""
    declared = (
        function
        for function in functions(source)
        if any(ast.unparse(decorator).startswith("app.task") for decorator in function.decorator_list)
    )
    return {line for one in declared for line in range(one.lineno, (one.end_lineno or one.lineno) + 1)}


@cache
def imported() -> frozenset[str]:
    """Names of the modules and members that tests import from each other."""
    return frozenset(one.dotted for source in sources("tests") for one in imports(source))


def is_imported(source: Source) -> bool:
    return any(f"{name}.".find(f".{source.path.stem}.") >= 0 for name in imported())


def sleeps(source: Source) -> list[str]:
    """Sample tasks may sleep: those that only a worker imports anywhere, others inside what is declared as a task."""
    found = [(line, name) for line, name in references(source) if name in SLEEPS]
    if found and holds_sample_tasks(source):
        allowed = in_tasks(source)
        found = [(line, name) for line, name in found if is_imported(source) and line not in allowed]
    return [source.at(line, f"waits by {name}") for line, name in found]


def test_nothing_in_src_runs_what_others_wrote():
    assert complaints(unsafe, sources("src")) == []


def test_every_ignored_type_names_its_code_and_its_reason():
    assert complaints(unexplained_ignores, sources("src", "tests", "benchmarks")) == []


def test_nothing_in_src_is_left_unfinished():
    assert complaints(unfinished, sources("src")) == []


def test_no_test_sleeps():
    assert complaints(sleeps, sources("tests")) == []


def test_unsafe_code_is_noticed():
    assert unsafe(sample("import pickle"))
    assert unsafe(sample("from marshal import loads"))
    assert unsafe(sample("def late():\n    import shelve"))
    assert unsafe(sample("import yaml\nyaml.load(text)"))
    assert unsafe(sample("x = eval('1')"))
    assert unsafe(sample("exec(text)"))
    assert unsafe(sample("run(command, shell=True)"))
    assert unsafe(sample("import os\nos.system('ls')"))
    assert unsafe(sample("import json\njson.loads(text)\npattern.match(text)\nrun(command, shell=False)")) == []


def test_an_unexplained_ignore_is_noticed():
    assert unexplained_ignores(sample("x = 1  # type: ignore"))
    assert unexplained_ignores(sample("x = 1  # type: ignore[arg-type]"))
    assert unexplained_ignores(sample("x = 1  # type: ignore[arg-type, misc]  # the stub is wrong")) == []
    assert unexplained_ignores(sample("x = '# type: ignore'")) == []


def test_unfinished_code_is_noticed():
    assert unfinished(sample("x = 1  # TODO later"))
    assert unfinished(sample("def later():\n    raise NotImplementedError"))
    assert unfinished(sample("def later():\n    raise NotImplementedError('soon')"))
    assert unfinished(sample('def later():\n    """Some day."""\n    ...'))
    assert unfinished(sample("class Port(Protocol):\n    def verb(self) -> None: ...")) == []
    assert unfinished(sample("@overload\ndef verb(x: int) -> int: ...")) == []
    assert unfinished(sample("from typing import Any\nShape = tuple[Any, ...]")) == []


def test_a_sleeping_test_is_noticed():
    place = "tests/unit/test_sample.py"
    assert sleeps(sample("import time\ntime.sleep(1)", place))
    assert sleeps(sample("import asyncio as io\nasync def wait(): await io.sleep(0)", place))
    assert sleeps(sample("from anyio import sleep as nap\nasync def wait(): await nap(1)", place))
    assert sleeps(sample("code = 'import time; time.sleep(60)'", place)) == []


def test_only_declared_tasks_in_files_of_sample_tasks_may_sleep():
    place = "tests/worker/tasks_slow.py"
    slow = "import time\n@app.task(name='slow')\ndef slow(): time.sleep(60)"
    assert sleeps(sample(slow, place)) == []
    assert sleeps(sample(slow, "tests/worker/test_slow.py"))
    assert sleeps(sample(f"{slow}\ndef helper(): time.sleep(1)", "tests/scenario/tasks_ledger.py"))
