from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.errors import Incompatible, Invalid
from rota.domain.people import Token, User
from rota.domain.records import Audit, Blob, Pulse, Queue, Seal, Session, Tally, Unique
from rota.domain.retry import Retry
from rota.domain.run import Run
from rota.domain.schedule import Schedule, Skip
from rota.domain.task import Revision, Task
from rota.stores.codec import FORMAT, decode, encode, identity, pack, unpack
from rota.testing.contracts.store.samples import AWKWARD_RECORDS
from rota.testing.contracts.store.steps import assert_same
from rota.testing.factories import make_run, make_schedule, make_session, make_task
from tests.unit.stores import strategies as some

KINDS = [Task, Revision, Schedule, Run, Queue, Session, Pulse, Unique, Skip, Audit, Seal, User, Token, Blob, Tally]


@given(st.one_of(*map(some.record, KINDS)))
def test_what_is_written_down_comes_back_equal(record):
    assert_same(decode(type(record), encode(record)), record)


@pytest.mark.parametrize("record", AWKWARD_RECORDS, ids=lambda record: type(record).__name__)
def test_awkward_records_come_back_equal(record):
    assert_same(decode(type(record), encode(record)), record)


@given(some.values)
def test_values_beyond_json_are_packed_and_unpacked(value):
    assert_same(unpack(msgspec.json.decode(msgspec.json.encode(pack(value)))), value)


@pytest.mark.parametrize("value", [{"$secret": "key"}, {"$tuple": [1]}, {"$map": {}}, {"$": None}, {"a": 1, "$b": 2}])
def test_names_that_look_like_types_are_just_names(value):
    assert unpack(pack(value)) == value


@pytest.mark.parametrize(
    "record",
    [
        make_task(description="a\0b"),
        make_task(description="\ud800"),
        make_task(params={"a": float("nan")}),
        make_task(params={"a": ["\0"]}),
        make_task(params={"\udfff": 1}),
        make_task(params={1: 2}),
        make_task(params={"a": {1, 2}}),
        make_task(params={"a": object()}),
        make_task(retry=Retry(rate=float("inf"))),
        make_schedule(overrides={"trigger": object()}),
        make_session(queues=["a list is no tuple"]),
        make_run(payload="text is no bytes"),
    ],
)
def test_what_would_not_come_back_is_refused_by_its_id(record):
    with pytest.raises(Invalid) as caught:
        encode(record)
    assert caught.value.field == identity(record)


def test_nesting_without_end_is_refused():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(Invalid):
        encode(make_task(params={"a": nested}))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\\"])
def test_a_backslash_is_no_nul(text):
    record = make_task(description=text)
    assert decode(Task, encode(record)) == record


def test_every_text_carries_its_format():
    assert msgspec.json.decode(encode(make_task()))["v"] == FORMAT


def test_an_older_text_lacks_fields_that_have_defaults_since():
    old = msgspec.json.decode(encode(make_task(command="x")))
    del old["isolation"]
    assert decode(Task, msgspec.json.encode(old)) == make_task(command="x")


def test_a_newer_format_and_a_damaged_text_are_incompatible():
    newer = msgspec.json.decode(encode(make_task())) | {"v": FORMAT + 1}
    for data in (msgspec.json.encode(newer), b"", b"{", b"[]", b'{"v":1}', b"\xff"):
        with pytest.raises(Incompatible):
            decode(Task, data)


def test_a_tally_is_known_by_its_cell():
    tally = Tally(60_000, "main", "a", "default", "success", 5, "node", 3, 7)
    assert identity(tally) == identity(tally._replace(count=9, total_ms=1)) != identity(tally._replace(bucket=10))
    assert identity(make_run(1)) == make_run(1).id
    assert identity(Revision(replace(make_task(), revision=3))) == "main/task-1@3"
