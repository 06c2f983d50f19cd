import pytest

from rota.domain.errors import Invalid
from rota.domain.payload import DEEPEST, check_payload


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{}, [1], "]]]", {"b":', "}]")])
def test_json_may_be_as_deep_as_it_may_be_and_no_deeper(begin, end):
    levels = end.count("]") + end.count("}")
    deepest = begin * (DEEPEST // levels) + "1" + end * (DEEPEST // levels)
    assert check_payload(deepest.encode())
    with pytest.raises(Invalid, match=f"more than {DEEPEST} levels"):
        check_payload(f"[{deepest}]".encode())


@pytest.mark.parametrize("text", ["[" * 900, "]" * 900, '\\"[{' * 300, '\\\\\\"[' * 300])
def test_brackets_in_texts_are_no_levels(text):
    value = f'{{"{text}": ["{text}", []]}}'
    assert len(check_payload(value.encode())) == 1


def test_many_levels_beside_each_other_are_not_deep():
    assert len(check_payload(b"[" + b",".join([b"[[[]]]"] * 1_000) + b"]")) == 1_000
