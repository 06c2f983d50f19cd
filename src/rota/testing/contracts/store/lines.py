"""The log port: lines in order, read on from a position, searched as plain text."""

import pytest

from rota.domain.records import Blob
from rota.ports.store import APPLIED, Line, Sought, Store
from rota.testing.clock import START_AT
from rota.testing.contracts.store.samples import AWKWARD
from rota.testing.contracts.store.steps import change, put
from rota.testing.factories import make_run

ONE, TWO = make_run(1).id, make_run(2).id


def line(number: int, run: str = ONE, text: str = "") -> Line:
    """A line of standard output; its time tells the number."""
    return Line(run, 1, START_AT + number, "stdout", "info", text or f"line {number}")


async def read_on(store: Store, run: str = ONE, text: str = "", limit: int = 3, after: int = 0) -> list[Line]:
    """All lines of a run, read in steps."""
    lines, position = await store.logs.read(run, after, limit, text)
    assert len(lines) <= limit
    return lines and lines + await read_on(store, run, text, limit, position)


class Lines:
    async def test_lines_come_back_equal_and_in_order(self, store: Store) -> None:
        awkward = Line(ONE, 2, START_AT, "stderr", "warning", AWKWARD), Line(ONE, 2, START_AT, "log", "", "")
        lines = [line(3), line(2, TWO), line(1), *awkward, line(1)]
        for some in (lines[:2], [], lines[2:]):
            await store.logs.append(some)
        for run in (ONE, TWO, "unknown"):
            assert (await store.logs.read(run))[0] == [one for one in lines if one.run == run]

    @pytest.mark.parametrize(("limit", "number"), [(1, 10), (3, 10), (900, 5_000)])
    async def test_reading_on_neither_doubles_nor_misses(self, store: Store, limit: int, number: int) -> None:
        lines = [line(place, (ONE, TWO)[place % 2]) for place in range(number)]
        await store.logs.append(lines)
        assert await read_on(store, limit=limit) == lines[::2]
        assert await read_on(store, ONE, "0", limit) == [one for one in lines[::2] if "0" in one.text]

    async def test_a_search_goes_back_from_the_newest(self, store: Store) -> None:
        lines = [line(place, (ONE, TWO)[place % 2], f"Line {place}") for place in range(40)]
        await store.logs.append([*lines, Line(ONE, 1, START_AT + 40, "log", "error", "boom")])
        some = Sought(run=TWO, text="LINE 1", stream="stdout", since=START_AT + 11, until=START_AT + 18)
        wanted = [one for one in reversed(lines) if one.run == TWO and START_AT + 11 <= one.at < START_AT + 18]
        for limit in (1, 3, 100):
            found, position = await store.logs.search(some, 0, limit)
            while position:
                assert len(found) <= limit * 40
                more, position = await store.logs.search(some, position, limit)
                found += more
            assert found == wanted
        assert [one.text for one in (await store.logs.search(Sought(level="error")))[0]] == ["boom"]
        assert (await store.logs.search(Sought(), 0, 2))[0] == [
            Line(ONE, 1, START_AT + 40, "log", "error", "boom"),
            lines[39],
        ]

    async def test_new_lines_are_found_behind_the_position(self, store: Store) -> None:
        lines, position = await store.logs.read(ONE)
        assert lines == []
        for number in range(3):
            await store.logs.append([line(number), line(number, TWO)])
            lines, position = await store.logs.read(ONE, position)
            assert lines == [line(number)]
            assert await store.logs.read(ONE, position) == ([], position)

    async def test_a_deleted_run_takes_its_lines_and_blobs_along(self, store: Store) -> None:
        blobs = [Blob(f"{run}/{what}", b"{}") for run in (ONE, TWO) for what in ("payload", "result")]
        was, *_ = await put(store, make_run(1), *blobs)
        await store.logs.append([line(1), line(2, TWO)])
        assert await change(store, was, None) == APPLIED
        assert [await read_on(store, run) for run in (ONE, TWO)] == [[], [line(2, TWO)]]
        assert (await store.logs.search(Sought()))[0] == [line(2, TWO)]
        found = await store.get(Blob, [blob.id for blob in blobs])
        assert [item and item.record for item in found] == [None, None, *blobs[2:]]

    @pytest.mark.parametrize("text", ["50%", "a_b", "back\\slash", "'; --", "中文", "*"])
    async def test_a_search_is_for_plain_text(self, store: Store, text: str) -> None:
        hits = [line(2, text=f"before {text} behind"), line(4, text=text)]
        await store.logs.append([line(1, text="50 a b backslash"), hits[0], line(3, text="axb"), hits[1]])
        assert await read_on(store, ONE, text, 1) == hits

    @pytest.mark.parametrize("text", ["Fehler", "Überlauf im Körper", "Ошибка", "50 % ÄÖ_"])
    async def test_small_and_capital_letters_are_alike_in_every_alphabet(self, store: Store, text: str) -> None:
        hits = [line(place, text=f"a {one} b") for place, one in enumerate((text.upper(), text, text.lower()))]
        others = [line(place, text=one) for place, one in ((7, "Fehlr"), (8, "Uberlauf im Korper"), (9, "50 % AO_"))]
        await store.logs.append([hits[0], *others, *hits[1:]])
        for sought in (text, text.upper()):
            for limit in (1, 2, 500):
                assert await read_on(store, ONE, sought, limit) == hits
            found, position = await store.logs.search(Sought(text=sought), 0, 2)
            assert found == [hits[2], hits[1]]
            assert await store.logs.search(Sought(text=sought), position, 2) == ([hits[0]], 0)
