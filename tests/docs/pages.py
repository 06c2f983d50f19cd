"""The documents as tests see them: their text, their links and their Python blocks.

A block is run as it stands, after the earlier blocks of its page and in the same names. An HTML comment
`<!-- worker -->` in the line before lets a worker of the page's app run meanwhile.
"""

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from rota import Rota

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- (?P<mark>worker) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A Python block: where it begins, whether it wants a worker, its code."""

    page: Path
    line: int
    worker: bool
    code: str

    def compiled(self) -> CodeType:
        """With the page's own line numbers."""
        return compile("\n" * self.line + self.code, str(self.page), "exec")


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")), found["mark"] is not None, found["code"])
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
    """Run the blocks of a page one after the other, as one program."""
    module, former = ModuleType("__main__"), sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        for block in blocks(page):
            with working(vars(module)["app"]) if block.worker else nullcontext():
                exec(block.compiled(), vars(module))
    finally:
        for value in vars(module).values():
            if isinstance(value, Rota):
                value.close()
        sys.modules["__main__"] = former


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
