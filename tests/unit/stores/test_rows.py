from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.errors import Invalid
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.run import Cause, Reason, Run, State
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.stores.sql import tables
from rota.stores.sql.rows import KINDS, cells, changed, check, culprit, filled, names, run_of, signed
from rota.testing.contracts.store.samples import RUN
from rota.testing.contracts.store.steps import assert_same
from rota.testing.factories import make_run, make_schedule
from tests.unit.stores import strategies as some

DIRECT = [Pulse, Unique, Skip, Audit, Blob, Tally]


def written(run):
    return KINDS[Run].row(run)


def test_every_field_of_a_run_is_a_column_in_its_order():
    assert KINDS[Run].columns == Run._fields
    assert tuple(tables.runs.c.keys()) == ("seq", *Run._fields, "version")


def test_columns_default_to_what_the_fields_default_to():
    for name, default in Run._field_defaults.items():
        found: Any = tables.runs.c[name].server_default
        wanted = {"()": None, "None": None, "False": "false"}.get(str(default), repr(str(default)))
        if isinstance(default, int) and not isinstance(default, bool):
            wanted = str(default)
        assert (str(found.arg) if found is not None else None) == wanted, name


@given(some.run())
def test_a_run_comes_back_equal_from_all_columns_and_from_those_not_at_their_default(run):
    assert_same(run_of(written(run)), run)
    places = filled(run)
    row = dict(zip(Run._fields, written(make_run()._replace(**Run._field_defaults)), strict=True))
    row |= zip(names(places), cells(places)(run), strict=True)
    assert_same(run_of(tuple(row.values())), run)


@given(some.run(), some.run())
def test_the_columns_that_changed_make_one_run_the_other(was, now):
    now = now._replace(id=was.id)
    places = changed(was, now)
    row = dict(zip(Run._fields, written(was), strict=True)) | dict(zip(names(places), cells(places)(now), strict=True))
    assert "id" not in names(places)
    assert run_of(tuple(row.values())) == now


def test_only_what_differs_is_written():
    run = make_run(1)
    assert names(changed(run, run)) == ()
    assert names(changed(run, run._replace(state=State.RUNNING, attempt=1))) == ("state", "attempt")


def test_empty_is_null():
    row = dict(zip(Run._fields, written(make_run()), strict=True))
    assert (row["keys"], row["retry"], row["history"]) == (None, None, None)


def test_the_driver_gets_plain_values():
    run = RUN._replace(state=State.PENDING, reason=Reason.LOST, cause=Cause.RETRY)
    assert {type(value) for value in written(run)} <= {str, int, bytes, bool, type(None)}


@given(some.tokens)
def test_a_token_keeps_its_bits(token):
    assert -(1 << 63) <= signed(token) < 1 << 63
    assert signed(token) & 0x7FFFFFFF == token % (1 << 31)


@given(st.one_of(*map(some.record, DIRECT)))
def test_records_without_a_body_come_back_equal(record):
    kind = KINDS[type(record)]
    row = kind.row(record)
    assert len(row) == len(kind.columns)
    assert_same(kind.record(row), record)


@pytest.mark.parametrize(
    "kind", [Task, Revision, Schedule, Queue, Session, Seal, User, Token], ids=lambda kind: kind.__name__
)
def test_records_with_a_body_come_back_equal(kind):
    @given(some.record(kind))
    def comes_back(record):
        row = KINDS[kind].row(record)
        assert len(row) == len(KINDS[kind].columns)
        assert_same(KINDS[kind].record(row), record)

    comes_back()


def test_of_a_definition_only_the_columns_that_differ_and_the_body_are_written():
    was = make_schedule(1)
    later = make_schedule(1, next_at=5, fired=9)
    columns, values = KINDS[Schedule].changed(was, later)
    assert columns == ("next_at", "body")
    assert values[0] == 5


@pytest.mark.parametrize("value", ["a\0", "\ud800", 1 << 63, -(1 << 63) - 1, 1.5, [1]])
def test_a_value_that_no_database_keeps_is_refused_by_the_id_of_its_row(value):
    with pytest.raises(Invalid) as caught:
        culprit([("a", 1), ("b", value), ("c", None)], ["a", "b", "c"])
    assert caught.value.field == "b"


@pytest.mark.parametrize("value", ["a\0", "\ud800"])
def test_text_that_no_database_keeps_is_found_before_it_is_sent(value):
    with pytest.raises(Invalid):
        check([("a", 1), ("b", value)], ["a", "b"])


def test_text_that_only_looks_like_nul_is_fine():
    check([("a", "\\u0000", b"\0", (1 << 63) - 1)], ["a"])
