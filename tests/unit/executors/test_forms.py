import pytest

from rota.domain.errors import Invalid
from rota.domain.task import Task
from rota.executors.forms import FORMS

GOOD = [
    ("http", "https://example.org/hook?a=1", {}),
    ("http", "http://[::1]:8080/", {"method": "get", "headers": {"X-Key": "1"}, "success": [204, "300-399"]}),
    ("grpc", "host:1/a.B/C", {"tls": True, "metadata": {"x": "y"}}),
    ("script", "reports/day.py", {"env": {"A": "b"}}),
    ("shell", "ls | wc", {"env": {"A": "b"}}),
]
BAD = [
    ("http", "example.org", {}, "command"),
    ("http", "ftp://example.org/", {}, "command"),
    ("http", "https:///path", {}, "command"),
    ("http", "http://[/", {}, "command"),
    ("http", "https://host:99999/", {}, "command"),
    ("http", "https://ann:secret@example.org/", {}, "command"),
    ("http", "https://example.org/", {"method": "STEAL"}, "params.method"),
    ("http", "https://example.org/", {"headers": "X: 1"}, "params.headers"),
    ("http", "https://example.org/", {"headers": {"Host": "x"}}, "params.headers"),
    ("http", "https://example.org/", {"success": "all"}, "params.success"),
    ("http", "https://example.org/", {"success": 0}, "params.success"),
    ("http", "https://example.org/", {"methd": "GET"}, "params.methd"),
    ("grpc", "host/a.B/C", {}, "command"),
    ("grpc", "host:0/a.B/C", {}, "command"),
    ("grpc", "host:1/a.B", {}, "command"),
    ("grpc", "host:1/a.B/C", {"tls": "yes"}, "params.tls"),
    ("grpc", "host:1/a.B/C", {"metadata": ["a"]}, "params.metadata"),
    ("script", "/etc/evil.py", {}, "command"),
    ("script", "../evil.py", {}, "command"),
    ("script", "a/../b.py", {}, "command"),
    ("script", "a\0.py", {}, "command"),
    ("script", "run.sh", {}, "command"),
    ("script", "a.py", {"env": {"PATH": "/tmp"}}, "params.env"),
    ("shell", " \n", {}, "command"),
    ("shell", "ls", {"env": {"A": 1}}, "params.env"),
    ("shell", "ls", {"cwd": "/"}, "params.cwd"),
]


@pytest.mark.parametrize(("kind", "command", "params"), GOOD)
def test_what_has_a_meaning_is_taken(kind, command, params):
    FORMS[kind](Task("main", "t", executor=kind, command=command, params=params))


@pytest.mark.parametrize(("kind", "command", "params", "field"), BAD)
def test_what_no_worker_could_run_is_refused_by_its_field(kind, command, params, field):
    with pytest.raises(Invalid) as refusal:
        FORMS[kind](Task("main", "t", executor=kind, command=command, params=params))
    assert refusal.value.field == field
    assert "secret" not in str(refusal.value)
