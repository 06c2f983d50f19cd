from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rota.domain.errors import Refused
from rota.domain.priority import Priority
from rota.domain.retry import Retry
from rota.domain.task import (
    DEFINED,
    Clocks,
    Owner,
    Revision,
    Task,
    differs,
    edited,
    meant,
    outdated,
    registered,
    reset,
    revision_id,
    version_key,
)

NOW = 5_000
MINE = Task("main", "report", command="old", revision=3, created_at=1, updated_at=2)


def code(**changes):
    return Task("main", "report", **{"command": "report", "app": "shop", "version": "1.0"} | changes)


def test_a_revision_is_named_after_its_task():
    assert MINE.id == "main/report"
    assert Revision(MINE).id == revision_id(MINE.id, 3) == "main/report@3"


@pytest.mark.parametrize("field", DEFINED)
def test_each_defining_field_makes_a_difference(field):
    others: dict[str, Any] = {
        "payload": b"1", "priority": Priority.HIGH, "retry": Retry(retries=9), "params": {"a": 1},
        "requires": ("gpu",), "clocks": Clocks(queue_ms=1),
    }  # fmt: skip
    changed: dict[str, Any] = {field: others.get(field, "other")}
    assert differs(MINE, replace(MINE, **changed))


def test_what_is_about_the_record_makes_none():
    assert not differs(MINE, replace(MINE, revision=9, owner=Owner.CODE, app="x", updated_at=9, overrides={"a": 1}))


class TestEdit:
    def test_of_a_peoples_task_is_plain(self):
        after = edited(MINE, {"queue": "mail"}, NOW)
        assert (after.queue, after.revision, after.updated_at, after.overrides) == ("mail", 4, NOW, {})

    def test_to_the_same_is_no_revision(self):
        assert edited(MINE, {"command": "old"}, NOW).revision == 3

    def test_of_a_code_owned_task_is_an_override_that_remembers_the_codes_value(self):
        one = registered(None, code(), 1)
        twice = edited(edited(one, {"queue": "mail"}, NOW), {"queue": "bulk", "priority": Priority.LOW}, NOW)
        assert twice.overrides == {"queue": "default", "priority": Priority.NORMAL}
        assert (twice.queue, twice.revision) == ("bulk", 3)
        back = reset(twice, NOW)
        assert (back.queue, back.priority, back.overrides, back.revision) == ("default", Priority.NORMAL, {}, 4)


class TestRegistration:
    def test_of_an_unknown_task_makes_it_the_codes(self):
        assert registered(None, code(revision=7), NOW) == code(owner=Owner.CODE, created_at=NOW, updated_at=NOW)

    def test_of_the_same_changes_nothing(self):
        one = registered(None, code(), 1)
        assert registered(one, code(), NOW) == one

    def test_of_a_newer_version_is_a_revision_only_where_the_work_differs(self):
        one = registered(None, code(), 1)
        same = registered(one, code(version="1.1"), NOW)
        assert (same.version, same.revision, same.updated_at) == ("1.1", 1, NOW)
        other = registered(one, code(version="1.1", command="new"), NOW)
        assert (other.command, other.revision, other.created_at) == ("new", 2, 1)

    def test_of_an_older_version_changes_nothing(self):
        one = registered(None, code(version="1.10"), 1)
        assert registered(one, code(version="1.9", command="older"), NOW) is one

    def test_by_another_app_takes_over(self):
        one = registered(None, code(version="9"), 1)
        assert registered(one, code(app="other", version="1", command="theirs"), NOW).command == "theirs"

    def test_overrides_survive_it_and_learn_the_codes_new_value(self):
        one = edited(registered(None, code(), 1), {"queue": "mail"}, 2)
        after = registered(one, code(version="1.1", queue="slow", command="new"), NOW)
        assert (after.queue, after.command, after.overrides) == ("mail", "new", {"queue": "slow"})
        assert reset(after, NOW).queue == "slow"

    def test_of_what_people_own_is_refused(self):
        with pytest.raises(Refused, match="made by people"):
            registered(MINE, code(), NOW)


@pytest.mark.parametrize(
    "ordered",
    [
        ("", "1.0.dev1", "1.0", "1.0.1", "1.2", "1.10", "1.10.1", "2", "10"),
        ("", "abc", "1.0-alpha", "1.0-beta", "1.0-rc.1", "1.0-rc.2", "1.0-rc.10", "1.0", "1.0-1", "1.1-rc.1", "1.1"),
        ("0.9", "1.0a2", "1.0a10", "1.0b1", "1.0rc9", "1.0rc10", "1.0", "1.0+7", "1.0+10", "1.0.post1", "1.0.1"),
        ("1.0", "1.0+g3f2", "1.1.dev3", "1.1.dev3+g12a", "1.1.dev10", "1.1"),
        ("v8", "v9.0", "v10.0", "v10.0-3-g12a"),
        ("release-9", "release-10"),
    ],
)
def test_versions_are_ordered_as_people_read_them(ordered):
    keys = [version_key(version) for version in ordered]
    assert all(one < other for one, other in pairwise(keys))


def test_versions_that_differ_in_how_they_are_written_are_one():
    assert version_key("1-2") == version_key("v1.2")
    assert version_key("1.0-RC1") == version_key("1.0rc1")


def test_only_an_older_version_of_the_same_app_is_outdated():
    one = registered(None, code(version="2"), 1)
    assert outdated(one, code(version="1"))
    assert not outdated(one, code(version="2"))
    assert not outdated(one, code(app="other", version="1"))
    assert not outdated(MINE, code(version=""))


@pytest.mark.parametrize(
    ("executor", "command", "kind"),
    [
        ("python", "report", "python"),
        ("local", "report", "python"),
        ("rpc", "host/service/Method", "grpc"),
        ("python", "clean.py", "script"),
        ("local", "clean.py", "script"),
        ("shell", "clean.py", "shell"),
    ],
)
def test_an_executor_may_be_meant_by_other_words(executor, command, kind):
    assert meant(Task("main", "report", executor=executor, command=command)).executor == kind
