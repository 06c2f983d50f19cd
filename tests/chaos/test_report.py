"""The report is written into its page, by store, and says what was violated."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from tests.chaos import report
from tests.chaos.checkers import INVARIANTS
from tests.chaos.forged import history, run
from tests.chaos.history import told
from tests.chaos.report import Result, table, write


def test_results_of_a_store_are_added_up():
    good = Result.of("SQLite", 1, history(run(1)))
    bad = Result.of("SQLite", 2, history(run(1, tries=2)))
    other = Result.of("PostgreSQL", 1, history())
    assert bad.violations == {"I9": 1}
    rows = table([good, bad, other]).splitlines()
    assert rows[0] == "|  | SQLite | PostgreSQL |"
    assert "| minutes of faults | 2.0 | 1.0 |" in rows
    assert "| seeds | 1 to 2 | 1 to 1 |" in rows
    assert "| submissions acknowledged | 2 | 0 |" in rows
    assert "| violations of I9 | 1 | 0 |" in rows
    assert sum(row.startswith("| violations of") for row in rows) == len(INVARIANTS)


def test_it_takes_the_place_of_the_one_before(tmp_path, monkeypatch):
    page = tmp_path / "chaos.md"
    page.write_text("before\n<!-- campaign -->\nold\n<!-- campaign end -->\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    for _ in range(2):
        write([Result.of("SQLite", 1, history())])
    text = page.read_text()
    assert text.startswith("before\n<!-- campaign -->\n\n|  | SQLite |\n| --- | --- |\n")
    assert text.endswith("|\n\n<!-- campaign end -->\nafter\n")
    assert "old" not in text


def test_the_rest_of_a_line_that_was_being_written_is_no_line():
    log: Any = SimpleNamespace(exists=lambda: True, open=lambda: nullcontext(['{"at": 1}\n', '{"at"', ": 2}\n"]))
    assert list(told(log)) == [{"at": 1}]
