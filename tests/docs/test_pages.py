import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, run_page

WITH_BLOCKS = [page for page in PAGES if blocks(page)]


def names(pages: list[Path]) -> list[str]:
    return [page.stem for page in pages]


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=names(WITH_BLOCKS))
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page)


def leads(page: Path, target: str) -> bool:
    """Whether a link's target is a file of this repository and, with an anchor, a heading in it."""
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if ROOT not in file.parents or not file.exists():
        return False
    return not anchor or anchor in anchors(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert [target for target in links(text) if not leads(page, target)] == []


def test_every_document_can_be_found_from_the_readme():
    found, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        found.add(page)
        for target in links(page.read_text(encoding="utf-8")):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file() and file not in found:
                new.add(file)
    assert set(PAGES) - found == set()


def test_the_blocks_of_a_page_are_one_program(tmp_path):
    page = tmp_path / "sample.md"
    page.write_text("```python\nx = __name__\n```\n\n```python\nassert x == '__main__'\n```\n")
    before = sys.modules["__main__"]
    run_page(page)
    assert sys.modules["__main__"] is before


def test_a_failing_block_is_noticed(tmp_path):
    page = tmp_path / "sample.md"
    page.write_text("text\n\n```python\nassert 1 == 2\n```\n")
    with pytest.raises(AssertionError) as failed:
        run_page(page)
    assert failed.traceback[-1].lineno + 1 == 4
