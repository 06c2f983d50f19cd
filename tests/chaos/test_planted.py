"""The campaign sees: bugs planted into its processes are caught. These are the fast ones; `make chaos-planted` runs
all of them.
"""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.checkers import INVARIANTS, violations
from tests.chaos.nemesis import KINDS
from tests.chaos.planted import BUGS

FAST = (
    "renewed without a look at the holder",
    "acknowledged before it is written",
    "cancel as a message",
    "key checked outside of the commit",
)


@pytest.mark.parametrize("name", FAST)
def test_a_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    history = asyncio.run(Campaign(tmp_path, f"sqlite:///{tmp_path}/rota.db", 1, bug.ms, bug.kinds, name).run())
    assert bug.caught_by & violations(history).keys()


def test_bugs_name_invariants_and_faults_that_there_are():
    for bug in BUGS.values():
        assert bug.caught_by <= INVARIANTS.keys()
        assert set(bug.kinds) <= KINDS.keys()
