"""Every line that is wanted names a test that exists (`test_complete.py` sees to that), or says what is missing."""

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([A-D][0-9]+) \| .+? \| (.+) \|$", re.MULTILINE)
LINES = {"A": 10, "B": 12, "C": 19, "D": 14}


def test_every_line_has_its_row():
    wanted = [f"{system}{number}" for system, most in LINES.items() for number in range(1, most + 1)]
    assert [name for name, _ in ROW.findall(PAGE)] == wanted


def test_every_row_names_a_test_or_a_page_or_says_what_is_missing():
    silent = [name for name, shown in ROW.findall(PAGE) if not re.search(r"`test_|\.md\)|[Nn]ot yet", shown)]
    assert silent == []
