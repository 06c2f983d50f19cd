"""The documents as tests see them: their text, their links and their Python blocks.

A block is run as it stands, after the earlier blocks of its page and in the same names. An HTML comment in the line
before says otherwise: `<!-- fragment -->` is compiled only, during `<!-- worker -->` a worker of the page's app runs.
"""

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from rota import Rota

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- (?P<mark>fragment|worker) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A Python block: where it begins, its mark, its code with the page's line numbers."""

    page: Path
    line: int
    mark: str
    code: str

    def compiled(self) -> CodeType:
        return compile("\n" * self.line + self.code, str(self.page), "exec")


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")), found["mark"] or "", found["code"])
        for found in BLOCK.finditer(text)
    ]


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be linked to."""
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def links(text: str) -> list[str]:
    """Targets inside the repository."""
    return [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def run_page(page: Path) -> None:
    """Run the blocks of a page one after the other, in a module of its own."""
    module = ModuleType(f"page_{page.stem.replace('-', '_').lower()}")
    sys.modules[module.__name__] = module
    try:
        for block in blocks(page):
            code = block.compiled()
            if block.mark == "worker":
                with working(vars(module)["app"]):
                    exec(code, vars(module))
            elif block.mark != "fragment":
                exec(code, vars(module))
    finally:
        for value in vars(module).values():
            if isinstance(value, Rota):
                value.close()
        del sys.modules[module.__name__]


@contextmanager
def working(app: Rota) -> Iterator[None]:
    """A worker and a scheduler in another thread, as `rota up` would be in another process, begun just now."""
    app.close()
    begun, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with app.running():
            begun.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert begun.wait(20)
        yield
    finally:
        done.set()
        thread.join()
