import pytest

from rota.domain.errors import Incompatible, Invalid, NotFound, RotaError, RunFailed, TooLarge, Unavailable
from rota.domain.names import check_key, check_name, check_text, number_of


@pytest.mark.parametrize("name", ["a", "_", "9", "jobs.mail:send@v1+x-y_Z", "x" * 128])
def test_names_are_plain(name):
    assert check_name("task", name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", ".a", "-a", "@a", "a/b", "../a", "a\0", "a\n", "ä", "x" * 129, "a" * 2**20, "\ud800", None, 7],
)
def test_what_could_harm_a_key_or_path_is_no_name(name):
    with pytest.raises(Invalid, match="is not a name: use 1 to 128 letters") as caught:
        check_name("task", name)
    assert caught.value.field == "task"
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("key", ["k", "order 17", "ключ", "x" * 512, "a/b"])
def test_keys_are_printable(key):
    assert check_key("key", key) == key


@pytest.mark.parametrize("key", ["", " ", "   ", "a\0", "a\tb", "line\n", "\ud800", "x" * 513, None, b"k", 7])
def test_other_keys_are_refused(key):
    with pytest.raises(Invalid, match="1 to 512 printable characters"):
        check_key("key", key)


@pytest.mark.parametrize("told", ["0 runs", "1 run", "2 runs", "1 entry", "2 entries"])
def test_what_is_counted_has_its_plural(told):
    number, _, _ = told.partition(" ")
    assert number_of(int(number), "entry" if "entr" in told else "run") == told


def test_text_is_whatever_can_be_stored():
    text = "lines\n\ttabs, ünïcode 🎉"
    assert check_text("why", text) == text
    assert check_text("why", "") == ""
    assert check_text("why", "x" * 10, limit=10)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "text is wanted"),
        (b"bytes", "text is wanted"),
        ("a\0", "cannot hold NUL"),
        ("a\udfff", "lone surrogate"),
        ("x" * 11, "11 characters is over the limit of 10"),
    ],
)
def test_other_text_is_refused_with_the_remedy(text, why):
    with pytest.raises(Invalid, match=why):
        check_text("why", text, limit=10)


def test_errors_say_what_they_are_about():
    assert str(Invalid("", "no")) == "no"
    assert str(TooLarge("payload", "too much")) == "payload: too much"
    assert isinstance(Invalid("a", "b"), ValueError)
    missing = NotFound("task", "main/x", "see the list")
    assert (str(missing), missing.kind, missing.name) == ("no task 'main/x'; see the list", "task", "main/x")
    assert str(NotFound("task", "main/x")) == "no task 'main/x'"
    failed = RunFailed("r1", "failed", "error", "Boom")
    assert (str(failed), failed.run_id, failed.error) == ("run r1 ended as failed (error): Boom", "r1", "Boom")
    assert str(RunFailed("r1", "cancelled", "cancelled", "")) == "run r1 ended as cancelled (cancelled)"
    assert issubclass(Unavailable, RotaError)
    assert issubclass(Incompatible, RotaError)
