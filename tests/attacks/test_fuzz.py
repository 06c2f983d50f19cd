"""Requests made of the spec, right and wrong ones, sent to the whole guarded app as everybody.

`ROTA_FUZZ=100000` makes and sends about so many; a run of the suite makes a few of each operation.
"""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.attacks.fuzzing import EXAMPLES, KNOWN, OPERATIONS, SEED, UNREAD, aim, checks, may
from tests.attacks.support import ROLES, built


@pytest.mark.parametrize("label", OPERATIONS)
def test_requests_made_of_the_spec_find_no_fault(label: str) -> None:
    """What comes back is as the spec says; without the right to it nothing comes and nothing changes."""
    made = [case for mode in GenerationMode for case in cases(label, mode)]
    with built() as platform:
        for role in ROLES:
            before = platform.kept()
            more = [negative_data_rejection] if may(label, role) else []
            for case in made:
                answer = platform.call(case, role)
                case.validate_response(answer, checks=[*checks(label), *more])
                if not may(label, role):
                    assert answer.status_code in ({401} if role == "nobody" else UNREAD | {403})
            assert may(label, role) or platform.kept() == before


def cases(label: str, mode: GenerationMode) -> list[Case[Any]]:
    """The same ones for the same seed; half of the right ones are about what there is."""
    found: list[Case[Any]] = []

    @seed(SEED)
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def collect(case: Case[Any]) -> None:
        found.append(case)

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
        given(case=OPERATIONS[label].as_strategy(generation_mode=mode))(collect)()
    if mode is GenerationMode.POSITIVE:
        for case in found[::2]:
            aim(case, KNOWN)
    return found
