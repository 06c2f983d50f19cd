"""The desk behind a broker gives what the desk over HTTP gives: the same tests, asked by letters."""

from tests.remote import test_desk as desk
from tests.remote import test_malformed as malformed
from tests.remote import test_rights as rights

SAME = (
    desk.test_what_comes_over_the_wire_is_what_the_desk_beside_the_store_gives,
    desk.test_what_a_worker_says_of_itself_is_kept_as_it_said_it_last,
    desk.test_a_claim_waits_for_work_and_a_beat_for_news,
    desk.test_all_who_wait_are_asked_for_in_one_call_and_no_more_are_woken_than_there_is_work_for,
    desk.test_a_newer_claim_lets_the_older_one_of_its_session_go,
    desk.test_who_has_its_answer_is_not_claimed_for_again,
    desk.test_a_revoked_credential_gets_nothing_although_it_waits_already,
    desk.test_a_store_that_cannot_serve_is_told_as_such_and_a_lost_reply_loses_nothing,
    malformed.test_large_results_travel_in_several_messages,
    rights.test_a_session_is_opened_on_the_queues_of_its_credential_alone,
    rights.test_a_session_has_a_size,
    rights.test_nobody_speaks_for_the_session_of_another,
    rights.test_nobody_ends_a_run_of_a_worker_beside_the_store,
    rights.test_another_fence_and_a_run_that_is_not_there_change_nothing,
    rights.test_an_outcome_told_twice_counts_once_and_another_one_not_at_all,
)
globals().update({test.__name__: test for test in SAME})
