"""A short campaign on each SQL store: real processes under load and faults, and no invariant is violated.

ROTA_CHAOS_SECONDS and ROTA_CHAOS_SEED make it longer, or another one, on all stores; `make chaos` runs long ones.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.checkers import vacuous, violations
from tests.chaos.homes import HOMES
from tests.services.postgresql import Missing

MS = int(float(os.environ.get("ROTA_CHAOS_SECONDS", "90")) * 1_000)
SEED = int(os.environ.get("ROTA_CHAOS_SEED", "1"))
STORES = HOMES if "ROTA_CHAOS_SECONDS" in os.environ else ("SQLite", "PostgreSQL")


@pytest.mark.parametrize("store", STORES)
def test_no_fault_breaks_a_promise(store: str, tmp_path: Path) -> None:
    """I1 to I12, I16, I19, I22, I24 and I27 under everything that the nemesis knows."""
    try:
        with HOMES[store](tmp_path) as home:
            history = asyncio.run(Campaign(tmp_path, home.url, SEED, MS, home.kinds, service=home).run())
    except Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    assert violations(history) == {}
    assert vacuous(history) == []
