"""Where each attack of the list is tried, by its number; what is not tried yet says why."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRIED = {
    10: "remote/test_rights.py::test_the_desk_is_for_workers_alone",
    22: "identity/test_matrix.py::test_each_role_passes_where_its_actions_say_so_and_nowhere_else",
    23: "attacks/test_rights.py::test_what_others_have_reads_as_what_is_not_there",
    24: "attacks/test_rights.py::test_bodies_set_nothing_that_they_do_not_name",
    25: "attacks/test_rights.py::test_no_side_door_leads_to_what_others_have",
    26: "attacks/test_rights.py::test_who_may_not_define_a_task_does_not_see_its_secrets",
    27: "identity/test_logins.py::test_nobody_raises_themselves",
    28: "remote/test_rights.py::test_nobody_speaks_for_the_session_of_another",
    29: "attacks/test_rights.py::test_a_trigger_overrides_nothing_of_what_is_run",
    30: "unit/executors/test_http.py::test_no_spelling_of_an_internal_address_is_reached",
    31: "unit/executors/test_http.py::test_one_private_answer_among_allowed_ones_is_enough",
    32: "unit/executors/test_http.py::test_a_name_that_changes_its_address_is_checked_at_each_connection",
    33: "unit/executors/test_http.py::test_a_redirect_to_the_inside_is_refused",
    34: "attacks/test_hostile.py::test_what_no_worker_may_be_asked_for_is_refused_where_it_is_defined",
    35: "unit/executors/test_http.py::test_no_credential_of_the_platform_is_ever_sent",
    36: "unit/executors/test_http_answer.py::test_a_bomb_does_not_go_off",
    37: "unit/executors/test_shell.py::test_arguments_are_never_part_of_the_command",
    38: "unit/executors/test_script.py::test_variables_that_decide_what_runs_are_refused",
    39: "unit/executors/test_python.py::test_only_registered_names_are_run",
    40: "attacks/test_hostile.py::test_no_name_in_a_path_leads_elsewhere",
    41: "attacks/test_hostile.py::test_filters_are_text_and_nothing_else",
    42: "attacks/test_hostile.py::test_text_stays_the_text_that_it_is",
    43: "attacks/test_hostile.py::test_a_body_that_is_a_bomb_does_not_go_off",
    44: "architecture/test_habits.py::test_nothing_in_src_runs_what_others_wrote",
    45: "remote/test_rights.py::test_another_fence_and_a_run_that_is_not_there_change_nothing",
    47: "attacks/test_hostile.py::test_text_stays_the_text_that_it_is",
    48: "attacks/test_hostile.py::test_no_answer_is_a_page",
    49: "attacks/test_hostile.py::test_what_no_worker_may_be_asked_for_is_refused_where_it_is_defined",
    54: "attacks/test_hostile.py::test_a_schedule_that_is_a_bomb_is_refused",
    56: "attacks/test_hostile.py::test_pages_have_a_size",
    57: "identity/test_wire.py::test_everybody_has_a_rate",
    59: "attacks/test_values.py::test_odd_values_in_bodies",
}
NOT_YET = {
    55: "there are no workflows",
    58: "what a task floods is cut by tests/unit/executors; forks and full disks need a machine of their own",
}


def test_what_is_said_to_be_tried_is() -> None:
    for number, place in TRIED.items():
        path, _, name = place.partition("::")
        assert re.search(rf"def {name}\b", (ROOT / path).read_text()), (number, place)
    assert not TRIED.keys() & NOT_YET.keys()
