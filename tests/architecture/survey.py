"""What the architecture tests look at: the sources of this repository, or a sample made up to prove a rule.

A rule is a function from one Source (or from all of them) to complaints; an empty list is praise.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from textwrap import dedent

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the root of the repository."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def module(self) -> str:
        """The dotted name: rota.domain for src/rota/domain/__init__.py, tests.unit.test_a for a test."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[parts[0] == "src" :]).removesuffix(".__init__")

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def within(self, *modules: str) -> bool:
        return any(f"{self.module}.".startswith(f"{module}.") for module in modules)

    def at(self, line: int, complaint: str) -> str:
        return f"{self.path}:{line}: {complaint}"

    def comments(self, about: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        """Line and text of each comment in which this is found; a string that looks like one is none."""
        if not about.search(self.text):
            return
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT and about.search(token.string):
                yield token.start[0], token.string


Rule = Callable[[Source], list[str]]


@cache
def sources(*folders: str) -> list[Source]:
    if len(folders) > 1:
        return [source for folder in folders for source in sources(folder)]
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [Source(PurePosixPath(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]


def sample(text: str, path: str = "src/rota/domain/sample.py") -> Source:
    return Source(PurePosixPath(path), dedent(text).lstrip())


def complaints(rule: Rule, among: list[Source]) -> list[str]:
    return [complaint for source in among for complaint in rule(source)]


@dataclass(frozen=True)
class Import:
    """One imported name: `import a.b` has target a.b and no name; `from a import b as c` is a, b, bound c."""

    line: int
    target: str
    name: str | None
    bound: str

    @property
    def dotted(self) -> str:
        return f"{self.target}.{self.name}" if self.name else self.target

    @property
    def meaning(self) -> str:
        """What the bound name stands for: `import a.b` binds a, and its uses spell out the rest."""
        plain = self.name is None and self.bound == self.target.partition(".")[0]
        return self.bound if plain else self.dotted


@cache
def imports(source: Source) -> list[Import]:
    """Every import of a file, those in functions and under TYPE_CHECKING as well."""
    return [found for node in source.nodes for found in imported_by(node)]


def imported_by(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            yield Import(node.lineno, alias.name, None, bound)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(node.lineno, node.module or "", alias.name, alias.asname or alias.name)


def references(source: Source) -> Iterator[tuple[int, str]]:
    """Each use of an imported name, by its real name: after `import time as t`, `t.sleep` is time.sleep."""
    names = {found.bound: found.meaning for found in imports(source)}
    for node in source.nodes:
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load) and first_name(node) in names:
            head, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, f"{names[head]}.{rest}".removesuffix(".")


def first_name(node: ast.expr) -> str:
    """`a` of `a.b.c`; nothing for an attribute of anything else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
