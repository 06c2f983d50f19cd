"""Letters: whose they are shows by their signature, and nothing that was changed passes for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.domain.errors import Invalid
from rota.worker.letters import Answer, Letter, Question, head_of, parted, sealed

ID, DIGEST = "0123456789abcdef" * 2, "d" * 64
ASK = Question(ID, "f" * 16, "desk", "worker-1", "claim", 1_700_000_000_000)


@given(st.binary(max_size=200))
def test_a_letter_arrives_as_it_was_sent(body):
    letter = parted(sealed(ASK, body, DIGEST).joined())
    assert (head_of(letter), letter.body) == (ASK, body)
    assert letter.bears(DIGEST)
    assert not letter.bears("e" * 64)


def test_an_answer_is_told_from_a_question():
    said = Answer(ID, 200, 1_700_000_000_000)
    assert head_of(sealed(said, b"", DIGEST)) == said


@given(st.data())
def test_no_changed_byte_passes(data):
    whole = bytearray(sealed(ASK, b'{"limit": 1}', DIGEST).joined())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        letter = parted(bytes(whole))
    except Invalid:
        return
    assert not letter.bears(DIGEST)


def test_the_border_of_head_and_body_cannot_be_moved():
    letter = sealed(ASK, b"one\ntwo", DIGEST)
    moved = Letter(letter.signature, letter.head + b"\none", b"two")
    assert moved.joined() == letter.joined()
    assert parted(moved.joined()) == letter
    with pytest.raises(Invalid):
        head_of(moved)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kind": "order"}',
        b'{"kind": "answer", "id": "x", "status": 200, "at": 1}',
        b'{"kind": "answer", "id": "' + ID.encode() + b'", "status": 99, "at": 1}',
        b"\xff",
        b"[" * 10_000,
    ],
)
def test_what_is_no_head_is_refused(head):
    with pytest.raises(Invalid):
        head_of(Letter(b"", head, b""))


@pytest.mark.parametrize("data", [b"", b"x", b"x\ny"])
def test_what_is_no_letter_is_refused(data):
    with pytest.raises(Invalid):
        parted(data)


@pytest.mark.parametrize(
    "changes",
    [{"reply": "../x"}, {"reply": ""}, {"call": "Claim"}, {"key": "G" * 16}, {"until": -1}, {"id": ID + "0"}],
)
def test_a_head_says_what_it_may_and_nothing_else(changes):
    said = {name: getattr(ASK, name) for name in Question.__struct_fields__} | changes
    with pytest.raises(Invalid):
        head_of(sealed(Question(**said), b"", DIGEST))
