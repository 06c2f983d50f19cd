"""The log port: lines in order, read on from a position, searched as plain text."""

# ruff: noqa: S101 - a contract asserts

import pytest

from rota.ports.store import Line, Store
from rota.testing.clock import START_AT
from rota.testing.contracts.store.samples import AWKWARD
from rota.testing.factories import make_run

ONE, TWO = make_run(1).id, make_run(2).id


def line(number: int, run: str = ONE, text: str = "") -> Line:
    """A line of standard output; its time tells the number."""
    return Line(run, 1, START_AT + number, "stdout", "info", text or f"line {number}")


async def read_on(store: Store, run: str, text: str = "", limit: int = 3) -> list[Line]:
    """All lines of a run, read in small steps."""
    found: list[Line] = []
    position = 0
    while True:
        lines, position = await store.logs.read(run, position, limit, text)
        assert len(lines) <= limit
        if not lines:
            return found
        found += lines


class Lines:
    """The lines that tasks wrote, as `store.logs` keeps them."""

    async def test_lines_come_back_equal_and_in_order(self, store: Store) -> None:
        lines = [
            line(3),
            line(1),
            Line(ONE, 2, START_AT, "stderr", "warning", AWKWARD),
            Line(ONE, 2, START_AT, "log", "", ""),
            line(1),
        ]
        await store.logs.append(lines[:2])
        await store.logs.append(lines[2:])
        found, _ = await store.logs.read(ONE)
        assert found == lines

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_reading_on_neither_doubles_nor_misses(self, store: Store, limit: int) -> None:
        mine = [line(number) for number in range(10)]
        for one in mine:
            await store.logs.append([one, line(0, TWO)])
        assert await read_on(store, ONE, limit=limit) == mine

    async def test_new_lines_are_found_behind_the_position(self, store: Store) -> None:
        assert (await store.logs.read(ONE))[0] == []
        position = 0
        for number in range(3):
            await store.logs.append([line(number), line(number, TWO)])
            lines, position = await store.logs.read(ONE, position)
            assert lines == [line(number)]
            assert await store.logs.read(ONE, position) == ([], position)

    async def test_a_run_sees_its_own_lines_and_nobody_all_of_them(self, store: Store) -> None:
        lines = [line(1), line(2, TWO), line(3)]
        await store.logs.append(lines)
        assert (await store.logs.read(ONE))[0] == [lines[0], lines[2]]
        assert (await store.logs.read(TWO))[0] == [lines[1]]
        assert (await store.logs.read("unknown"))[0] == []
        assert (await store.logs.read(""))[0] == lines

    @pytest.mark.parametrize("text", ["50%", "a_b", "back\\slash", "'; --", "中文", "*"])
    async def test_a_search_is_for_plain_text(self, store: Store, text: str) -> None:
        hit = line(2, text=f"before {text} behind")
        await store.logs.append([line(1, text="50 a b backslash"), hit, line(3, text="axb"), line(4, text=text)])
        assert (await store.logs.read(ONE, text=text))[0] == [hit, line(4, text=text)]
        assert (await store.logs.read("", text=text))[0] == [hit, line(4, text=text)]

    async def test_a_search_reads_on_too(self, store: Store) -> None:
        lines = [line(number, text=f"line {number} {'even' if number % 2 == 0 else 'odd'}") for number in range(20)]
        await store.logs.append(lines)
        assert await read_on(store, ONE, text="even", limit=3) == lines[::2]

    async def test_thousands_of_lines_in_one_call(self, store: Store) -> None:
        lines = [line(number) for number in range(5_000)]
        await store.logs.append(lines)
        assert await read_on(store, ONE, limit=900) == lines

    async def test_appending_nothing_is_harmless(self, store: Store) -> None:
        await store.logs.append([])
        assert (await store.logs.read(""))[0] == []
