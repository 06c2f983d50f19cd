"""The campaign sees: bugs planted into its processes are caught. These are the fast ones; `make chaos-planted` runs
all of them.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def missed(name: str, folder: Path) -> bool:
    bug = BUGS[name]
    folder.mkdir()
    history = asyncio.run(Campaign(folder, f"sqlite:///{folder}/rota.db", 1, bug.ms, bug.kinds, name).run())
    return not bug.caught_by & violations(history).keys()


def test_planted_bugs_are_caught(tmp_path: Path) -> None:
    """Two at a time: each campaign mostly waits."""
    with ThreadPoolExecutor(2) as pool:
        going = {name: pool.submit(missed, name, tmp_path / str(number)) for number, name in enumerate(FAST)}
    assert [name for name, one in going.items() if one.result()] == []


def test_bugs_name_invariants_and_faults_that_there_are():
    for bug in BUGS.values():
        assert bug.caught_by <= INVARIANTS.keys()
        assert set(bug.kinds) <= KINDS.keys()
