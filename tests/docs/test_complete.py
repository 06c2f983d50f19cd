"""What the code offers is in the documents, and what the documents name is in the code."""

import ast
import re
from pathlib import Path

import pytest

import rota
from docs.generate import PARTS, generated
from rota.domain.errors import RotaError
from rota.domain.flow import Flow
from rota.sdk.registry import TaskOptions
from rota.sdk.schedules import ScheduleRules
from rota.sdk.tasks import RunOptions
from tests.docs.pages import PAGES, ROOT

DOCS = ROOT / "docs"
HOUSE = ROOT / "src" / "rota"
QUOTED = re.compile(r"`([^`\n]+)`")


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def quoted(text: str) -> set[str]:
    return set(QUOTED.findall(text))


def subclasses(kind: type[Exception]) -> set[str]:
    return {kind.__name__}.union(*map(subclasses, kind.__subclasses__()))


@pytest.mark.parametrize(("options", "page"), [(TaskOptions, "tasks"), (RunOptions, "tasks"), (ScheduleRules, "time")])
def test_every_option_has_its_row(options, page):
    rows = set(re.findall(r"^\| `(\w+)` \|", text_of(f"docs/{page}.md"), re.MULTILINE))
    missing = set(options.__annotations__) - rows
    assert missing - set(ScheduleRules.__annotations__) == set() if options is TaskOptions else missing == set()


def test_every_error_is_explained():
    text = text_of("docs/tasks.md")
    kinds = {name for name in subclasses(RotaError) | subclasses(Flow) if hasattr(rota, name)}
    assert kinds
    assert {name for name in kinds if not re.search(rf"\b{name}\b", text)} == set()


def test_every_public_name_is_mentioned():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in rota.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_make_target_is_described():
    targets = re.findall(r"^([a-z]+):.*##", text_of("Makefile"), re.MULTILINE)
    text = text_of("README.md", "docs/contributing.md")
    assert targets
    assert [target for target in targets if f"make {target}" not in text and target != "help"] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_generated_parts_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert text == generated(text), "run `make docs`"


def test_every_generated_part_is_used():
    text = text_of(*(str(page.relative_to(ROOT)) for page in PAGES))
    assert [name for name in PARTS if f"<!-- generated: {name} -->" not in text] == []


def test_every_file_that_the_documents_name_exists():
    missing = []
    for page in PAGES:
        for name in quoted(page.read_text(encoding="utf-8")):
            if re.fullmatch(r"[\w.*/-]*/[\w.*-]*\.(py|md|toml|txt)|[\w-]+/(?:[\w-]+/)*", name):
                found = any(any(folder.glob(name.rstrip("/"))) for folder in (ROOT, HOUSE, DOCS))
                missing += [] if found else [f"{page.name}: {name}"]
    assert missing == []


def defined(folder: Path) -> set[str]:
    return {
        node.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def test_every_test_that_the_documents_name_exists():
    known = defined(ROOT / "tests") | defined(HOUSE / "testing")
    named = {name for page in PAGES for name in quoted(page.read_text(encoding="utf-8")) if name.startswith("test_")}
    assert named
    assert named - known == set()
