"""The examples of docs/workers.md, as they stand there."""

import re
import shlex
from typing import Any

from tests.architecture.survey import ROOT
from tests.remote.support import Site

PAGE = (ROOT / "docs/workers.md").read_text(encoding="utf-8")
LINES = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
]


def test_the_commands_run(here: Any):
    ours = [args for name, *args in LINES if name == "rota"]
    assert len(ours) == 2
    for args in ours:
        answer = here(*args)
        assert answer.code == 0, answer


async def test_the_requests_work(at: Site):
    ours = [args for name, *args in LINES if name == "curl"]
    assert len(ours) == 2
    for _, method, path, _, body in ours:
        answer = await at.node.ask(
            method, path, await at.key(), content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["takes_runs"] is True


def test_what_the_page_says_of_limits_is_so():
    from rota.api.routes.desk import ALIVE_MS
    from rota.worker import wire

    for said in (
        f"at most {wire.BATCH:,} outcomes",
        f"at most {wire.GIVEN} runs",
        f"up to {wire.LONGEST_CLAIM_MS // 1_000} s",
    ):
        assert said in PAGE
    assert f"until {ALIVE_MS // 1_000} seconds" in PAGE
    assert f'"v": {wire.VERSION}' in PAGE
